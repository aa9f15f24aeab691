"""What the routes work with: the parts of a running server, put together by a composition root.

The gateway answers before its heavy parts exist, so the app holds a `Provider`, whose services may still be
starting: a route that needs them then answers 503 `model_loading`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingestion.blobs import Blobs
from ingestion.database import Database
from ingestion.service import Ingestion
from rag.errors import ModelUnavailable
from rag.ports import Embedder, Reranker
from rag.types import Answer, Delta, Question, RagOptions, Scope, SearchResult
from serving.ledger import Ledger
from serving.settings import ServingSettings


class ModelCard(Protocol):
    """One model that the server offers, as `GET /v1/models` tells it."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str:
        """chat, embedding or rerank."""
        ...

    @property
    def owned_by(self) -> str: ...
    @property
    def created(self) -> int:
        """Unix seconds."""
        ...

    @property
    def context_length(self) -> int | None: ...
    @property
    def capabilities(self) -> tuple[str, ...]: ...
    @property
    def description(self) -> str: ...


class Pipeline(Protocol):
    """The question side: rag.pipeline.Pipeline, or a double."""

    @property
    def models(self) -> Mapping[str, ModelCard]: ...
    def stream(self, question: Question) -> AsyncGenerator[Delta, None]:
        """The answer as it is made. Closing the generator stops the work."""
        ...

    async def answer(self, question: Question) -> Answer: ...
    async def retrieve(self, query: str, scope: Scope, options: RagOptions) -> SearchResult: ...


Probe = Callable[[], Awaitable[None]]
"""Returns when the part is well, raises a TensorasError or OSError that says what is wrong when it is not."""


def nothing_to_report() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Services:
    """The running parts. `readiness` reports states that the composition root watches; see serving.health."""

    pipeline: Pipeline
    ingestion: Ingestion
    ledger: Ledger
    blobs: Blobs
    database: Database
    embedder: Embedder
    settings: ServingSettings
    readiness: Callable[[], Mapping[str, str]] = nothing_to_report
    probes: Mapping[str, Probe] = field(default_factory=dict)
    reranker: Reranker | None = None


class Provider:
    """Holds the services once they are up. `phase` says in words what the start is waiting for."""

    def __init__(self, settings: ServingSettings, services: Services | None = None) -> None:
        self.settings = settings
        self.phase = "starting"
        self._services = services

    @property
    def services(self) -> Services:
        """Raises ModelUnavailable until `set` was called."""
        if self._services is None:
            raise ModelUnavailable(f"The server is not ready yet ({self.phase}). Try again shortly.")
        return self._services

    @property
    def started(self) -> bool:
        return self._services is not None

    def set(self, services: Services) -> None:
        self._services = services

    def unset(self, phase: str) -> None:
        """Takes the services back, on the way down."""
        self._services, self.phase = None, phase
