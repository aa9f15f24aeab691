"""A stream joined into the answer that it spells out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from rag.types import Annotation, Answer, Choice, Citation, Delta, Retrieval, Usage


@dataclass(slots=True)
class _Open:
    """A choice while its deltas come in."""

    text: list[str] = field(default_factory=list)
    tool_calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    annotations: list[Annotation] = field(default_factory=list)
    logprobs: dict[str, list[Any]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"

    def add(self, delta: Delta) -> None:
        if delta.text:
            self.text.append(delta.text)
        for call in delta.tool_calls:
            self._add_call(dict(call))
        self.annotations.extend(delta.annotations)
        for kind, entries in (delta.logprobs or {}).items():
            self.logprobs.setdefault(kind, []).extend(entries or ())
        for key, value in delta.extra.items():
            known = self.extra.get(key)
            both_text = isinstance(known, str) and isinstance(value, str)
            self.extra[key] = known + value if both_text else value
        self.finish_reason = delta.finish_reason or self.finish_reason

    def _add_call(self, part: dict[str, Any]) -> None:
        """Tool calls come in fragments: the first names the function, later ones append to its arguments."""
        at = int(part.pop("index", len(self.tool_calls)))
        call = self.tool_calls.setdefault(at, {"type": "function", "function": {"name": "", "arguments": ""}})
        function = part.pop("function", None) or {}
        call.update({key: value for key, value in part.items() if value is not None})
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def close(self) -> Choice:
        calls = tuple(self.tool_calls[at] for at in sorted(self.tool_calls))
        text = "".join(self.text)
        return Choice(
            text=None if calls and not text else text,
            finish_reason=self.finish_reason,
            tool_calls=calls,
            annotations=tuple(self.annotations),
            logprobs=self.logprobs or None,
            extra=self.extra,
        )


async def collect(deltas: AsyncIterator[Delta]) -> Answer:
    """Joins the deltas of every choice, in order of their index."""
    choices: dict[int, _Open] = {}
    usage = Usage()
    citations: tuple[Citation, ...] | None = None
    retrieval: Retrieval | None = None
    async for delta in deltas:
        if delta.usage is not None:
            usage = delta.usage
            continue
        choices.setdefault(delta.choice, _Open()).add(delta)
        citations = delta.citations if delta.citations is not None else citations
        retrieval = delta.retrieval or retrieval
    ordered = tuple(choices[at].close() for at in sorted(choices))
    return Answer(ordered, usage, citations, retrieval)
