"""Embeddings and reranking."""

from __future__ import annotations

import base64
import struct
from typing import Any

import openai
import pytest

from tests.serving.conftest import House

MODEL = "hash-embedder"


async def test_embeddings(house: House) -> None:
    made = await house.openai.embeddings.create(model=MODEL, input=["hello world", "other"])
    assert [one.index for one in made.data] == [0, 1]
    assert made.object == "list"
    assert made.usage.prompt_tokens == made.usage.total_tokens == 3
    vectors = await house.services.embedder.embed_documents(["hello world", "other"])
    for one, vector in zip(made.data, vectors, strict=True):
        assert one.embedding == pytest.approx(vector.tolist(), abs=1e-6)


async def test_formats_agree(house: House) -> None:
    async def ask(kind: str | None) -> Any:
        body = {"model": MODEL, "input": "hello", **({"encoding_format": kind} if kind else {})}
        return (await house.http.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"]

    floats, packed = await ask("float"), base64.b64decode(await ask("base64"), validate=True)
    assert await ask(None) == floats
    assert list(struct.unpack(f"<{len(packed) // 4}f", packed)) == pytest.approx(floats)


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "nope"}, 404, "model"),
        ({"input": ""}, 400, "input"),
        ({"input": ["a", " "]}, 400, "input[1]"),
        ({"input": []}, 400, "input"),
        ({"input": {"a": 1}}, 400, "input"),
        ({"input": ["x"] * 2049}, 400, "input"),
        ({"input": [1, 2]}, 400, "input"),
        ({"input": "w " * 300}, 400, "input"),
        ({"dimensions": 7}, 400, "dimensions"),
        ({"encoding_format": "hex"}, 400, "encoding_format"),
    ],
)
async def test_bad_embeddings(house: House, change: dict[str, Any], status: int, param: str) -> None:
    answer = await house.http.post("/v1/embeddings", json={"model": MODEL, "input": "x", **change})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param


async def test_the_models_own_dimension_is_fine(house: House) -> None:
    made = await house.openai.embeddings.create(model=MODEL, input="x", dimensions=64)
    assert len(made.data[0].embedding) == 64
    with pytest.raises(openai.NotFoundError):
        await house.openai.embeddings.create(model="nope", input="x")


DOCUMENTS = ["bananas are yellow", {"text": "the capital of France"}, "bananas are yellow", "capital"]


async def rerank(house: House, **change: Any) -> Any:
    body = {"model": "overlap-reranker", "query": "capital of France", "documents": DOCUMENTS, **change}
    return await house.http.post("/v1/rerank", json=body)


async def test_rerank(house: House) -> None:
    body = (await rerank(house)).json()
    assert [one["index"] for one in body["results"]] == [1, 3, 0, 2]
    assert [one["relevance_score"] for one in body["results"]] == pytest.approx([1, 1 / 3, 0, 0])
    assert body["results"][0]["document"] == {"text": "the capital of France"}
    assert (body["object"], body["model"]) == ("list", "overlap-reranker")
    assert body["usage"]["total_tokens"] > 0
    assert len((await rerank(house, top_n=2)).json()["results"]) == 2
    assert len((await rerank(house, top_n=99)).json()["results"]) == 4
    assert "document" not in (await rerank(house, return_documents=False)).json()["results"][0]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "nope"}, 404, "model"),
        ({"documents": []}, 400, "documents"),
        ({"documents": [5]}, 400, "documents[0]"),
        ({"documents": [{"body": "x"}]}, 400, "documents[0].text"),
        ({"query": ""}, 400, "query"),
        ({"top_n": 0}, 400, "top_n"),
    ],
)
async def test_bad_reranks(house: House, change: dict[str, Any], status: int, param: str) -> None:
    answer = await rerank(house, **change)
    assert answer.status_code == status
    assert answer.json()["error"]["param"].startswith(param.split(".", maxsplit=1)[0])


async def test_no_reranker(make_house: Any) -> None:
    house: House = await make_house(parts={"reranker": None})
    answer = await rerank(house)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
