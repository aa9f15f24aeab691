import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from rag.collect import collect
from rag.errors import (
    ContextLengthExceeded,
    EngineError,
    EngineOverloaded,
    EngineUnavailable,
    InvalidRequest,
    TensorasError,
)
from rag.generators import OpenAIGenerator
from rag.settings import EngineSettings
from rag.types import GenerationRequest, Message

REQUEST = GenerationRequest((Message("user", "Hi"),), {"temperature": 0, "n": 1})
Handler = Callable[[httpx.Request], httpx.Response]


def chunk(**delta: Any) -> str:
    finish = delta.pop("finish_reason", None)
    choice = {"index": delta.pop("index", 0), "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


USAGE = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
DONE = "data: [DONE]\n\n"
HELLO = [
    chunk(role="assistant", content=""),
    chunk(content="Hel"),
    chunk(content="lo", finish_reason="stop"),
    USAGE,
    DONE,
]


def generator(handler: Handler, urls: list[str] | None = None, **more: Any) -> OpenAIGenerator:
    settings = EngineSettings(urls=urls or ["http://engine/v1"], model="served", api_key="secret", **more)
    client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return OpenAIGenerator("public", settings, client)


def streamed(events: list[str]) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        for event in events:
            yield event.encode()

    return httpx.Response(200, content=body())


async def test_an_answer_is_streamed_and_the_request_goes_through_unchanged() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return streamed(HELLO)

    answer = await collect(generator(handler).stream(REQUEST))
    assert answer.choices[0].text == "Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)
    body = json.loads(seen[0].content)
    assert body["model"] == "served"
    assert body["temperature"] == 0
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert seen[0].headers["authorization"] == "Bearer secret"


async def test_tool_calls_in_fragments_are_joined() -> None:
    def part(at: int, **function: Any) -> str:
        identity = {"id": f"call_{at}", "type": "function"} if "name" in function else {}
        return chunk(tool_calls=[{"index": at, **identity, "function": function}])

    events = [
        part(0, name="f", arguments=""),
        part(0, arguments='{"a":'),
        part(1, name="g", arguments="{}"),
        part(0, arguments="1}"),
    ]
    events += [chunk(finish_reason="tool_calls"), USAGE, DONE]
    answer = await collect(generator(lambda _: streamed(events)).stream(REQUEST))
    calls = answer.choices[0].tool_calls
    assert [(call["id"], call["function"]) for call in calls] == [
        ("call_0", {"name": "f", "arguments": '{"a":1}'}),
        ("call_1", {"name": "g", "arguments": "{}"}),
    ]
    assert answer.choices[0].text is None


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"message": "bad temperature", "param": "temperature"}}, InvalidRequest),
        (400, {"message": "maximum context length is 10"}, ContextLengthExceeded),
        (401, {"error": "no key"}, EngineUnavailable),
        (404, {"detail": "Not Found"}, EngineUnavailable),
        (429, {}, EngineOverloaded),
        (500, "boom", EngineError),
        (503, {}, EngineUnavailable),
    ],
)
async def test_an_engines_refusal_is_a_typed_error(status: int, body: Any, expected: type[TensorasError]) -> None:
    with pytest.raises(expected) as caught:
        await collect(generator(lambda _: httpx.Response(status, json=body)).stream(REQUEST))
    assert type(caught.value) is expected
    if body == {"error": {"message": "bad temperature", "param": "temperature"}}:
        assert caught.value.param == "temperature"


@pytest.mark.parametrize(
    "events",
    [HELLO[:2], [*HELLO[:2], 'data: {"error":{"message":"died"}}\n\n'], [*HELLO[:2], "data: {oops\n\n"]],
)
async def test_a_stream_that_breaks_is_an_error_and_never_an_answer(events: list[str]) -> None:
    with pytest.raises(EngineError):
        await collect(generator(lambda _: streamed(events)).stream(REQUEST))


async def test_a_replica_that_is_down_is_passed_over_and_load_is_spread() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        if request.url.host == "down":
            raise httpx.ConnectError("refused")
        return streamed(HELLO)

    engine = generator(handler, ["http://down/v1", "http://up/v1"])
    assert (await collect(engine.stream(REQUEST))).choices[0].text == "Hello"
    assert asked == ["down", "up"]

    both = generator(handler, ["http://one/v1", "http://two/v1"])
    asked.clear()
    first = both.stream(REQUEST)
    await anext(first)
    second = both.stream(REQUEST)
    await anext(second)
    assert asked == ["one", "two"]
    await first.aclose()
    await second.aclose()


async def test_all_replicas_down_is_unavailable_with_a_time_to_retry() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    engine = generator(handler)
    with pytest.raises(EngineUnavailable) as caught:
        await collect(engine.stream(REQUEST))
    assert caught.value.retry_after > 0
    assert not await engine.ready()
    with pytest.raises(EngineUnavailable):
        await engine.context_length()


async def test_permits_refuse_before_work_and_come_back_when_a_stream_is_closed() -> None:
    engine = generator(lambda _: streamed(HELLO), max_concurrency=1)
    first = engine.stream(REQUEST)
    await anext(first)
    with pytest.raises(EngineOverloaded):
        await collect(engine.stream(REQUEST))
    await first.aclose()
    assert (await collect(engine.stream(REQUEST))).choices[0].text == "Hello"


async def test_the_engine_is_asked_for_its_context_and_counts_its_own_tokens() -> None:
    paths: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "served", "max_model_len": 2048}]})
        return httpx.Response(200, json={"count": 7})

    engine = generator(handler)
    assert await engine.context_length() == 2048
    assert await engine.context_length() == 2048
    assert await engine.count_tokens(REQUEST.messages, {}) == 7
    assert await engine.ready()
    assert paths == ["/v1/models", "/tokenize", "/v1/models"]


async def test_without_a_token_counter_the_estimate_errs_on_the_high_side() -> None:
    engine = generator(lambda _: httpx.Response(404, json={}))
    assert await engine.count_tokens([Message("user", "word " * 100)], {}) >= 100


async def test_an_engine_that_serves_another_model_is_named() -> None:
    engine = generator(lambda _: httpx.Response(200, json={"data": [{"id": "other"}]}))
    with pytest.raises(EngineUnavailable, match="other"):
        await engine.context_length()
