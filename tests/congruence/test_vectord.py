"""The same test body on vectord and on the reference implementation that qdrant-client ships.

Differences that are known and justified, none of which a test below relies on:

- RRF, ties: both give equal scores, the order among equal scores is each one's own.
- `indices` of a sparse vector come back in the order given from one and sorted from the other.
- An index is needed for `facet` and `order_by` by vectord, as by a Qdrant server; the reference needs none.
- One condition that holds two tests (`match` and `range`): refused by vectord, first wins in the reference.
- An index knows only values of its type, in vectord as in a Qdrant server: `except: ["x"]` on a key with a
  keyword index does not see the number 0. The reference has no indexes and sees it.
- Scores are float32 sums in another order: compared to 1e-4.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from rag.vectord.app import create_app
from rag.vectord.service import Service

DIM = 8
UUID = "0b2e6f0c-5c4f-4f53-9c1f-6a4f0d8f7a11"
DENSE = {"dense": m.VectorParams(size=DIM, distance=m.Distance.COSINE)}
SPARSE = {"sparse": m.SparseVectorParams(modifier=m.Modifier.IDF)}
INDEXES: dict[str, m.PayloadSchemaType | m.KeywordIndexParams] = {
    "kb": m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=True),
    "n": m.PayloadSchemaType.INTEGER,
    "price": m.PayloadSchemaType.FLOAT,
    "when": m.PayloadSchemaType.DATETIME,
    "flag": m.PayloadSchemaType.BOOL,
    "tags": m.PayloadSchemaType.KEYWORD,
}


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[AsyncQdrantClient]:
    service = Service(folder)
    transport = httpx.ASGITransport(app=create_app(service))
    client = AsyncQdrantClient(url="http://vectord", transport=transport, check_compatibility=False)
    try:
        yield client
    finally:
        await client.close()
        service.close()


@pytest.fixture(params=["vectord", "reference"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AsyncQdrantClient]:
    if request.param == "vectord":
        async with served(tmp_path / "data") as found:
            yield found
        return
    reference = AsyncQdrantClient(":memory:")
    yield reference
    await reference.close()


async def make(client: AsyncQdrantClient, name: str = "docs") -> None:
    await client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=SPARSE)
    for key, schema in INDEXES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the reference says that it has no indexes
            await client.create_payload_index(name, key, schema)


def payload(i: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kb": f"kb-{i % 3}",
        "n": i,
        "price": i / 4,
        "flag": i % 2 == 0,
        "when": (dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=i)).isoformat(),
        "tags": ["red", "grün"][: i % 3],
        "text": f"Seite {i} über Katzen" if i % 2 else "鸟 and dogs",
        "meta": {"author": {"name": f"a{i % 4}"}},
        "parts": [{"kind": "x", "size": i}, {"kind": "y", "size": i + 1}],
    }
    if i % 4 == 0:
        found["maybe"] = None
    if i % 4 == 1:
        found["maybe"] = []
    if i % 4 == 2:
        found["maybe"] = "set"
    return found


def vectors(i: int) -> dict[str, Any]:
    row = np.random.default_rng(i).standard_normal(DIM).astype(np.float32)
    return {
        "dense": [float(v) for v in row],
        "sparse": m.SparseVector(indices=[i % 5, 10 + i % 7, 100], values=[1.0, 0.5 + i / 10, 0.25]),
    }


def points(count: int = 20) -> list[m.PointStruct]:
    return [m.PointStruct(id=i, vector=vectors(i), payload=payload(i)) for i in range(count)]


@pytest.fixture
async def docs(client: AsyncQdrantClient) -> AsyncQdrantClient:
    await make(client)
    await client.upsert("docs", points())
    await client.upsert("docs", [m.PointStruct(id=UUID, vector=vectors(99), payload={"kb": "kb-uuid", "n": 1000})])
    return client


async def ids(client: AsyncQdrantClient, condition: m.Filter | None, name: str = "docs") -> set[Any]:
    found, _ = await client.scroll(name, scroll_filter=condition, limit=1000, with_payload=False)
    return {point.id for point in found}


def field(key: str, **test: Any) -> m.FieldCondition:
    return m.FieldCondition(key=key, **test)


def must(*conditions: m.Condition) -> m.Filter:
    return m.Filter(must=list(conditions))


def at(day: int) -> dt.datetime:
    return dt.datetime(2024, 1, day, tzinfo=dt.UTC)


EVERY = {*range(20), UUID}
FILTERS: dict[str, tuple[m.Filter, set[Any]]] = {
    "value": (must(field("kb", match=m.MatchValue(value="kb-1"))), {i for i in range(20) if i % 3 == 1}),
    "value int": (must(field("n", match=m.MatchValue(value=7))), {7}),
    "value bool": (must(field("flag", match=m.MatchValue(value=True))), {i for i in range(20) if i % 2 == 0}),
    "value in array": (
        must(field("tags", match=m.MatchValue(value="grün"))),
        {i for i in range(20) if i % 3 == 2},
    ),
    "value nested key": (
        must(field("meta.author.name", match=m.MatchValue(value="a2"))),
        {i for i in range(20) if i % 4 == 2},
    ),
    "any": (must(field("n", match=m.MatchAny(any=[3, 5, 400]))), {3, 5}),
    "any of nothing": (must(field("n", match=m.MatchAny(any=[]))), set()),
    "except": (
        must(field("kb", match=m.MatchExcept(**{"except": ["kb-0", "kb-1"]}))),
        {i for i in range(20) if i % 3 == 2} | {UUID},
    ),
    "text": (must(field("text", match=m.MatchText(text="Katzen"))), {i for i in range(20) if i % 2}),
    "text two words": (
        must(field("text", match=m.MatchText(text="dogs and"))),
        {i for i in range(20) if i % 2 == 0},
    ),
    "range": (must(field("price", range=m.Range(gte=1.0, lt=2.0))), {4, 5, 6, 7}),
    "range int": (must(field("n", range=m.Range(gt=17))), {18, 19, UUID}),
    "datetime": (must(field("when", range=m.DatetimeRange(gte=at(3), lt=at(5)))), {2, 3}),
    "datetime naive": (must(field("when", range=m.DatetimeRange(lte=dt.datetime(2024, 1, 2)))), {0, 1}),  # noqa: DTZ001
    "has id": (must(m.HasIdCondition(has_id=[1, 2, UUID, 777])), {1, 2, UUID}),
    "is empty": (
        must(m.IsEmptyCondition(is_empty=m.PayloadField(key="maybe"))),
        EVERY - {i for i in range(20) if i % 4 == 2},
    ),
    "is null": (
        must(m.IsNullCondition(is_null=m.PayloadField(key="maybe"))),
        {i for i in range(20) if i % 4 == 0},
    ),
    "nested": (
        must(
            m.NestedCondition(
                nested=m.Nested(
                    key="parts",
                    filter=must(
                        field("kind", match=m.MatchValue(value="y")),
                        field("size", match=m.MatchValue(value=5)),
                    ),
                )
            )
        ),
        {4},
    ),
    "values count": (
        must(field("tags", values_count=m.ValuesCount(gte=2))),
        {i for i in range(20) if i % 3 == 2},
    ),
    "should": (
        m.Filter(should=[field("n", match=m.MatchValue(value=1)), field("n", match=m.MatchValue(value=2))]),
        {1, 2},
    ),
    "must not": (m.Filter(must_not=[field("n", range=m.Range(gte=2))]), {0, 1}),
    "min should": (
        m.Filter(
            min_should=m.MinShould(
                conditions=[
                    field("n", range=m.Range(lt=4)),
                    field("n", range=m.Range(gt=1)),
                    field("flag", match=m.MatchValue(value=True)),
                ],
                min_count=3,
            )
        ),
        {2},
    ),
    "filter in filter": (
        must(m.Filter(should=[field("n", match=m.MatchValue(value=5)), m.HasIdCondition(has_id=[6])])),
        {5, 6},
    ),
    "single condition": (m.Filter(must=field("n", match=m.MatchValue(value=5))), {5}),
    "empty filter": (m.Filter(), EVERY),
    "empty clauses": (m.Filter(must=[], should=[], must_not=[]), EVERY),
    "has vector": (must(m.HasVectorCondition(has_vector="dense")), EVERY),
}


async def test_filters(docs: AsyncQdrantClient, subtests: pytest.Subtests) -> None:
    for name, (condition, expected) in FILTERS.items():
        with subtests.test(name):
            assert await ids(docs, condition) == expected
            assert (await docs.count("docs", count_filter=condition)).count == len(expected)


async def test_dense_search_order_and_scores(docs: AsyncQdrantClient) -> None:
    asked = np.asarray(vectors(500)["dense"])
    rows = {i: np.asarray(vectors(i)["dense"]) for i in range(20)} | {UUID: np.asarray(vectors(99)["dense"])}
    exact = {i: float(row @ asked / np.linalg.norm(row) / np.linalg.norm(asked)) for i, row in rows.items()}
    best = sorted(exact, key=exact.__getitem__, reverse=True)
    found = (await docs.query_points("docs", query=asked.tolist(), using="dense", limit=6)).points
    assert [point.id for point in found] == best[:6]
    assert [point.score for point in found] == pytest.approx([exact[i] for i in best[:6]], abs=1e-4)
    rest = (await docs.query_points("docs", query=asked.tolist(), using="dense", limit=3, offset=3)).points
    assert [point.id for point in rest] == best[3:6]


async def test_score_threshold_and_filter(docs: AsyncQdrantClient) -> None:
    asked = vectors(4)["dense"]
    close = await docs.query_points("docs", query=asked, using="dense", score_threshold=0.99)
    assert [point.id for point in close.points] == [4]
    condition = must(field("kb", match=m.MatchValue(value="kb-0")))
    found = (await docs.query_points("docs", query=asked, using="dense", query_filter=condition, limit=50)).points
    assert {point.id for point in found} == {i for i in range(20) if i % 3 == 0}


async def test_sparse_search_scores_match_between_both(docs: AsyncQdrantClient) -> None:
    asked = m.SparseVector(indices=[2, 12], values=[1.0, 1.0])
    found = (await docs.query_points("docs", query=asked, using="sparse", limit=30)).points
    total, holders = 21, dict.fromkeys((2, 12), 0)
    everything = [*range(20), 99]
    for i in everything:
        for index in holders:
            holders[index] += index in vectors(i)["sparse"].indices
    idf = {i: np.log((total - n + 0.5) / (n + 0.5) + 1) for i, n in holders.items()}
    expected = {}
    for i in everything:
        sparse = vectors(i)["sparse"]
        score = sum(v * idf[k] for k, v in zip(sparse.indices, sparse.values, strict=True) if k in idf)
        if score:
            expected[UUID if i == 99 else i] = score
    assert {point.id: point.score for point in found} == pytest.approx(expected, abs=1e-4)
    assert [point.score for point in found] == sorted((point.score for point in found), reverse=True)


async def hybrid(client: AsyncQdrantClient, query: m.Query, condition: m.Filter | None = None) -> list[m.ScoredPoint]:
    prefetch = [
        m.Prefetch(query=vectors(4)["dense"], using="dense", limit=5, filter=condition),
        m.Prefetch(query=m.SparseVector(indices=[4], values=[1.0]), using="sparse", limit=5, filter=condition),
    ]
    answer = await client.query_points("docs", prefetch=prefetch, query=query, query_filter=condition, limit=20)
    return answer.points


@pytest.mark.parametrize("k", [1, 2, 61])
async def test_rrf_is_one_over_k_plus_rank(docs: AsyncQdrantClient, k: int) -> None:
    """Rank counts from 0: the paper's constant of 60 with ranks from 1 is k=61 here."""
    dense = await docs.query_points("docs", query=vectors(4)["dense"], using="dense", limit=5)
    sparse = await docs.query_points("docs", query=m.SparseVector(indices=[4], values=[1.0]), using="sparse", limit=5)
    if len({p.score for p in sparse.points}) == 1:
        # All tie, so which ranks they hold is open: the sum over the whole list is not.
        expected = sum(1 / (k + r) for r in range(5)) + sum(1 / (k + r) for r in range(len(sparse.points)))
        found = await hybrid(docs, m.RrfQuery(rrf=m.Rrf(k=k)))
        assert sum(p.score for p in found) == pytest.approx(expected, abs=1e-5)
    assert dense.points[0].id == 4


