"""Strict mode and the checks that every filter and id passes."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from rag.vectord import filters
from rag.vectord.app import create_app
from rag.vectord.errors import BadInput, BadRequest
from rag.vectord.filters import FilterRules, point_id, to_edge
from rag.vectord.indexes import Index

from .conftest import OpenService

STRICT = m.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False)
INDEXES = {
    "kb": Index("keyword", {"is_tenant": True}),
    "prefixed": Index("keyword", {"prefix": True}),
    "id": Index("uuid", {}),
    "n": Index("integer", {}),
    "lookup": Index("integer", {"range": False}),
    "ranged": Index("integer", {"lookup": False}),
    "x": Index("float", {}),
    "ok": Index("bool", {}),
    "when": Index("datetime", {}),
    "text": Index("text", {}),
    "phrased": Index("text", {"phrase_matching": True}),
    "list[].k": Index("keyword", {}),
}
UUID = str(uuid.uuid4())


def condition(key: str, **test: Any) -> m.Filter:
    return m.Filter(must=[m.FieldCondition(key=key, **test)])


def nested(key: str, inner: m.Filter) -> m.Filter:
    return m.Filter(must=[m.NestedCondition(nested=m.Nested(key=key, filter=inner))])


word = m.MatchValue(value="x")
number = m.MatchValue(value=1)
above = m.Range(gt=1)
after = m.DatetimeRange(gt="2024-01-01T00:00:00Z")
CASES = [
    (condition("kb", match=word), None),
    (condition("kb", match=m.MatchAny(any=["a", "b"])), None),
    (condition("kb", match=m.MatchExcept(**{"except": ["a"]})), None),
    (condition("kb", match=number), "integer"),
    (condition("kb", range=above), "float, integer"),
    (condition("kb", match=m.MatchPrefix(prefix="a")), "keyword"),
    (condition("prefixed", match=m.MatchPrefix(prefix="a")), None),
    (condition("id", match=m.MatchValue(value=UUID)), None),
    (condition("id", match=word), "keyword"),
    (condition("missing", match=m.MatchValue(value=UUID)), "keyword, uuid"),
    (condition("n", match=number), None),
    (condition("n", range=above), None),
    (condition("lookup", range=above), "float, integer"),
    (condition("ranged", match=number), "integer"),
    (condition("x", range=above), None),
    (condition("x", match=number), "integer"),
    (condition("ok", match=m.MatchValue(value=True)), None),
    (condition("n", match=m.MatchValue(value=True)), "bool"),
    (condition("when", range=after), None),
    (condition("n", range=after), "datetime"),
    (condition("text", match=m.MatchText(text="a b")), None),
    (condition("text", match=m.MatchPhrase(phrase="a b")), "text"),
    (condition("phrased", match=m.MatchPhrase(phrase="a b")), None),
    (condition("kb", match=m.MatchText(text="a")), "text"),
    (condition("missing", match=m.MatchAny(any=[])), None),
    (condition("kb", values_count=m.ValuesCount(gt=1)), None),
    (condition("missing", is_null=True), "bool, datetime, float, geo, integer, keyword, text, uuid"),
    (m.Filter(must=[m.HasIdCondition(has_id=[1])]), None),
    (m.Filter(must=[m.IsEmptyCondition(is_empty=m.PayloadField(key="kb"))]), None),
    (m.Filter(must=[m.IsNullCondition(is_null=m.PayloadField(key="zz"))]), "bool, datetime, float, geo"),
    (m.Filter(should=[m.Filter(must_not=[m.FieldCondition(key="zz", match=word)])]), "keyword"),
    (m.Filter(min_should=m.MinShould(conditions=condition("zz", match=word).must, min_count=1)), "keyword"),
    (nested("list", condition("k", match=word)), None),
    (nested("list[]", condition("k", match=word)), None),
    (nested("list", condition("kb", match=word)), "keyword"),
    (m.Filter(), None),
]  # fmt: skip


@pytest.mark.parametrize(("source", "types"), CASES)
def test_strict_mode_asks_for_the_index_that_fits(source: m.Filter, types: str | None) -> None:
    if types is None:
        assert to_edge(source, FilterRules(INDEXES, require_index=True)) is not None
    else:
        with pytest.raises(BadRequest, match=r"Index required but not found") as caught:
            to_edge(source, FilterRules(INDEXES, require_index=True))
        assert f"types: [{types}" in caught.value.text
    assert to_edge(source, FilterRules()) is not None, "without strict mode every one of them works"


def test_the_conditions_of_one_request_are_bounded() -> None:
    many = m.Filter(must=[m.Filter(should=[m.FieldCondition(key="kb", match=word)] * 10)] * 10)
    assert to_edge(many, FilterRules(conditions_left=110)) is not None
    with pytest.raises(BadRequest, match="too many filter conditions"):
        to_edge(many, FilterRules(conditions_left=109))


@given(st.one_of(st.integers(0, 2**64 - 1), st.uuids()))
def test_point_ids(raw: int | uuid.UUID) -> None:
    assert point_id(raw) == raw
    if isinstance(raw, uuid.UUID):
        assert point_id(str(raw)) == point_id(raw.hex) == raw


@given(st.one_of(st.integers(max_value=-1), st.integers(2**64), st.text(max_size=20)))
def test_what_is_no_point_id(raw: int | str) -> None:
    with pytest.raises(BadInput, match="not a valid point ID"):
        point_id(raw)


def test_times_without_a_zone_are_utc() -> None:
    read = m.DatetimeRange.model_validate({"gt": "2024-01-02T03:04:05", "lt": "2024-01-03"})
    assert filters.utc_text(read.gt) == "2024-01-02T03:04:05+00:00"
    assert filters.utc_text(read.lt) == "2024-01-03T00:00:00+00:00"
    assert filters.utc_text(None) is None


async def strict_collection(client: AsyncQdrantClient) -> None:
    await client.create_collection(
        "strict",
        vectors_config=m.VectorParams(size=2, distance=m.Distance.DOT),
        sparse_vectors_config={"words": m.SparseVectorParams(modifier=m.Modifier.IDF)},
        strict_mode_config=STRICT,
    )
    await client.create_payload_index("strict", "kb", m.PayloadSchemaType.KEYWORD)
    await client.upsert("strict", [m.PointStruct(id=1, vector=[1.0, 1.0], payload={"kb": "x", "free": "x"})])


async def refusals(client: AsyncQdrantClient, source: m.Filter) -> list[bool]:
    """For every operation with a filter, whether it was refused for want of an index."""
    corpus = m.SearchParams(idf=m.IdfCorpusParams(corpus=source))
    sparse = m.SparseVector(indices=[1], values=[1.0])
    leg = m.Prefetch(query=[1.0, 1.0], filter=source)
    rrf = m.RrfQuery(rrf=m.Rrf(k=61))
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.query_points("strict", query=[1.0, 1.0], query_filter=source),
        lambda: client.query_points("strict", query=sparse, using="words", search_params=corpus),
        lambda: client.query_points("strict", prefetch=[leg], query=rrf),
        lambda: client.query_points("strict", prefetch=[m.Prefetch(prefetch=[leg], query=rrf)], query=rrf),
        lambda: client.query_batch_points("strict", [m.QueryRequest(query=[1.0, 1.0], filter=source)]),
        lambda: client.scroll("strict", scroll_filter=source),
        lambda: client.count("strict", count_filter=source),
        lambda: client.facet("strict", "kb", facet_filter=source),
        lambda: client.set_payload("strict", {"seen": 1}, points=source),
        lambda: client.overwrite_payload("strict", {"kb": "x", "free": "x"}, points=source),
        lambda: client.delete_payload("strict", ["seen"], points=source),
        lambda: client.clear_payload("strict", m.FilterSelector(filter=source)),
        lambda: client.delete("strict", m.FilterSelector(filter=source)),
    ]
    found = []
    for call in calls:
        try:
            await call()
            found.append(False)
        except UnexpectedResponse as error:
            found.append(error.status_code == 400 and b"Index required but not found for" in error.content)
    return found


async def test_strict_mode_guards_every_operation_and_survives_a_restart(
    open_service: OpenService, tmp_path: Path
) -> None:
    for restarted in (False, True):
        service = open_service()
        transport = httpx.ASGITransport(app=create_app(service))
        client = AsyncQdrantClient(url="http://v", transport=transport, check_compatibility=False)
        if not restarted:
            await strict_collection(client)
        assert all(await refusals(client, condition("free", match=word)))
        assert (await client.count("strict")).count == 1
        if restarted:
            assert not any(await refusals(client, condition("kb", match=word)))
            assert (await client.retrieve("strict", [1]))[0].payload == {}, "cleared by filter, so not deleted"
        await client.close()
        service.close()
