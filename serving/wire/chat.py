"""POST /v1/chat/completions: the request, and the answer and its chunks as OpenAI writes them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints

from rag.types import Annotation, Answer, Choice, Citation, Delta, Passage, Usage
from serving.wire.common import Body, Id, Object
from serving.wire.messages import (
    ChatMessage,
    NamedChoice,
    ResponseFormat,
    StreamOptions,
    Tool,
    ToolChoice,
)
from serving.wire.rag import (
    CitationObject,
    RagSettings,
    RetrievalObject,
    annotation_json,
    citations_json,
    retrieval_json,
)

MAX_KNOWLEDGE_BASES = 64
Stop = Annotated[str, StringConstraints(min_length=1)]
Bias = Annotated[float, Field(ge=-100, le=100)]

# Meant for the gateway, or without any effect on the words of the answer: the engine does not see these.
_OURS = frozenset(
    {"model", "messages", "stream", "stream_options", "knowledge_bases", "rag", "user", "metadata", "store"}
    | {"service_tier", "safety_identifier", "prediction"}
    | {"prompt_cache_key", "prompt_cache_retention", "prompt_cache_options"}
)
# OpenAI's fields that none of our engines can do.
_NOT_OFFERED = ("audio", "functions", "function_call", "moderation", "web_search_options")


class ChatRequest(Body):
    """All of OpenAI's fields, those that open engines add, and our `knowledge_bases` and `rag`."""

    model: str = Field(min_length=1)
    messages: list[ChatMessage] = Field(min_length=1)
    knowledge_bases: list[Id] | None = Field(None, max_length=MAX_KNOWLEDGE_BASES)
    rag: RagSettings | None = None

    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[str, Bias] | None = None
    logprobs: bool | None = None
    max_completion_tokens: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    metadata: dict[str, str] | None = Field(None, max_length=16)
    modalities: list[Literal["text"]] | None = None
    n: int | None = Field(None, ge=1, le=16)
    parallel_tool_calls: bool | None = None
    prediction: dict[str, Any] | None = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    reasoning_effort: str | None = None
    response_format: ResponseFormat | None = None
    safety_identifier: str | None = None
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    service_tier: str | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    tool_choice: ToolChoice | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    top_p: float | None = Field(None, ge=0, le=1)
    user: str | None = None
    verbosity: str | None = None
    # Known, and refused with a sentence of their own.
    audio: dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: str | dict[str, Any] | None = None
    moderation: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    # Sampling fields of vLLM and its relatives.
    chat_template_kwargs: dict[str, Any] | None = None
    ignore_eos: bool | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    min_tokens: int | None = Field(None, ge=0)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    stop_token_ids: list[int] | None = None
    top_k: int | None = Field(None, ge=-1)

    def conflict(self) -> tuple[str, str] | None:
        """(field, reason) where fields that are right by themselves do not go together, else None."""
        for name in _NOT_OFFERED:
            if getattr(self, name) is not None:
                return name, "no model of this server offers it; leave it out"
        if self.stream_options is not None and not self.stream:
            return "stream_options", "only allowed when 'stream' is true"
        if self.top_logprobs and not self.logprobs:
            return "top_logprobs", "only allowed when 'logprobs' is true"
        return self._tool_conflict()

    def _tool_conflict(self) -> tuple[str, str] | None:
        names = [tool.function.name for tool in self.tools or ()]
        if len(set(names)) != len(names):
            return "tools", "two tools have the same name"
        if self.tool_choice in (None, "none", "auto"):
            return None
        if not names:
            return "tool_choice", "only allowed when 'tools' are given"
        if isinstance(self.tool_choice, NamedChoice) and self.tool_choice.function.name not in names:
            return "tool_choice", f"no tool is named {self.tool_choice.function.name!r}"
        return None

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


