"""Every row of the error table, with and without a stream; bad bodies; nothing of the inside leaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rag import errors
from rag.types import Delta
from serving.errors import describe
from tests.serving.conftest import CHAT, House, sse_data

ROWS = [
    (errors.InvalidRequest("no", param="tools"), 400, "invalid_request_error", "invalid_value"),
    (errors.ContextLengthExceeded("long"), 400, "invalid_request_error", "context_length_exceeded"),
    (errors.DocumentError("needs_ocr", "scan"), 400, "invalid_request_error", "needs_ocr"),
    (errors.NotFound("gone", code="model_not_found"), 404, "not_found_error", "model_not_found"),
    (errors.Conflict("busy", code="knowledge_base_busy"), 409, "conflict_error", "knowledge_base_busy"),
    (errors.EngineOverloaded("full", retry_after=2.2), 429, "rate_limit_error", "engine_overloaded"),
    (errors.EngineError("broken"), 502, "api_error", "engine_error"),
    (errors.EngineUnavailable("down"), 503, "api_error", "engine_unavailable"),
    (errors.VectorStoreUnavailable("down"), 503, "api_error", "vector_store_unavailable"),
    (errors.ModelUnavailable("loading"), 503, "api_error", "model_loading"),
    (errors.DeadlineExceeded("late"), 504, "api_error", "timeout"),
    (errors.IndexMismatch("reindex"), 500, "api_error", "index_mismatch"),
]
MISSING = "missing_required_parameter"
IDS = [type(row[0]).__name__ for row in ROWS]


def check_shape(body: dict[str, Any]) -> dict[str, Any]:
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("error", "status", "kind", "code"), ROWS, ids=IDS)
async def test_library_errors(
    house: House, error: errors.TensorasError, status: int, kind: str, code: str, stream: bool
) -> None:
    house.pipeline.script = [error]
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, "stream": stream})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    told = check_shape(answer.json())
    assert (told["type"], told["code"], told["message"]) == (kind, code, error.message)
    assert told["param"] == error.param
    wait = getattr(error, "retry_after", None)
    assert ("retry-after" in answer.headers) == (wait is not None)
    assert answer.headers["x-request-id"]
    assert "x-ratelimit-limit" in answer.headers


@pytest.mark.parametrize(("error", "status", "kind", "code"), ROWS, ids=IDS)
async def test_errors_after_the_first_byte(
    house: House, error: errors.TensorasError, status: int, kind: str, code: str
) -> None:
    house.pipeline.script = [Delta(text="Hel"), error]
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert answer.status_code == 200
    events = sse_data(answer.text)
    assert "[DONE]" not in events
    assert check_shape(json.loads(events[-1]))["code"] == code
    assert sum("error" in json.loads(event) for event in events) == 1


async def test_retry_after_is_whole_seconds(house: House) -> None:
    house.pipeline.script = [errors.EngineOverloaded("full", retry_after=2.2)]
    answer = await house.http.post("/v1/chat/completions", json=CHAT)
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_bug_tells_only_the_request_id(house: House, stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    house.pipeline.script = [ZeroDivisionError("secret /etc/passwd")]
    headers = {"x-request-id": "abc-1"}
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, "stream": stream}, headers=headers)
    assert answer.status_code == 500
    error = check_shape(answer.json())
    assert (error["type"], error["code"]) == ("api_error", "internal_error")
    assert "secret" not in answer.text
    assert "abc-1" in error["message"]
    assert "ZeroDivisionError" in caplog.text


async def test_a_bug_in_mid_stream(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.pipeline.script = [Delta(text="a"), ZeroDivisionError("secret")]
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    assert json.loads(sse_data(answer.text)[-1])["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"model": "x", ', "invalid_json"),
        ("", MISSING),
        ("[1,2]", "invalid_value"),
        ('"text"', "invalid_value"),
        ("null", "invalid_value"),
        ('{"model": "small", "messages": [{"role": "user", "content": "\\ud800"}]}', "invalid_json"),
        (
            '{"model": "small", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
            "invalid_json",
        ),
        ("[" * 100_000, "invalid_json"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "invalid_json"),
        (b"\xff\xfe{}", "invalid_json"),
    ],
)
async def test_bad_bodies(house: House, body: str | bytes, code: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await house.http.post("/v1/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    error = check_shape(answer.json())
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_that_is_not_called_json(house: House, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answer = await house.http.post("/v1/chat/completions", content=json.dumps(CHAT), headers=headers)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in check_shape(answer.json())["message"]


async def test_unknown_route_and_method(house: House) -> None:
    missing = await house.http.get("/no/such/route")
    assert missing.status_code == 404
    assert check_shape(missing.json())["code"] == "unknown_url"
    wrong = await house.http.get("/v1/embeddings")
    assert wrong.status_code == 405
    assert check_shape(wrong.json())["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


async def test_control_characters_in_the_path(house: House) -> None:
    answer = await house.http.get("/v1/files/a%00b")
    assert answer.status_code == 404
    check_shape(answer.json())


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": "hello"}, "messages", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0]", "invalid_value"),
        ({"messages": [1]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", MISSING),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "assistant"}]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", MISSING),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            MISSING,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
            "messages[0].content[0]",
            "invalid_value",
        ),
        ({"temperature": 5}, "temperature", "invalid_value"),
        ({"temperature": "1"}, "temperature", "invalid_value"),
        ({"top_p": 2}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"n": 17}, "n", "invalid_value"),
        ({"n": True}, "n", "invalid_value"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 50}, "top_logprobs", "invalid_value"),
        ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
        ({"seed": 2**70}, "seed", "invalid_value"),
        ({"stop": [""]}, "stop[0]", "invalid_value"),
        ({"response_format": {"type": "yaml"}}, "response_format", "invalid_value"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", MISSING),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", MISSING),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
        ),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"audio": {"voice": "x"}}, "audio", "invalid_value"),
        ({"functions": [{"name": "f"}]}, "functions", "invalid_value"),
        ({"wibble": 1}, "wibble", "unknown_parameter"),
        ({"rag": {"topk": 3}}, "rag.topk", "unknown_parameter"),
        ({"rag": {"top_k": 0}}, "rag.top_k", "invalid_value"),
        ({"rag": {"top_k": 9, "candidates": 3}}, "rag", "invalid_value"),
        ({"rag": {"filters": {"author": "x"}}}, "rag.filters.author", "unknown_parameter"),
        ({"rag": {"filters": {"metadata": {"a": {"$regex": "x"}}}}}, "rag.filters.metadata", "invalid_value"),
        ({"knowledge_bases": "kb_1"}, "knowledge_bases", "invalid_value"),
        ({"knowledge_bases": [""]}, "knowledge_bases[0]", "invalid_value"),
        ({"knowledge_bases": ["kb"] * 65}, "knowledge_bases", "invalid_value"),
    ],
)
async def test_validation_names_the_field(house: House, change: dict[str, Any], param: str, code: str) -> None:
    for stream in ({}, {"stream": True}):
        body = {**CHAT, **({} if "stream_options" in change else stream), **change}
        answer = await house.http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400, answer.text
        error = check_shape(answer.json())
        assert (error["param"], error["code"]) == (param, code), error
        assert param in error["message"]
        assert house.pipeline.questions == []


async def test_missing_fields(house: House) -> None:
    for name in CHAT:
        body = {key: value for key, value in CHAT.items() if key != name}
        error = check_shape((await house.http.post("/v1/chat/completions", json=body)).json())
        assert (error["param"], error["code"]) == (name, MISSING)


async def test_query_parameters(house: House) -> None:
    for query, param in (
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("order=up", "order"),
        ("after=%00", "after"),
    ):
        answer = await house.http.get(f"/v1/files?{query}")
        assert answer.status_code == 400
        assert check_shape(answer.json())["param"] == param


async def test_a_too_large_body(make_house: Any) -> None:
    house: House = await make_house(max_body_mb=1)
    body = json.dumps({**CHAT, "user": "x" * 1_100_000})
    headers = {"Content-Type": "application/json"}
    declared = await house.http.post("/v1/chat/completions", content=body, headers=headers)

    async def pieces() -> Any:
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536].encode()

    chunked = await house.http.post("/v1/chat/completions", content=pieces(), headers=headers)
    assert "content-length" not in chunked.request.headers
    for answer in (declared, chunked):
        assert answer.status_code == 413
        error = check_shape(answer.json())
        assert (error["type"], error["code"]) == ("invalid_request_error", "file_too_large")
        assert answer.headers["connection"] == "close"


async def test_a_content_length_that_is_no_number(house: House) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "-5"}
    answer = await house.http.post("/v1/chat/completions", content=b"{}", headers=headers)
    assert answer.status_code == 400


def test_every_error_of_the_tree_has_a_row() -> None:
    """A new class without a row would be answered as a bug."""
    kinds, todo = [], [errors.TensorasError]
    while todo:
        found = todo.pop().__subclasses__()
        kinds += found
        todo += found
    for kind in kinds:
        if kind.__module__ == "rag.errors":
            made = kind("code", "m") if kind is errors.DocumentError else kind("m")  # type: ignore[call-arg]
            assert describe(made).message == "m", kind


async def test_request_ids(house: House) -> None:
    sane = await house.http.get("/v1/models", headers={"x-request-id": "a.B_9-z"})
    assert sane.headers["x-request-id"] == "a.B_9-z"
    for odd in ("x" * 129, "a b", "é", ""):
        answer = await house.http.get("/v1/models", headers={"x-request-id": odd.encode()})
        assert answer.headers["x-request-id"].startswith("req_")
    first, second = [await house.http.get("/v1/models") for _ in range(2)]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
