"""Requests and tokens per key over a rolling minute, and the headers that tell a client where it stands."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.auth import Principal, principal_of
from serving.context import add_headers
from serving.errors import RateLimited
from serving.settings import ServingSettings

MINUTE = 60
_IDLE_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Quota:
    """What a key may use per minute."""

    rpm: int
    tpm: int


@dataclass(frozen=True, slots=True)
class Gauge:
    """One window as it stands. `reset`: seconds until it is whole again; `wait`: until there is room."""

    limit: int
    remaining: int
    reset: float
    wait: float


@dataclass(frozen=True, slots=True)
class Standing:
    requests: Gauge
    tokens: Gauge


class Limiter(Protocol):
    """Counts per key. In memory here; a shared one keeps the same promises across processes."""

    async def admit(self, key_id: str, quota: Quota) -> Standing:
        """Counts one request. Raises RateLimited, counting nothing, when requests or tokens are used up."""
        ...

    async def spend(self, key_id: str, tokens: int) -> None:
        """Adds the tokens of an answer. They are known only afterwards, so a window can be overdrawn once."""
        ...


class Window:
    """A rolling minute in buckets of one second: 61 numbers at most, whatever the traffic."""

    def __init__(self) -> None:
        self._buckets: deque[list[int]] = deque()
        self.used = 0

    def add(self, now: float, amount: int) -> None:
        second = int(now)
        if self._buckets and self._buckets[-1][0] >= second:
            self._buckets[-1][1] += amount
        else:
            self._buckets.append([second, amount])
        self.used += amount

    def gauge(self, now: float, limit: int) -> Gauge:
        """A bucket counts until the last moment of its second is a minute old."""
        while self._buckets and self._buckets[0][0] + 1 + MINUTE <= now:
            self.used -= self._buckets.popleft()[1]
        return Gauge(limit, max(0, limit - self.used), self._reset(now), self._wait(now, limit))

    def _reset(self, now: float) -> float:
        return max(0.0, self._buckets[-1][0] + 1 + MINUTE - now) if self._buckets else 0.0

    def _wait(self, now: float, limit: int) -> float:
        used = self.used
        for second, amount in self._buckets:
            if used < limit:
                break
            used -= amount
            if used < limit:
                return max(0.0, second + 1 + MINUTE - now)
        return 0.0


class MemoryLimiter:
    """Limiter of one process. `clock` gives seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: dict[str, tuple[Window, Window]] = {}

    async def admit(self, key_id: str, quota: Quota) -> Standing:
        now = self._clock()
        requests, tokens = self._of(key_id, now)
        standing = Standing(requests.gauge(now, quota.rpm), tokens.gauge(now, quota.tpm))
        for name, gauge in (("requests", standing.requests), ("tokens", standing.tokens)):
            if gauge.remaining == 0:
                raise Exceeded(name, gauge, standing)
        requests.add(now, 1)
        return Standing(requests.gauge(now, quota.rpm), standing.tokens)

    async def spend(self, key_id: str, tokens: int) -> None:
        now = self._clock()
        self._of(key_id, now)[1].add(now, tokens)

    def _of(self, key_id: str, now: float) -> tuple[Window, Window]:
        if key_id not in self._windows:
            self._forget_idle(now)
            self._windows[key_id] = (Window(), Window())
        return self._windows[key_id]

    def _forget_idle(self, now: float) -> None:
        if len(self._windows) < _IDLE_KEYS:
            return
        idle = [key for key, pair in self._windows.items() if not any(w.gauge(now, 1).reset for w in pair)]
        for key in idle:
            del self._windows[key]


class Exceeded(RateLimited):
    """RateLimited, with where the key stands, for the headers."""

    def __init__(self, what: str, gauge: Gauge, standing: Standing) -> None:
        super().__init__(
            f"This key's limit of {gauge.limit} {what} per minute is used up. "
            f"Wait {max(1, math.ceil(gauge.wait))} s, or ask the operator for a higher limit.",
            retry_after=gauge.wait,
        )
        self.standing = standing


def duration(seconds: float) -> str:
    """As OpenAI writes it: `0s`, `450ms`, `12s`, `1m1s`."""
    if 0 < seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def headers_of(standing: Standing) -> dict[str, str]:
    requests = standing.requests
    headers = {
        "X-RateLimit-Limit": str(requests.limit),
        "X-RateLimit-Remaining": str(requests.remaining),
        "X-RateLimit-Reset": str(math.ceil(time.time() + requests.reset)),
    }
    for name, gauge in (("requests", requests), ("tokens", standing.tokens)):
        headers[f"x-ratelimit-limit-{name}"] = str(gauge.limit)
        headers[f"x-ratelimit-remaining-{name}"] = str(gauge.remaining)
        headers[f"x-ratelimit-reset-{name}"] = duration(gauge.reset)
    return headers


class LimitMiddleware:
    """Counts every request that has a key, and puts the headers on its answer."""

    def __init__(self, app: ASGIApp, limiter: Limiter, settings: ServingSettings) -> None:
        self.app = app
        self.limiter = limiter
        self.settings = settings

    def _quota(self, principal: Principal) -> Quota:
        return Quota(principal.rpm or self.settings.default_rpm, principal.tpm or self.settings.default_tpm)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = principal_of(scope)
        if principal is not None:
            try:
                standing = await self.limiter.admit(principal.key_id, self._quota(principal))
            except Exceeded as exceeded:
                add_headers(scope, headers_of(exceeded.standing))
                raise
            add_headers(scope, headers_of(standing))
        await self.app(scope, receive, send)
