"""What a request used, written down however it ends."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect

from rag.errors import Unavailable
from rag.types import Delta, Question, Usage
from serving.auth import Principal
from serving.ledger import Ledger
from serving.limits import Limiter

log = logging.getLogger("tensoras.usage")
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Till:
    """Where the usage of one key is written: the rolling minute, and the ledger."""

    ledger: Ledger
    limiter: Limiter
    principal: Principal

    async def charge(self, model: str, used: Usage, *, aborted: bool = False) -> None:
        """Counts one request. The answer is made by now: a database that is away costs the count, with a line
        in the log, and not the answer."""
        await self.limiter.spend(self.principal.key_id, used.total_tokens)
        try:
            await self.ledger.usage.add(
                self.principal.tenant_id,
                self.principal.key_id,
                model,
                prompt_tokens=used.prompt_tokens,
                completion_tokens=used.completion_tokens,
                aborted=aborted,
            )
        except Unavailable:
            log.exception("usage of key %s was not written: %s", self.principal.key_id, used)


class Meter:
    """Counts one chat request.

    One that failed before any work is not counted. One that ended before the engine told its usage counts as
    aborted, with an estimate: one token per piece of text, and a quarter of the prompt's characters.
    """

    def __init__(self, till: Till, question: Question) -> None:
        self._till = till
        self._question = question
        self._usage: Usage | None = None
        self._pieces = 0

    def saw(self, delta: Delta) -> None:
        if delta.text or delta.tool_calls:
            self._pieces += 1
        if delta.usage is not None:
            self._usage = delta.usage

    def finished(self, usage: Usage) -> None:
        self._usage = usage

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = isinstance(error, Exception) and not isinstance(error, ClientDisconnect)
        if failed and self._usage is None and not self._pieces:
            return
        used = self._usage or self._estimate()
        charging = self._till.charge(self._question.model, used, aborted=self._usage is None)
        # Shielded: what a client that leaves has used is written down too, while its task is being cancelled.
        await asyncio.shield(charging)

    def _estimate(self) -> Usage:
        prompt = sum(len(message.text) for message in self._question.messages)
        return Usage(prompt // _CHARS_PER_TOKEN, self._pieces)
