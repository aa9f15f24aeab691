"""The `rag` object, filters, citations and retrieval reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rag.errors import InvalidRequest
from rag.filters import OPERATORS, conditions
from rag.types import Annotation, Citation, CitedSpan, Passage, RagOptions, Retrieval
from serving.wire.common import Body, Id, Line, Object

MAX_VALUES = 256
MAX_FIELDS = 32
SearchType = Literal["hybrid", "vector", "keyword"]
Names = list[Line]


class Filters(Body):
    """Conditions that must all hold, applied inside the search.

    Under `metadata` each field has a value, a list of values, or an object of operators: $eq $ne $in $gt $gte
    $lt $lte.
    """

    document_name: Line | Names | None = None
    document_id: Id | Names | None = None
    source_type: Line | Names | None = None
    metadata: dict[str, Any] | None = None

    @field_validator("document_name", "document_id", "source_type")
    @classmethod
    def _some(cls, value: Any) -> Any:
        return _bounded(value)

    @field_validator("metadata")
    @classmethod
    def _known_operators(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        for field, wanted in (value or {}).items():
            _check_condition(field, wanted)
        if len(value or {}) > MAX_FIELDS:
            raise ValueError(f"names more than {MAX_FIELDS} fields")
        return value

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        """The store has the last word on what it can search, before any work starts."""
        try:
            conditions(self.plain())
        except InvalidRequest as refused:
            raise ValueError(refused.message) from refused
        return self

    def plain(self) -> dict[str, Any]:
        """As rag.filters takes them: only what is set."""
        return self.model_dump(exclude_none=True) | ({"metadata": self.metadata} if self.metadata else {})


def _bounded(value: Any) -> Any:
    """An empty list matches nothing, and is always a mistake; so is a very long one."""
    if isinstance(value, list) and not 1 <= len(value) <= MAX_VALUES:
        raise ValueError(f"a list of 1 to {MAX_VALUES} values is needed")
    return value


def _check_condition(field: str, wanted: Any) -> None:
    if not field or len(field) > 256 or "\x00" in field:
        raise ValueError("field names have 1 to 256 characters")
    if wanted is None or wanted == {}:
        raise ValueError(f"{field!r} needs a value or an operator; leave it out to filter by nothing")
    values = wanted.items() if isinstance(wanted, dict) else [("$in", wanted)]
    for operator, value in values:
        if operator not in OPERATORS:
            raise ValueError(f"{field!r} has the unknown operator {operator!r}; known are {', '.join(OPERATORS)}")
        if value is None:
            raise ValueError(f"{operator} of {field!r} needs a value")
        _bounded(value)


class RagSettings(Body):
    """How a question is answered from knowledge bases."""

    top_k: int | None = Field(None, ge=1, le=100, description="Passages put before the model; 5.")
    candidates: int | None = Field(None, ge=1, le=1000, description="Fetched before reranking; 40.")
    search_type: SearchType | None = None
    rerank: bool | None = None
    filters: Filters | None = None
    min_score: float | None = Field(None, ge=0, le=1)
    rewrite: Literal["auto", "off"] | None = None
    citation_policy: Literal["annotate", "strict"] | None = None
    context_tokens: int | None = Field(None, ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _enough_candidates(self) -> Self:
        if self.candidates and self.top_k and self.candidates < self.top_k:
            raise ValueError("candidates must not be smaller than top_k")
        return self

    def plain(self) -> dict[str, Any]:
        """Only what was set, as JSON values: what a knowledge base keeps as its defaults."""
        given = {name: getattr(self, name) for name in self.model_fields_set if name != "filters"}
        filters = {"filters": self.filters.plain()} if self.filters else {}
        return {name: value for name, value in given.items() if value is not None} | filters


def rag_options(given: dict[str, Any]) -> RagOptions:
    """Options from `RagSettings.plain()`; enough candidates are fetched for `top_k`."""
    wanted = max(given.get("top_k", 0), RagOptions().candidates) if "candidates" not in given else given["candidates"]
    return RagOptions(**{**given, "candidates": max(wanted, given.get("top_k", 0))})


class SpanObject(Object):
    """Which part of the answer a passage supports, and its exact words."""

    answer_start: int
    answer_end: int
    quote: str | None
    start: int | None
    end: int | None
    page: int | None
    verification: Literal["exact", "normalized", "unverified"]
    choice: int | None = Field(None, description="Index of the choice; only where n > 1.")


class CitationObject(Object):
    """One passage that stood before the model."""

    source: str
    text: str
    score: float
    index: int
    cited: bool
    knowledge_base_id: str
    document_id: str
    file_id: str | None
    chunk_id: str
    page: int | None
    start: int
    end: int
    spans: list[SpanObject]


class RetrievalObject(Object):
    """What the search did."""

    query: str
    search_type: SearchType
    candidates: int
    rerank: Literal["applied", "skipped", "off"]
    timings_ms: dict[str, float]
    dropped_sentences: list[str]


def _span(span: CitedSpan, several: bool) -> dict[str, Any]:
    plain = {
        "answer_start": span.answer_start,
        "answer_end": span.answer_end,
        "quote": span.quote,
        "start": span.start,
        "end": span.end,
        "page": span.page,
        "verification": span.verification,
    }
    return plain | ({"choice": span.choice} if several else {})


def citations_json(citations: Sequence[Citation], *, several: bool) -> list[dict[str, Any]]:
    """API.md's citations. `several`: more than one choice was asked for, so spans name theirs."""
    return [
        {
            "source": one.passage.source,
            "text": one.passage.text,
            "score": one.passage.score,
            "index": one.index,
            "cited": one.cited,
            "knowledge_base_id": one.passage.knowledge_base_id,
            "document_id": one.passage.document_id,
            "file_id": one.passage.file_id,
            "chunk_id": one.passage.chunk_id,
            "page": one.passage.page,
            "start": one.passage.start,
            "end": one.passage.end,
            "spans": [_span(span, several) for span in one.spans],
        }
        for one in citations
    ]


def retrieval_json(retrieval: Retrieval) -> dict[str, Any]:
    return {
        "query": retrieval.query,
        "search_type": retrieval.search_type,
        "candidates": retrieval.candidates,
        "rerank": retrieval.rerank,
        "timings_ms": dict(retrieval.timings_ms),
        "dropped_sentences": list(retrieval.dropped_sentences),
    }


def passage_url(base: str, passage: Passage) -> str:
    """Link to the passage in its document's canonical text; the fragment is RFC 5147's."""
    path = f"/v1/knowledge-bases/{passage.knowledge_base_id}/documents/{passage.document_id}/content"
    return f"{base}{path}#char={passage.start},{passage.end}"


def annotation_json(annotation: Annotation, passage: Passage, base: str) -> dict[str, Any]:
    """OpenAI's url_citation."""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": annotation.start_index,
            "end_index": annotation.end_index,
            "title": passage.source,
            "url": passage_url(base, passage),
        },
    }