@pytest.mark.parametrize("query", [m.FusionQuery(fusion=m.Fusion.RRF), m.FusionQuery(fusion=m.Fusion.DBSF)])
async def test_fusion_returns_the_union(docs: AsyncQdrantClient, query: m.Query) -> None:
    found = await hybrid(docs, query)
    assert {4, 9, 14, 19} <= {point.id for point in found}
    assert len(found) == len({point.id for point in found}) <= 10
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


async def test_a_filtered_hybrid_stays_inside_the_filter(docs: AsyncQdrantClient) -> None:
    condition = must(field("kb", match=m.MatchValue(value="kb-1")))
    found = await hybrid(docs, m.RrfQuery(rrf=m.Rrf(k=61)), condition)
    assert found
    assert {point.id % 3 for point in found} == {1}  # type: ignore[operator]


async def test_scroll_pages_cover_everything_once(docs: AsyncQdrantClient) -> None:
    seen: list[Any] = []
    offset: Any = None
    while True:
        page, offset = await docs.scroll("docs", limit=6, offset=offset, with_payload=["n"])
        assert all(set(point.payload or {}) == {"n"} for point in page)
        seen += [point.id for point in page]
        if offset is None:
            break
        assert len(page) == 6
    assert len(seen) == 21
    assert set(seen) == EVERY