def engine_params(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a checked request body that go to the engine, untouched; null means not given."""
    params = {name: value for name, value in raw.items() if name not in _OURS and value is not None}
    if not params.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            params.pop(name, None)
    return params


# the answer --------------------------------------------------------------------------------------


def usage_json(usage: Usage) -> dict[str, Any]:
    return {
        **usage.details,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


@dataclass(slots=True)
class Writer:
    """Writes one answer, whole or in chunks.

    `asked`: knowledge bases were named; `base`: root of links; `choices`: how many were asked for.
    """

    model: str
    base: str
    asked: bool = False
    choices: int = 1
    include_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    _opened: set[int] = field(default_factory=set)
    _passages: dict[int, Passage] = field(default_factory=dict)

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fp_{self.model}"[:64],
        }

    # whole answers ---------------------------------------------------------------------------

    def completion(self, answer: Answer) -> dict[str, Any]:
        """The chat.completion object."""
        self._learn(answer.citations)
        body = self._envelope("chat.completion")
        body["choices"] = [self._choice(n, choice) for n, choice in enumerate(answer.choices)]
        body["usage"] = usage_json(answer.usage)
        if self.asked:
            body["citations"] = citations_json(answer.citations or (), several=self.choices > 1)
            body["retrieval"] = retrieval_json(answer.retrieval) if answer.retrieval else None
        return body

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {
            **choice.extra,
            "role": "assistant",
            "content": choice.text,
            "refusal": choice.extra.get("refusal"),
        }
        if choice.tool_calls:
            message["tool_calls"] = [dict(call) for call in choice.tool_calls]
        if self.asked:
            message["annotations"] = self._annotations(choice.annotations)
        return {
            "index": index,
            "message": message,
            "logprobs": choice.logprobs,
            "finish_reason": choice.finish_reason,
        }

    # chunks ----------------------------------------------------------------------------------

    def chunks(self, delta: Delta) -> Iterator[dict[str, Any]]:
        """The chat.completion.chunk objects that one delta makes: none, one or several."""
        self._learn(delta.citations)
        if delta.usage is not None:
            if self.include_usage:
                yield {
                    **self._envelope("chat.completion.chunk"),
                    "choices": [],
                    "usage": usage_json(delta.usage),
                }
            return
        if delta.choice not in self._opened:
            self._opened.add(delta.choice)
            yield self._chunk(delta.choice, {"role": "assistant", "content": "", "refusal": None})
        content = self._content(delta)
        if content or delta.logprobs:
            yield self._chunk(delta.choice, content, logprobs=delta.logprobs)
        if delta.finish_reason is not None:
            yield self._finish(delta)

    def _content(self, delta: Delta) -> dict[str, Any]:
        content: dict[str, Any] = {k: v for k, v in delta.extra.items() if k not in ("role", "content")}
        if delta.text:
            content["content"] = delta.text
        if delta.tool_calls:
            content["tool_calls"] = [dict(call) for call in delta.tool_calls]
        annotations = self._annotations(delta.annotations) if self.asked else []
        return content | ({"annotations": annotations} if annotations else {})

    def _finish(self, delta: Delta) -> dict[str, Any]:
        chunk = self._chunk(delta.choice, {}, finish_reason=delta.finish_reason)
        if self.asked and delta.citations is not None:
            chunk["citations"] = citations_json(delta.citations, several=self.choices > 1)
            chunk["retrieval"] = retrieval_json(delta.retrieval) if delta.retrieval else None
        return chunk

    def _chunk(
        self, index: int, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
    ) -> dict[str, Any]:
        chunk = self._envelope("chat.completion.chunk")
        chunk["choices"] = [{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}]
        return chunk | ({"usage": None} if self.include_usage else {})

    # both ------------------------------------------------------------------------------------

    def _learn(self, citations: tuple[Citation, ...] | None) -> None:
        for citation in citations or ():
            self._passages[citation.index] = citation.passage

    def _annotations(self, annotations: tuple[Annotation, ...]) -> list[dict[str, Any]]:
        found = ((one, self._passages.get(one.citation_index)) for one in annotations)
        return [annotation_json(one, passage, self.base) for one, passage in found if passage is not None]


# for the documentation ---------------------------------------------------------------------------


class ChatChoiceObject(Object):
    model_config = ConfigDict(extra="allow")

    index: int
    message: dict[str, Any]
    logprobs: dict[str, Any] | None
    finish_reason: str


class UsageObject(Object):
    model_config = ConfigDict(extra="allow")

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletionObject(Object):
    """OpenAI's object; `citations` and `retrieval` are there when knowledge bases were asked."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoiceObject]
    usage: UsageObject
    system_fingerprint: str | None = None
    citations: list[CitationObject] | None = None
    retrieval: RetrievalObject | None = None
