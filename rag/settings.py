"""Settings of the library, read by composition roots only."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from rag.types import DEFAULT_TOP_K

BUILTIN_EMBEDDER = "all-MiniLM-L6-v2"


class EngineSettings(BaseModel):
    """One public chat model and the OpenAI-compatible servers behind it."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    urls: list[str] = Field(min_length=1)
    model: str | None = None
    """Name under which the servers know the model; the public name when unset."""
    api_key: SecretStr | None = None
    aliases: list[str] = []
    context_length: int | None = None
    """Tokens; asked of the server when unset."""
    cite_markers: bool = True
    """Ask the model to write [n] markers. Off for very small models, which answer worse when told to."""
    prompt_style: Literal["ruled", "plain"] = "ruled"
    """`plain`: passages and question without instructions, for very small models; asks for no [n] markers."""
    default_top_k: int = Field(default=DEFAULT_TOP_K, ge=1, le=100)
    """Passages put before the model where the request does not say (`rag.top_k`)."""
    max_concurrency: int = Field(default=64, ge=1)
    """Requests in flight per replica before a 429."""


def _expand_engine(value: Any) -> Any:
    if isinstance(value, str):
        return {"urls": [value]}
    if isinstance(value, list):
        return {"urls": value}
    return value


Engine = Annotated[EngineSettings, BeforeValidator(_expand_engine)]


class RagSettings(BaseSettings):
    """Models, vector store and engines. Read from the environment or given by name."""

    model_config = SettingsConfigDict(extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    qdrant_url: str | None = Field(default=None, alias="QDRANT_URL")
    qdrant_api_key: SecretStr | None = Field(default=None, alias="QDRANT_API_KEY")
    embedding_model: str = Field(default=BUILTIN_EMBEDDER, alias="EMBEDDING_MODEL")
    """`all-MiniLM-L6-v2` (built in), a folder, or a hub id."""
    rerank_model: str = Field(default="off", alias="RERANK_MODEL")
    """`off`, a folder, or a hub id of a sentence-transformers CrossEncoder."""
    engines: dict[str, Engine] = Field(default_factory=dict, alias="ENGINES")
    engine_timeout: float = Field(default=600.0, alias="TENSORAS_ENGINE_TIMEOUT", gt=0)
    """Seconds an engine may be silent within one answer."""
    torch_threads: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 2) // 2), alias="TENSORAS_TORCH_THREADS", ge=1
    )
    """Per process: gateway and worker share the machine, so half the cores each."""
    device: str | None = Field(default=None, alias="TENSORAS_DEVICE")
    """`cpu`, `cuda`, …; chosen by what is there when unset."""