async def test_scroll_in_order(docs: AsyncQdrantClient) -> None:
    by_n = m.OrderBy(key="n", direction=m.Direction.DESC, start_from=18)
    page, offset = await docs.scroll("docs", limit=4, order_by=by_n)
    assert [point.id for point in page] == [18, 17, 16, 15]
    assert offset is None


async def test_retrieve(docs: AsyncQdrantClient) -> None:
    found = await docs.retrieve("docs", [3, UUID, 12345], with_vectors=True)
    assert {point.id for point in found} == {3, UUID}
    three = next(point for point in found if point.id == 3)
    assert three.payload == payload(3)
    assert isinstance(three.vector, dict)
    row = np.asarray(vectors(3)["dense"])
    assert three.vector["dense"] == pytest.approx((row / np.linalg.norm(row)).tolist(), abs=1e-5)
    sparse = three.vector["sparse"]
    assert isinstance(sparse, m.SparseVector)
    assert dict(zip(sparse.indices, sparse.values, strict=True)) == pytest.approx({3: 1.0, 13: 0.8, 100: 0.25})


async def test_payload_and_vector_selectors(docs: AsyncQdrantClient) -> None:
    async def one(**options: Any) -> m.Record:
        return (await docs.retrieve("docs", [5], **options))[0]

    assert (await one(with_payload=False)).payload in (None, {})
    assert set((await one(with_payload=["kb", "n"])).payload or {}) == {"kb", "n"}
    exclude = m.PayloadSelectorExclude(exclude=["text", "meta", "parts", "tags", "maybe", "when"])
    assert set((await one(with_payload=exclude)).payload or {}) == {"kb", "n", "price", "flag"}
    include = m.PayloadSelectorInclude(include=["meta.author"])
    assert (await one(with_payload=include)).payload == {"meta": {"author": {"name": "a1"}}}
    only = (await one(with_vectors=["dense"])).vector
    assert isinstance(only, dict)
    assert set(only) == {"dense"}


