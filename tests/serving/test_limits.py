from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import RateLimited
from serving.limits import MINUTE, MemoryLimiter, Quota, Window, duration
from tests.serving.conftest import CHAT, House

NAMES = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50)), max_size=60), st.integers(1, 100))
def test_a_window_never_forgets_early(steps: list[tuple[float, int]], limit: int) -> None:
    """Against the plain definition: the last 60 s always count, what is older than 61 s never does."""
    window, now, log = Window(), 1000.0, []
    for pause, amount in steps:
        now += pause
        window.add(now, amount)
        log.append((now, amount))
        gauge = window.gauge(now, limit)
        least = sum(amount for at, amount in log if at > now - MINUTE)
        most = sum(amount for at, amount in log if at > now - MINUTE - 1)
        assert least <= window.used <= most
        assert gauge.remaining == max(0, limit - window.used)
        assert 0 <= gauge.wait <= gauge.reset <= MINUTE + 1
        assert (gauge.wait > 0) == (gauge.remaining == 0)
        later = Window()
        later._buckets, later.used = window._buckets.copy(), window.used
        assert later.gauge(now + gauge.wait, limit).remaining > 0
        assert later.gauge(now + gauge.reset, limit).remaining == limit


def test_a_window_is_small() -> None:
    window = Window()
    for n in range(8_000):
        window.add(1000 + n / 40, 1)
        window.gauge(1000 + n / 40, 1)
    assert len(window._buckets) <= MINUTE + 2


async def test_requests_then_room_again() -> None:
    clock = Clock()
    limiter = MemoryLimiter(clock)
    quota = Quota(rpm=2, tpm=100)
    assert (await limiter.admit("a", quota)).requests.remaining == 1
    assert (await limiter.admit("a", quota)).requests.remaining == 0
    with pytest.raises(RateLimited) as refused:
        await limiter.admit("a", quota)
    assert 59 < refused.value.retry_after <= 61
    assert (await limiter.admit("b", quota)).requests.remaining == 1
    clock.now += 61
    assert (await limiter.admit("a", quota)).requests.remaining == 1


async def test_tokens_are_spent_afterwards() -> None:
    clock = Clock()
    limiter, quota = MemoryLimiter(clock), Quota(rpm=10, tpm=100)
    await limiter.admit("a", quota)
    await limiter.spend("a", 150)
    with pytest.raises(RateLimited, match="tokens"):
        await limiter.admit("a", quota)
    clock.now += 61
    assert (await limiter.admit("a", quota)).tokens.remaining == 100


async def test_idle_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.limits._IDLE_KEYS", 5)
    clock = Clock()
    limiter = MemoryLimiter(clock)
    for n in range(50):
        clock.now += 61
        await limiter.admit(f"key{n}", Quota(1, 1))
    assert len(limiter._windows) <= 6


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (0.45, "450ms"), (1, "1s"), (12.1, "13s"), (60, "1m0s"), (61, "1m1s"), (0.0001, "1ms")],
)
def test_durations(seconds: float, written: str) -> None:
    assert duration(seconds) == written


async def test_headers_on_every_keyed_answer(house: House) -> None:
    for method, path, body in (
        ("GET", "/v1/models", None),
        ("GET", "/v1/nope", None),
        ("POST", "/v1/chat/completions", {}),
        ("POST", "/v1/chat/completions", {**CHAT, "stream": True}),
    ):
        answer = await house.http.request(method, path, json=body)
        assert [name for name in NAMES if name not in answer.headers] == []
        assert abs(int(answer.headers["x-ratelimit-reset"]) - time.time()) < 70
    assert "x-ratelimit-limit" not in (await house.client(None).get("/health")).headers


async def test_a_limited_key(make_house: Any) -> None:
    clock = Clock()
    house: House = await make_house(limiter=MemoryLimiter(clock))
    client = house.client(await house.key("chat", rpm=2, tpm=1000))
    for left in ("1", "0"):
        answer = await client.get("/v1/models")
        assert answer.headers["x-ratelimit-remaining"] == left
        assert answer.headers["x-ratelimit-limit"] == "2"
    for stream in (False, True):
        refused = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    clock.now += 61
    assert (await client.get("/v1/models")).status_code == 200


async def test_tokens_of_streams_count(make_house: Any) -> None:
    house: House = await make_house(limiter=MemoryLimiter(Clock()))
    client = house.client(await house.key("chat", rpm=100, tpm=20))
    answer = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert answer.headers["x-ratelimit-remaining-tokens"] == "20"
    assert (await client.get("/v1/models")).headers["x-ratelimit-remaining-tokens"] == "6"
    await client.post("/v1/chat/completions", json=CHAT)
    refused = await client.post("/v1/chat/completions", json=CHAT)
    assert refused.status_code == 429
    assert "tokens" in refused.json()["error"]["message"]
