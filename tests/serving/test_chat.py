"""Chat: OpenAI's shapes, what reaches the pipeline, citations, streaming."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from rag.types import Annotation, Delta, RagOptions, Scope
from tests.serving.conftest import CHAT, House, sse_data
from tests.serving.doubles import CITED, PASSAGE, REPORT, USAGE

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": None}}}
CITATION = {
    "source": "größe.pdf",
    "text": "The limit is 40 °C.",
    "score": 0.87,
    "index": 1,
    "cited": True,
    "knowledge_base_id": "kb_1",
    "document_id": "doc_1",
    "file_id": "file-1",
    "chunk_id": "chunk_1",
    "page": 7,
    "start": 100,
    "end": 119,
    "spans": [
        {
            "answer_start": 0,
            "answer_end": 20,
            "quote": "The limit is 40 °C.",
            "start": 100,
            "end": 119,
            "page": 7,
            "verification": "exact",
        }
    ],
}
ANNOTATION = {
    "type": "url_citation",
    "url_citation": {
        "start_index": 0,
        "end_index": 20,
        "title": "größe.pdf",
        "url": "http://test/v1/knowledge-bases/kb_1/documents/doc_1/content#char=100,119",
    },
}


async def ask(house: House, **change: Any) -> Any:
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, **change})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def chunks(house: House, **change: Any) -> list[dict[str, Any]]:
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, **change, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, last = sse_data(answer.text)
    assert last == "[DONE]"
    return [json.loads(event) for event in events]


async def base(house: House, tenant: str = "default") -> str:
    return (await house.ingestion.create_knowledge_base(tenant, "kb")).id


# whole answers -----------------------------------------------------------------------------------


async def test_the_object(house: House) -> None:
    body = await ask(house)
    assert abs(body.pop("created") - time.time()) < 60
    assert body.pop("id").startswith("chatcmpl-")
    assert body == {
        "object": "chat.completion",
        "model": "small",
        "system_fingerprint": "fp_small",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello world", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 11,
            "completion_tokens": 3,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


async def test_with_knowledge_bases(house: House) -> None:
    kb_id = await base(house)
    body = await ask(house, knowledge_bases=[kb_id, kb_id])
    assert body["citations"] == [CITATION]
    assert body["choices"][0]["message"]["annotations"] == [ANNOTATION]
    assert body["retrieval"] == {
        "query": "what is the limit",
        "search_type": "hybrid",
        "candidates": 40,
        "rerank": "applied",
        "timings_ms": {"embed": 1.0, "search": 2.0, "rerank": 3.0},
        "dropped_sentences": [],
    }
    assert house.pipeline.questions[-1].scope == Scope("default", (kb_id,))


async def test_nothing_found(house: House) -> None:
    house.pipeline.script = [Delta(text="No."), Delta(finish_reason="stop", citations=(), retrieval=REPORT)]
    body = await ask(house, knowledge_bases=[await base(house)])
    assert body["citations"] == []
    assert body["choices"][0]["message"]["annotations"] == []


async def test_an_empty_list_asks_nothing(house: House) -> None:
    assert "citations" not in await ask(house, knowledge_bases=[])
    assert house.pipeline.questions[-1].scope is None


async def test_several_choices_name_theirs(house: House) -> None:
    body = await ask(house, knowledge_bases=[await base(house)], n=2)
    assert [choice["index"] for choice in body["choices"]] == [0, 1]
    assert [span["choice"] for span in body["citations"][0]["spans"]] == [0, 1]
    assert all(choice["message"]["annotations"] == [ANNOTATION] for choice in body["choices"])


@pytest.mark.parametrize("stream", [False, True])
async def test_unknown_knowledge_base_before_any_work(house: House, stream: bool) -> None:
    mine, theirs = await base(house), await base(house, "other")
    for unknown in ("kb_nope", theirs):
        asked = {**CHAT, "knowledge_bases": [mine, unknown], "stream": stream}
        answer = await house.http.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("knowledge_base_not_found", "knowledge_bases")
        assert unknown in error["message"]
    assert house.pipeline.questions == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["nope", "hash-embedder", "Small"])
async def test_unknown_model(house: House, model: str, stream: bool) -> None:
    answer = await house.http.post("/v1/chat/completions", json={**CHAT, "model": model, "stream": stream})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"


# what reaches the pipeline -----------------------------------------------------------------------


async def test_parameters_pass_unchanged(house: House) -> None:
    passed = {
        "temperature": 1,
        "top_p": 0.5,
        "n": 1,
        "seed": 7,
        "stop": ["\x00never"],
        "logit_bias": {},
        "logprobs": True,
        "top_logprobs": 2,
        "max_completion_tokens": 5,
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": [None]}}},
        "reasoning_effort": "low",
        "ignore_eos": True,
    }
    kept = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "safety_identifier": "x",
        "prompt_cache_key": "y",
        "rag": {"top_k": 3},
    }
    nulls = {"max_tokens": None, "presence_penalty": None, "stream": None, "stream_options": None}
    await ask(house, **passed, **kept, **nulls)
    assert house.pipeline.questions[-1].params == passed


async def test_messages_pass_unchanged(house: House) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "d"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            "reasoning_content": "hm",
        },
        {"role": "tool", "tool_call_id": "1", "content": "héllo 世界 🦜 \u200b \u202e"},
    ]
    await ask(house, messages=messages)
    assert [message.to_openai() for message in house.pipeline.questions[-1].messages] == messages


async def test_a_tool_choice_without_tools_is_dropped(house: House) -> None:
    await ask(house, tools=None, tool_choice="none")
    assert house.pipeline.questions[-1].params == {}


async def test_rag_options(house: House) -> None:
    kb_id = await base(house)
    filters = {"document_name": "a.pdf", "metadata": {"year": {"$gte": 2020}, "tag": ["a", "b"]}}
    rag = {
        "top_k": 50,
        "search_type": "keyword",
        "rerank": False,
        "filters": filters,
        "min_score": 1,
        "rewrite": "off",
        "citation_policy": "strict",
        "context_tokens": 99,
    }
    await ask(house, knowledge_bases=[kb_id], rag=rag)
    assert house.pipeline.questions[-1].rag == RagOptions(
        top_k=50,
        candidates=50,
        search_type="keyword",
        rerank=False,
        filters=filters,
        min_score=1,
        rewrite="off",
        citation_policy="strict",
        context_tokens=99,
    )
    await ask(house, knowledge_bases=[kb_id])
    assert house.pipeline.questions[-1].rag == RagOptions()


async def test_defaults_of_the_one_knowledge_base(house: House) -> None:
    first, second = await base(house), await base(house)
    await house.http.patch(f"/v1/knowledge-bases/{first}", json={"defaults": {"top_k": 9, "rerank": False}})
    await ask(house, knowledge_bases=[first], rag={"rerank": True})
    assert house.pipeline.questions[-1].rag == RagOptions(top_k=9, rerank=True)
    await ask(house, knowledge_bases=[first, second])
    assert house.pipeline.questions[-1].rag == RagOptions()


async def test_public_url(make_house: Any) -> None:
    house: House = await make_house(public_url="https://rag.example/")
    body = await ask(house, knowledge_bases=[await base(house)])
    url = body["choices"][0]["message"]["annotations"][0]["url_citation"]["url"]
    assert url.startswith("https://rag.example/v1/knowledge-bases/")


# streams -----------------------------------------------------------------------------------------


async def test_the_chunks(house: House) -> None:
    made = await chunks(house)
    assert len({(c["id"], c["created"], c["model"], c["system_fingerprint"], c["object"]) for c in made}) == 1
    assert made[0]["object"] == "chat.completion.chunk"
    assert [chunk["choices"][0]["delta"] for chunk in made] == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Hello"},
        {"content": " world"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in made] == [None, None, None, "stop"]
    assert not any("usage" in chunk or "citations" in chunk for chunk in made)


async def test_usage_in_a_stream(house: House) -> None:
    made = await chunks(house, stream_options={"include_usage": True})
    assert all(chunk["usage"] is None and chunk["choices"] for chunk in made[:-1])
    assert made[-1]["choices"] == []
    assert made[-1]["usage"]["total_tokens"] == 14


@pytest.mark.parametrize("n", [1, 2])
async def test_the_joined_stream_is_the_whole_answer(house: House, n: int) -> None:
    kb_id = await base(house)
    whole = await ask(house, knowledge_bases=[kb_id], n=n)
    made = await chunks(house, knowledge_bases=[kb_id], n=n)
    for at in range(n):
        deltas = [c["delta"] for chunk in made for c in chunk["choices"] if c["index"] == at]
        message = whole["choices"][at]["message"]
        assert "".join(delta.get("content") or "" for delta in deltas) == message["content"]
        assert [a for delta in deltas for a in delta.get("annotations", [])] == message["annotations"]
        assert sum("role" in delta for delta in deltas) == 1
    ends = [chunk for chunk in made if "citations" in chunk]
    assert all(chunk["choices"][0]["finish_reason"] == "stop" for chunk in ends)
    assert ends[-1] is made[-1]
    assert ends[-1]["citations"] == whole["citations"]
    assert ends[-1]["retrieval"] == whole["retrieval"]


async def test_annotations_go_out_with_their_sentence_when_the_passages_are_known(house: House) -> None:
    house.pipeline.script = [
        Delta(citations=(CITED,)),
        Delta(text="The limit is 40 °C. ", annotations=(Annotation(0, 20, 1),)),
        Delta(text="More."),
        Delta(finish_reason="stop", citations=(CITED,), retrieval=REPORT),
    ]
    made = await chunks(house, knowledge_bases=[await base(house)])
    annotated = [chunk for chunk in made if "annotations" in chunk["choices"][0]["delta"]]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in annotated] == ["The limit is 40 °C. "]
    assert annotated[0]["choices"][0]["delta"]["annotations"] == [ANNOTATION]
    assert sum("citations" in chunk for chunk in made) == 1


async def test_a_delta_with_everything(house: House) -> None:
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}
    logprobs = {"content": [{"token": "a", "logprob": -1.0}]}
    house.pipeline.script = [
        Delta(text="a", tool_calls=(call,), logprobs=logprobs, finish_reason="tool_calls", extra={"x": 1}),
        Delta(usage=USAGE),
    ]
    made = await chunks(house)
    assert [chunk["choices"][0]["delta"].get("content") for chunk in made] == ["", "a", None]
    assert made[1]["choices"][0]["delta"] == {"content": "a", "tool_calls": [call], "x": 1}
    assert made[1]["choices"][0]["logprobs"] == logprobs
    assert made[2]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "tool_calls"}
    whole = await ask(house)
    message = whole["choices"][0]["message"]
    assert (message["content"], message["x"], whole["choices"][0]["logprobs"]) == ("a", 1, logprobs)
    assert message["tool_calls"][0]["function"]["name"] == "f"


async def test_an_answer_of_nothing(house: House) -> None:
    house.pipeline.script = []
    assert await chunks(house) == []


# the official client -----------------------------------------------------------------------------


async def test_the_openai_client(house: House) -> None:
    kb_id = await base(house)
    done = await house.openai.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    assert done.choices[0].message.content == "Hello world"
    assert done._request_id
    rag = {"knowledge_bases": [kb_id], "rag": {"top_k": 2}}
    cited = await house.openai.chat.completions.create(**CHAT, extra_body=rag)  # type: ignore[call-overload]
    assert cited.citations[0]["source"] == PASSAGE.source
    assert cited.choices[0].message.annotations[0].url_citation.title == PASSAGE.source
    stream = await house.openai.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
    text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text) == "Hello world"
    async with house.openai.chat.completions.stream(**CHAT, stream_options={"include_usage": True}) as helper:
        kinds = [event.type async for event in helper]
        final = await helper.get_final_completion()
    assert kinds.count("content.done") == 1
    assert final.usage is not None
    assert final.usage.total_tokens == 14


async def test_the_openai_client_raises_its_own_errors(house: House) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await house.openai.chat.completions.create(**{**CHAT, "model": "nope"})  # type: ignore[call-overload]
    assert missing.value.code == "model_not_found"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError) as bad:
        await house.openai.chat.completions.create(**CHAT, temperature=5)  # type: ignore[call-overload]
    assert bad.value.param == "temperature"
    with pytest.raises(openai.AuthenticationError):
        await house.openai.with_options(api_key="tns_wrong").models.list()
    house.pipeline.script = [Delta(text="a"), ValueError("boom")]
    stream = await house.openai.chat.completions.create(**CHAT, stream=True)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError):
        _ = [chunk async for chunk in stream]


async def test_models(house: House) -> None:
    listed = [model.id async for model in house.openai.models.list()]
    assert listed == ["small", "org/large", "hash-embedder"]
    for name in listed:
        assert (await house.openai.models.retrieve(name)).id == name
    found = (await house.http.get("/v1/models/org/large")).json()
    assert found == {
        "id": "org/large",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "tests",
        "kind": "chat",
        "context_length": 4096,
        "capabilities": ["chat"],
        "description": "",
    }
    with pytest.raises(openai.NotFoundError):
        await house.openai.models.retrieve("no-such-model")