async def test_upsert_replaces_the_whole_point(docs: AsyncQdrantClient) -> None:
    await docs.upsert("docs", [m.PointStruct(id=3, vector={"dense": [1.0] * DIM}, payload={"only": "ü"})])
    found = (await docs.retrieve("docs", [3], with_vectors=True))[0]
    assert found.payload == {"only": "ü"}
    assert isinstance(found.vector, dict)
    assert set(found.vector) == {"dense"}


async def test_batch_form(client: AsyncQdrantClient) -> None:
    await make(client)
    batch = m.Batch(
        ids=[1, 2],
        vectors={"dense": [vectors(1)["dense"], vectors(2)["dense"]]},
        payloads=[{"n": 1}, {"n": 2}],
    )
    await client.upsert("docs", batch)
    assert await ids(client, must(field("n", match=m.MatchValue(value=2)))) == {2}


async def test_delete_by_ids_and_by_filter(docs: AsyncQdrantClient) -> None:
    await docs.delete("docs", m.PointIdsList(points=[0, UUID, 4444]))
    await docs.delete("docs", m.FilterSelector(filter=must(field("kb", match=m.MatchValue(value="kb-1")))))
    assert await ids(docs, None) == {i for i in range(1, 20) if i % 3 != 1}


async def test_payload_edits(docs: AsyncQdrantClient) -> None:
    async def now() -> dict[str, Any]:
        return (await docs.retrieve("docs", [6]))[0].payload or {}

    await docs.set_payload("docs", {"n": -1, "new": {"a": [1]}}, points=[6])
    assert await now() == {**payload(6), "n": -1, "new": {"a": [1]}}
    await docs.set_payload("docs", {"x": 1}, key="meta", points=[6])
    assert (await now())["meta"] == {"author": {"name": "a2"}, "x": 1}
    await docs.delete_payload("docs", ["meta", "parts"], points=[6])
    assert not {"meta", "parts"} & (await now()).keys()
    await docs.overwrite_payload("docs", {"kb": "other"}, points=[6])
    assert await now() == {"kb": "other"}
    await docs.clear_payload("docs", m.PointIdsList(points=[6]))
    assert await now() == {}


