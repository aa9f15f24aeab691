"""The values that travel through the library. All frozen; offsets are Unicode code points, end exclusive."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON = Mapping[str, Any]
SearchType = Literal["hybrid", "vector", "keyword"]
Verification = Literal["exact", "normalized", "unverified"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose data a query may see. Every read and write of vectors takes one; there is no default."""

    tenant_id: str
    knowledge_base_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.tenant_id or not self.knowledge_base_ids:
            raise ValueError("a scope names a tenant and at least one knowledge base")


@dataclass(frozen=True, slots=True)
class DocumentRef:
    """Identity and provenance of one version of a document, as it is stored beside each of its chunks."""

    tenant_id: str
    knowledge_base_id: str
    document_id: str
    version: int
    source: str
    source_type: str = "file_upload"
    file_id: str | None = None
    data_source_id: str | None = None
    metadata: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a document's canonical text: `document_text[start:end] == text`.

    `pages` holds (offset in the document, 1-based page number) for the page the chunk starts on and
    every page that begins inside it; empty where the format has no pages.
    """

    n: int
    text: str
    start: int
    end: int
    pages: tuple[tuple[int, int], ...] = ()
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A stored chunk that a search found. `score` is 0–1, best first; never a raw RRF sum."""

    chunk_id: str
    document_id: str
    knowledge_base_id: str
    source: str
    text: str
    start: int
    end: int
    n: int = 0
    score: float = 0.0
    pages: tuple[tuple[int, int], ...] = ()
    headings: tuple[str, ...] = ()
    file_id: str | None = None
    data_source_id: str | None = None
    source_type: str = "file_upload"
    metadata: JSON = field(default_factory=dict)

    def page_at(self, offset: int) -> int | None:
        """Page (1-based) of the code point at `offset` in the document, None where there are no pages."""
        if not self.pages:
            return None
        at = bisect_right([start for start, _ in self.pages], offset) - 1
        return self.pages[max(at, 0)][1]

    @property
    def page(self) -> int | None:
        return self.page_at(self.start)


@dataclass(frozen=True, slots=True)
class CitedSpan:
    """One part of the answer and the exact words of the source that it rests on.

    `quote == document_text[start:end]`. `answer_start`/`answer_end` index the answer text of `choice`.
    Where nothing supports the sentence (`unverified` with a marker only) quote, start and end are None.
    """

    answer_start: int
    answer_end: int
    verification: Verification
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    page: int | None = None
    choice: int = 0


@dataclass(frozen=True, slots=True)
class Citation:
    """One passage that stood before the model, with what the answer took from it. `index` is 1-based."""

    index: int
    passage: Passage
    spans: tuple[CitedSpan, ...] = ()

    @property
    def cited(self) -> bool:
        return bool(self.spans)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A cited stretch of the answer, for clients that know only OpenAI's `url_citation`."""

    start_index: int
    end_index: int
    citation_index: int


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. `content` is text, a list of OpenAI content parts, or None; `extra` holds
    everything else of the OpenAI message (name, tool_calls, tool_call_id …) unchanged."""

    role: str
    content: str | tuple[JSON, ...] | None
    extra: JSON = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The message's words: the string, or its text parts joined."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(p["text"] for p in self.content or () if p.get("type") == "text")

    def to_openai(self) -> dict[str, Any]:
        content = list(self.content) if isinstance(self.content, tuple) else self.content
        return {"role": self.role, "content": content, **self.extra}

    @classmethod
    def from_openai(cls, raw: JSON) -> Message:
        content = raw.get("content")
        extra = {k: v for k, v in raw.items() if k not in ("role", "content")}
        return cls(raw["role"], tuple(content) if isinstance(content, list) else content, extra)


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0
    details: JSON = field(default_factory=dict)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


DEFAULT_TOP_K = 5


@dataclass(frozen=True, slots=True)
class RagOptions:
    """How a question is answered from knowledge bases; API.md's `rag` object."""

    top_k: int | None = None
    """Passages put before the model; None: what the model does best with, 5 for most."""
    candidates: int = 40
    search_type: SearchType = "hybrid"
    rerank: bool = True
    filters: JSON = field(default_factory=dict)
    min_score: float = 0.0
    rewrite: Literal["auto", "off"] = "auto"
    citation_policy: Literal["annotate", "strict"] = "annotate"
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What the search did, reported beside the answer. Timings are milliseconds."""

    query: str
    search_type: SearchType
    candidates: int
    rerank: Literal["applied", "skipped", "off"]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    dropped_sentences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages best first, with the report of how they were found."""

    passages: tuple[Passage, ...]
    retrieval: Retrieval


@dataclass(frozen=True, slots=True)
class Question:
    """A chat request inside the library. `params` are OpenAI request fields passed through unchanged
    (temperature, tools, response_format, n, …); `scope` is None where no knowledge base is asked."""

    model: str
    messages: tuple[Message, ...]
    params: JSON = field(default_factory=dict)
    scope: Scope | None = None
    rag: RagOptions = field(default_factory=RagOptions)


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a generator sees: the final messages, and the same passages as values (an extractive
    generator quotes them; an HTTP engine reads them from the prompt). `searched`: knowledge bases were asked,
    whether or not they held anything."""

    messages: tuple[Message, ...]
    params: JSON = field(default_factory=dict)
    question: str = ""
    passages: tuple[Passage, ...] = ()
    searched: bool = False


@dataclass(frozen=True, slots=True)
class Delta:
    """One step of a streamed answer for one choice.

    `text` never ends inside a `[n]` marker. Where knowledge bases are asked, the first delta carries the
    citations without spans, so that annotations can name their passage at once, and the last delta with a
    `finish_reason` the complete `citations` and `retrieval`. `usage` comes once, on a delta of its own, at the end.
    """

    choice: int = 0
    text: str = ""
    role: str | None = None
    tool_calls: tuple[JSON, ...] = ()
    logprobs: JSON | None = None
    annotations: tuple[Annotation, ...] = ()
    finish_reason: str | None = None
    citations: tuple[Citation, ...] | None = None
    retrieval: Retrieval | None = None
    usage: Usage | None = None
    extra: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """One finished answer."""

    text: str | None
    finish_reason: str
    tool_calls: tuple[JSON, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    logprobs: JSON | None = None
    extra: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    choices: tuple[Choice, ...]
    usage: Usage
    citations: tuple[Citation, ...] | None = None
    retrieval: Retrieval | None = None
