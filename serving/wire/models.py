"""Models, embeddings and reranking."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag

from serving.services import ModelCard
from serving.wire.common import Body, Object, Query

MAX_INPUTS = 2048
MAX_DOCUMENTS = 1000
TokenIds = Annotated[list[int], Field(min_length=1)]


class ModelObject(Object):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    kind: Literal["chat", "embedding", "rerank"]
    context_length: int | None
    capabilities: list[str]
    description: str

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        return cls.model_validate(
            {
                "id": card.id,
                "created": card.created,
                "owned_by": card.owned_by,
                "kind": card.kind,
                "context_length": card.context_length,
                "capabilities": list(card.capabilities),
                "description": card.description,
            }
        )


class ModelList(Object):
    object: Literal["list"] = "list"
    data: list[ModelObject]


def _input_kind(value: Any) -> str | None:
    """Which of OpenAI's four shapes is meant, by the first element: an error speaks of that one only."""
    if isinstance(value, str):
        return "<text>"
    first = value[0] if isinstance(value, list) and value else ""
    kinds = {str: "<texts>", int: "<token ids>", list: "<token id lists>"}
    return kinds.get(type(first)) if isinstance(value, list) else None


EmbeddingInput = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_INPUTS), Tag("<texts>")]
    | Annotated[TokenIds, Tag("<token ids>")]
    | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_INPUTS), Tag("<token id lists>")],
    Discriminator(
        _input_kind,
        custom_error_type="unknown_input",
        custom_error_message="an input is a text, a list of texts, a list of token ids or a list of those",
    ),
]


class EmbeddingRequest(Body):
    model: str = Field(min_length=1)
    input: EmbeddingInput
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None


class EmbeddingObject(Object):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(Object):
    prompt_tokens: int
    total_tokens: int


class EmbeddingList(Object):
    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage


class RerankText(Body):
    text: str


class RerankRequest(Body):
    model: str = Field(min_length=1)
    query: Query
    documents: list[str | RerankText] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None

    def texts(self) -> list[str]:
        return [one if isinstance(one, str) else one.text for one in self.documents]


class RerankResult(Object):
    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class RerankUsage(Object):
    total_tokens: int


class RerankList(Object):
    object: Literal["list"] = "list"
    results: list[RerankResult]
    model: str
    usage: RerankUsage