async def test_set_payload_by_filter(docs: AsyncQdrantClient) -> None:
    chosen = must(field("kb", match=m.MatchValue(value="kb-2")))
    await docs.set_payload("docs", {"seen": True}, points=m.Filter(must=chosen.must))
    assert await ids(docs, must(field("seen", match=m.MatchValue(value=True)))) == {2, 5, 8, 11, 14, 17}


async def test_facet(docs: AsyncQdrantClient) -> None:
    hits = (await docs.facet("docs", "kb", exact=True)).hits
    assert [(hit.value, hit.count) for hit in hits] == [("kb-0", 7), ("kb-1", 7), ("kb-2", 6), ("kb-uuid", 1)]
    few = await docs.facet("docs", "tags", facet_filter=must(field("n", range=m.Range(lt=6))), exact=True)
    assert [(hit.value, hit.count) for hit in few.hits] == [("red", 4), ("grün", 2)]


async def test_query_batch(docs: AsyncQdrantClient) -> None:
    requests = [m.QueryRequest(query=vectors(i)["dense"], using="dense", limit=1) for i in (3, 7)]
    answers = await docs.query_batch_points("docs", requests)
    assert [answer.points[0].id for answer in answers] == [3, 7]


async def test_aliases(docs: AsyncQdrantClient) -> None:
    def create(collection: str, alias: str) -> m.CreateAliasOperation:
        return m.CreateAliasOperation(create_alias=m.CreateAlias(collection_name=collection, alias_name=alias))

    await make(docs, "next")
    await docs.update_collection_aliases([create("docs", "live")])
    assert (await docs.count("live")).count == 21
    delete = m.DeleteAliasOperation(delete_alias=m.DeleteAlias(alias_name="live"))
    await docs.update_collection_aliases([delete, create("next", "live")])
    assert (await docs.count("live")).count == 0
    await docs.upsert("live", points(1))
    assert (await docs.count("next")).count == 1
    rename = m.RenameAlias(old_alias_name="live", new_alias_name="now")
    await docs.update_collection_aliases([m.RenameAliasOperation(rename_alias=rename)])
    assert [(a.alias_name, a.collection_name) for a in (await docs.get_aliases()).aliases] == [("now", "next")]
    assert (await docs.get_collection_aliases("docs")).aliases == []
    await docs.delete_collection("next")
    assert (await docs.get_aliases()).aliases == []


async def test_a_failing_alias_action_undoes_the_ones_before(docs: AsyncQdrantClient) -> None:
    good = m.CreateAlias(collection_name="docs", alias_name="one")
    bad = m.CreateAlias(collection_name="missing", alias_name="two")
    with pytest.raises((UnexpectedResponse, ValueError)):
        await docs.update_collection_aliases(
            [m.CreateAliasOperation(create_alias=good), m.CreateAliasOperation(create_alias=bad)]
        )
    assert (await docs.get_aliases()).aliases == []


async def test_collections(docs: AsyncQdrantClient) -> None:
    assert await docs.collection_exists("docs")
    assert not await docs.collection_exists("nope")
    assert [c.name for c in (await docs.get_collections()).collections] == ["docs"]
    with pytest.raises((UnexpectedResponse, ValueError), match="already exists"):
        await docs.create_collection("docs", vectors_config=DENSE)
    with pytest.raises((UnexpectedResponse, ValueError), match=r"(?i)not found"):
        await docs.count("nope")
    info = await docs.get_collection("docs")
    assert info.points_count == 21
    assert isinstance(info.config.params.vectors, dict)
    assert info.config.params.vectors["dense"].size == DIM
    await docs.delete_collection("docs")
    assert not await docs.collection_exists("docs")


# random filters over random payloads: both implementations select the same points

KEYS = ("a", "b", "o.k", "l[].k", "s", "i", "f")
strings = st.sampled_from(["x", "y", "ü z", ""])
integers = st.integers(-3, 3)
scalars = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(["x", "y", "ü z", ""]),
    st.booleans(),
    st.none(),
    st.sampled_from([0.5, 2.0]),
)


