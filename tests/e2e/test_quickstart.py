"""A stranger's first hour: a fresh clone, an empty home, one command, then any OpenAI client."""

from __future__ import annotations

import pytest
from openai import APIStatusError, AsyncOpenAI

from tests.e2e.api import Api, check_citations
from tests.e2e.conftest import Quickstart

MODEL = "smollm2-135m-instruct"
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def api(quickstart: Quickstart) -> Api:
    return quickstart.api


@pytest.fixture(scope="module")
def kb(api: Api) -> str:
    return str(api.get("/v1/knowledge-bases")["data"][0]["id"])


def test_the_first_run_answers_with_citations_and_leaves_the_server_running(quickstart: Quickstart) -> None:
    assert f"{quickstart.api.base_url}/v1" in quickstart.output
    assert quickstart.api.key in quickstart.output
    assert quickstart.output.count("[1]") >= 2
    assert "page" in quickstart.output
    assert quickstart.api.ready()


def test_the_second_run_reuses_everything(quickstart: Quickstart, kb: str) -> None:
    api = quickstart.api
    before = {file.id for file in api.openai.files.list()}
    pid = (quickstart.folder / ".tensoras" / "server.lock").read_text()
    output = quickstart.make("quickstart", 300)
    assert f"{api.base_url}/v1" in output
    assert {file.id for file in api.openai.files.list()} == before
    assert [base["id"] for base in api.get("/v1/knowledge-bases")["data"]] == [kb]
    assert (quickstart.folder / ".tensoras" / "server.lock").read_text() == pid


def test_both_chat_models_are_listed(api: Api) -> None:
    assert {MODEL, "extractive"} <= {model.id for model in api.openai.models.list()}


@pytest.mark.parametrize("model", [MODEL, "extractive"])
def test_questions_are_answered_with_checked_citations(api: Api, kb: str, model: str) -> None:
    answer = api.ask(kb, "Which languages does the duty desk speak?", model, max_tokens=60, temperature=0)
    content = answer.choices[0].message.content
    assert content
    assert answer.usage.completion_tokens > 0
    assert 1 <= len(answer.citations) <= 5
    check_citations(api, kb, content, answer.citations)


@pytest.mark.parametrize("model", [MODEL, "extractive"])
def test_the_stream_equals_the_plain_answer(api: Api, kb: str, model: str) -> None:
    how = {"max_tokens": 40, "temperature": 0, "seed": 7}
    plain = api.ask(kb, "How heavy may a bicycle be?", model, **how)
    chunks = list(api.ask(kb, "How heavy may a bicycle be?", model, stream=True, **how))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == plain.choices[0].message.content
    last = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
    assert last.citations == plain.citations


async def test_the_async_client_streams(api: Api, kb: str) -> None:
    async with AsyncOpenAI(base_url=f"{api.base_url}/v1", api_key=api.key) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Say hello."}], max_tokens=8, stream=True
        )
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(pieces).strip()


def test_plain_chat_tools_and_schemas_pass_through(api: Api) -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    called = api.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the weather in Oslo?"}],
        tools=[tool],
        tool_choice="required",
        max_tokens=60,
    )
    assert called.choices[0].message.tool_calls[0].function.name == "get_weather"
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    answer = api.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Give a number as JSON."}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "number", "schema": schema, "strict": True},
        },
        max_tokens=40,
    )
    assert '"n"' in answer.choices[0].message.content


def test_a_question_longer_than_the_context_is_refused_by_name(api: Api) -> None:
    with pytest.raises(APIStatusError) as caught:
        api.openai.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 20000}])
    assert caught.value.status_code == 400
    assert caught.value.code == "context_length_exceeded"