def of(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(one, st.none(), st.lists(one, max_size=3))


values = of(scalars)
payloads = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        # These three have an index in vectord. An index holds values of its own type only, there as in a
        # Qdrant server, so that is what they get.
        "s": of(strings),
        "i": of(integers),
        "f": of(st.booleans()),
        "o": st.fixed_dictionaries({}, optional={"k": values}),
        "l": st.lists(st.fixed_dictionaries({}, optional={"k": scalars}), max_size=3),
    },
)
keys = st.sampled_from(KEYS)
bounds = st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 0.5, 2.0]))


def field_tests() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.one_of(strings, integers, st.booleans()).map(lambda v: {"match": m.MatchValue(value=v)}),
        st.one_of(st.lists(strings, max_size=3), st.lists(integers, max_size=3)).map(
            lambda v: {"match": m.MatchAny(any=v)}
        ),
        st.one_of(st.lists(strings, min_size=1, max_size=3), st.lists(integers, min_size=1, max_size=3)).map(
            lambda v: {"match": m.MatchExcept(**{"except": v})}
        ),
        st.tuples(bounds, bounds).map(lambda b: {"range": m.Range(gte=b[0], lt=b[1])}),
        st.integers(0, 3).map(lambda n: {"values_count": m.ValuesCount(gte=n)}),
    )


conditions = st.one_of(
    st.builds(lambda key, test: m.FieldCondition(key=key, **test), keys, field_tests()),
    st.builds(lambda key: m.IsEmptyCondition(is_empty=m.PayloadField(key=key)), keys),
    st.builds(lambda key: m.IsNullCondition(is_null=m.PayloadField(key=key)), keys),
    st.lists(st.integers(0, 12), max_size=4).map(lambda found: m.HasIdCondition(has_id=found)),
    st.builds(
        lambda test: m.NestedCondition(nested=m.Nested(key="l", filter=must(field("k", **test)))),
        field_tests(),
    ),
)
clauses = st.one_of(st.none(), st.lists(conditions, max_size=3))
flat = st.builds(lambda a, b, c: m.Filter(must=a, should=b, must_not=c), clauses, clauses, clauses)
deep = st.builds(
    lambda a, b, n: m.Filter(must=[a], min_should=m.MinShould(conditions=[*b, a], min_count=n)),
    flat,
    st.lists(conditions, max_size=3),
    st.integers(1, 3),
)


class Pair:
    """Both implementations behind one synchronous call: hypothesis drives no coroutines."""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._runner.run(self._open(folder))

    async def _open(self, folder: Path) -> None:
        ours = await self._stack.enter_async_context(served(folder))
        theirs = AsyncQdrantClient(":memory:")
        self._stack.push_async_callback(theirs.close)
        self._clients = (ours, theirs)
        for client in self._clients:
            await client.create_collection("random", m.VectorParams(size=2, distance=m.Distance.DOT))
        # Only here: the reference has no indexes, and an index must not change what a filter selects.
        for key, schema in (("s", "keyword"), ("i", "integer"), ("f", "bool")):
            await ours.create_payload_index("random", key, m.PayloadSchemaType(schema))

    async def _select(
        self, client: AsyncQdrantClient, rows: list[dict[str, Any]], condition: m.Filter
    ) -> dict[Any, Any]:
        await client.delete("random", m.FilterSelector(filter=m.Filter()))
        stored = [m.PointStruct(id=i, vector=[1.0, i], payload=row) for i, row in enumerate(rows)]
        await client.upsert("random", stored)
        found, _ = await client.scroll("random", scroll_filter=condition, limit=100)
        return {point.id: point.payload for point in found}

    def select(self, rows: list[dict[str, Any]], condition: m.Filter) -> list[dict[Any, Any]]:
        """What the filter selects from `rows`, by each implementation."""
        return [self._runner.run(self._select(client, rows, condition)) for client in self._clients]

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    found = Pair(tmp_path_factory.mktemp("pair") / "data")
    yield found
    found.close()


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=st.lists(payloads, min_size=1, max_size=8), condition=st.one_of(flat, deep))
def test_random_filters_select_the_same_points(pair: Pair, rows: list[dict[str, Any]], condition: m.Filter) -> None:
    ours, theirs = pair.select(rows, condition)
    assert ours == theirs
