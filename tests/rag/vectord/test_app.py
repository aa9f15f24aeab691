"""What the routes refuse, and in which words."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import UnexpectedResponse

from rag.vectord.app import create_app
from rag.vectord.limits import Limits
from rag.vectord.service import Service

from .conftest import OpenService

KEY = "s3cret-ключ"


async def refused(http: httpx.AsyncClient, method: str, path: str, body: Any = None, status: int = 400) -> str:
    """The error text of a request that must fail with `status`, in Qdrant's shape."""
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    parsed = answer.json()
    assert set(parsed) == {"status", "time"}
    text = parsed["status"]["error"]
    assert isinstance(text, str)
    return text


async def test_root_and_health(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).json()["version"].startswith("1.20")
    assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200


async def test_info_shows_what_was_asked_for(docs: AsyncQdrantClient) -> None:
    await docs.create_collection(
        "full",
        vectors_config=m.VectorParams(
            size=4, distance=m.Distance.DOT, datatype=m.Datatype.FLOAT16, hnsw_config=m.HnswConfigDiff(m=8)
        ),
        hnsw_config=m.HnswConfigDiff(ef_construct=64),
        quantization_config=m.ScalarQuantization(scalar=m.ScalarQuantizationConfig(type=m.ScalarType.INT8)),
        optimizers_config=m.OptimizersConfigDiff(indexing_threshold=1),
        metadata={"model": "minilm", "dimension": 4, "名": "é"},
    )
    info = await docs.get_collection("full")
    assert info.config.metadata == {"model": "minilm", "dimension": 4, "名": "é"}
    assert info.config.hnsw_config.ef_construct == 64
    assert info.config.optimizer_config.indexing_threshold == 1
    vectors = info.config.params.vectors
    assert isinstance(vectors, m.VectorParams)
    assert vectors.hnsw_config == m.HnswConfigDiff(m=8)
    assert info.status == m.CollectionStatus.GREEN
    assert info.optimizer_status == m.OptimizersStatusOneOf.OK


async def test_metadata_and_strict_mode_can_be_changed_later(docs: AsyncQdrantClient) -> None:
    await docs.update_collection("docs", metadata={"a": 1})
    await docs.update_collection("docs", metadata={"b": 2})
    strict = m.StrictModeConfig(enabled=True, unindexed_filtering_retrieve=False)
    await docs.update_collection("docs", strict_mode_config=strict)
    config = (await docs.get_collection("docs")).config
    assert config.metadata == {"a": 1, "b": 2}
    assert config.strict_mode_config is not None
    assert config.strict_mode_config.unindexed_filtering_retrieve is False
    with pytest.raises(UnexpectedResponse, match="optimizers_config"):
        await docs.update_collection("docs", optimizers_config=m.OptimizersConfigDiff(indexing_threshold=5))


@pytest.mark.usefixtures("docs")
async def test_status_codes_are_qdrants(http: httpx.AsyncClient) -> None:
    vectors = {"vectors": {"size": 4, "distance": "Dot"}}
    assert "`docs` already exists" in await refused(http, "PUT", "/collections/docs", vectors, 409)
    assert "Collection `no` doesn't exist!" in await refused(http, "GET", "/collections/no", status=404)
    query = {"query": [1.0, 2.0], "using": "dense"}
    text = await refused(http, "POST", "/collections/docs/points/query", query)
    assert text == "Wrong input: Vector dimension error: expected dim: 4, got 2"
    query = {"query": [1.0] * 4, "using": "nope"}
    text = await refused(http, "POST", "/collections/docs/points/query", query)
    assert text == "Wrong input: Not existing vector name error: nope"
    dropped = await http.delete("/collections/never-was")
    assert dropped.json()["result"] is False


def must(condition: dict[str, Any]) -> dict[str, Any]:
    return {"filter": {"must": [condition]}}


AROUND = {"center": {"lon": 1, "lat": 1}, "radius": 1}
NOT_SERVED = [
    ("points/query", {"query": 3}, "point id"),
    ("points/query", {"query": {"recommend": {"positive": [1]}}}, "RecommendQuery"),
    ("points/query", {"query": {"nearest": [1.0] * 4, "mmr": {}}, "using": "dense"}, "mmr"),
    ("points/query", {"query": [1.0] * 4, "lookup_from": {"collection": "x"}}, "lookup_from"),
    ("points/query", {"query": {"text": "x", "model": "y"}, "using": "dense"}, "Document"),
    ("points/query", {"query": {"fusion": "rrf"}}, "prefetch"),
    ("points/query", {"prefetch": [{"query": [1.0] * 4, "using": "dense"}]}, "query"),
    ("points/query", must({"key": "g", "geo_radius": AROUND}), "geo_radius"),
    ("points/query", must({"slice": {"total": 2, "index": 1}}), "SliceCondition"),
    ("points/query", must({"key": "a", "match": {"substring": "x"}}), "match.substring"),
    ("points/query", must({"key": "a"}), "exactly one"),
    ("points/query", must({"key": "a", "match": {"value": 1}, "range": {"gt": 1}}), "exactly one"),
    ("points/query", must({"key": "a..b[", "match": {"value": 1}}), "a..b["),
    ("points/query", must({"key": "a", "match": {"value": 2**70}}), "64-bit integer"),
    ("points/query", {"shard_key": "x"}, "shard_key"),
    ("points/query", {"limit": 10**9}, "limit"),
    ("points/scroll", {"offset": "not-an-id"}, "valid point ID"),
    ("points/scroll", {"offset": 1, "order_by": "n"}, "order_by"),
    ("points/scroll", {"order_by": "n"}, "No range index"),
    ("points", {"ids": [-1]}, "valid point ID"),
    ("facet", {"key": "kb"}, "No appropriate index"),
    ("points/delete", {"points": [1], "shard_key": "x"}, "shard_key"),
    ("points/query", {"no_such_field": 1}, "no_such_field"),
]


@pytest.mark.usefixtures("docs")
async def test_what_is_not_served_is_named(http: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for path, body, names in NOT_SERVED:
        with subtests.test(path=path, body=body):
            assert names in await refused(http, "POST", f"/collections/docs/{path}", body)


OUT_OF_RANGE = [
    ("points/query", {"limit": 0}),
    ("points/scroll", {"limit": -1}),
    ("points/query", {"offset": -1}),
    ("points/query", {"filter": {"min_should": {"conditions": [], "min_count": 0}}}),
    ("points/query?timeout=never", {}),
    ("points/payload", {"payload": {"a": 1}}),
    ("points/payload", {"payload": {"a": 1}, "points": [1], "filter": {}}),
    ("points/payload/delete", {"keys": ["a"]}),
]


@pytest.mark.usefixtures("docs")
async def test_values_out_of_range(http: httpx.AsyncClient, subtests: pytest.Subtests) -> None:
    for path, body in OUT_OF_RANGE:
        with subtests.test(path=path, body=body):
            text = await refused(http, "POST", f"/collections/docs/{path}", body, 422)
            assert text.startswith("Validation error")


NO_EFFECT: list[dict[str, Any]] = [
    {"shard_number": 2},
    {"replication_factor": 3},
    {"sharding_method": "custom"},
    {"wal_config": {"wal_capacity_mb": 1}},
    {"optimizers_config": {"memmap_threshold": 1}},
    {"strict_mode_config": {"enabled": True, "read_rate_limit": 1}},
    {"quantization_config": {"product": {"compression": "x4"}}},
]


async def test_create_options_that_would_do_nothing_are_refused(
    http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    vectors = {"vectors": {"size": 4, "distance": "Dot"}}
    for body in NO_EFFECT:
        with subtests.test(body=body):
            text = await refused(http, "PUT", "/collections/new", {**vectors, **body})
            assert next(iter(body)) in text
    assert (await http.get("/collections/new/exists")).json()["result"] == {"exists": False}


@pytest.mark.parametrize("name", ["a b", "ü-名", "x" * 255, "..x", "%2e"])
async def test_odd_collection_names_work(client: AsyncQdrantClient, service: Service, name: str) -> None:
    await client.create_collection(name, vectors_config=m.VectorParams(size=2, distance=m.Distance.DOT))
    assert service.names() == [name]
    assert await client.delete_collection(name)


@pytest.mark.parametrize("name", ["x" * 256, "a:b", "a*b", "a\x01b", "a|b"])
async def test_names_that_qdrant_refuses(client: AsyncQdrantClient, name: str) -> None:
    with pytest.raises(UnexpectedResponse, match="422"):
        await client.create_collection(name, vectors_config=m.VectorParams(size=2, distance=m.Distance.DOT))


async def test_a_collection_needs_room_below_the_limit(open_service: OpenService) -> None:
    transport = httpx.ASGITransport(app=create_app(open_service(Limits(collections=1))))
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        body = {"vectors": {"size": 2, "distance": "Dot"}}
        assert (await http.put("/collections/one", json=body)).status_code == 200
        assert "VECTORD_COLLECTIONS" in await refused(http, "PUT", "/collections/two", body)


@pytest.mark.usefixtures("docs")
async def test_bodies_that_are_not_json(http: httpx.AsyncClient) -> None:
    async def post(content: bytes, **headers: str) -> httpx.Response:
        headers = {"content-type": "application/json", **headers}
        return await http.post("/collections/docs/points/count", content=content, headers=headers)

    assert (await post(b"{}")).status_code == 200
    assert (await post(b"{nope")).status_code == 400
    assert (await post(b"")).status_code == 400
    assert (await post(b"\xff\xfe")).status_code == 400
    assert (await post(b'{"filter":' * 5000 + b"{}" + b"}" * 5000)).status_code == 400
    nested = b'{"filter":' + b'{"must":[' * 150 + b"{}" + b"]}" * 150 + b"}"
    assert (await post(nested)).status_code in (200, 400)
    plain = await http.post("/collections/docs/points/count", content=b"{}", headers={"content-type": "text/plain"})
    assert plain.status_code == 415
    assert (await post(b"{}", **{"content-encoding": "gzip"})).status_code == 415


@pytest.mark.usefixtures("docs")
async def test_numbers_that_are_no_float32(http: httpx.AsyncClient, service: Service) -> None:
    headers = {"content-type": "application/json"}
    for number in ("NaN", "Infinity", "1e39", "-1e300"):
        body = f'{{"points":[{{"id":77,"vector":{{"dense":[1,2,3,{number}]}}}}]}}'
        answer = await http.put("/collections/docs/points", content=body, headers=headers)
        assert answer.status_code == 400, number
    assert service.describe("docs")["points_count"] == 10


MALFORMED_SPARSE = [
    {"indices": [1, 2], "values": [1.0]},
    {"indices": [1, 1], "values": [1.0, 1.0]},
    {"indices": [-1], "values": [1.0]},
    {"indices": [2**32], "values": [1.0]},
]


@pytest.mark.usefixtures("docs")
async def test_a_malformed_sparse_vector_never_reaches_the_engine(
    http: httpx.AsyncClient, service: Service, subtests: pytest.Subtests
) -> None:
    """The engine panics on the first of these, and again at each start, since its log has it by then."""
    for sparse in MALFORMED_SPARSE:
        with subtests.test(sparse=sparse):
            point = {"points": [{"id": 77, "vector": {"sparse": sparse}}]}
            assert (await http.put("/collections/docs/points", json=point)).status_code == 422
            query = {"query": sparse, "using": "sparse"}
            assert (await http.post("/collections/docs/points/query", json=query)).status_code == 422
    assert service.describe("docs")["points_count"] == 10


BAD_VECTORS = [
    ({"dense": [1.0, 2.0]}, "expected dim: 4, got 2"),
    ({"other": [1.0] * 4}, "other"),
    ({"sparse": [1.0] * 4}, "sparse"),
    ({"dense": {"indices": [1], "values": [1.0]}}, "dense"),
    ({"dense": [[1.0] * 4]}, "list of vectors"),
    ([1.0] * 4, "Not existing vector name"),
    ({"dense": {"text": "x", "model": "y"}}, "Document"),
]


@pytest.mark.usefixtures("docs")
async def test_one_bad_point_refuses_the_whole_batch(
    http: httpx.AsyncClient, service: Service, subtests: pytest.Subtests
) -> None:
    for vector, names in BAD_VECTORS:
        with subtests.test(vector=vector):
            points = [{"id": 70, "vector": {"dense": [1.0] * 4}}, {"id": 71, "vector": vector}]
            assert names in await refused(http, "PUT", "/collections/docs/points", {"points": points})
    assert service.describe("docs")["points_count"] == 10


@pytest.mark.usefixtures("docs")
async def test_batch_columns_must_be_equally_long(http: httpx.AsyncClient) -> None:
    batch = {"ids": [1, 2], "vectors": {"dense": [[1.0] * 4]}}
    assert "equally long" in await refused(http, "PUT", "/collections/docs/points", {"batch": batch})


async def test_missing_points_are_not_found(docs: AsyncQdrantClient) -> None:
    with pytest.raises(UnexpectedResponse, match="404"):
        await docs.set_payload("docs", {"a": 1}, points=[12345])


async def test_writes_of_nothing_change_nothing(docs: AsyncQdrantClient) -> None:
    await docs.delete("docs", m.PointIdsList(points=[]))
    await docs.set_payload("docs", {"a": 1}, points=[])
    await docs.clear_payload("docs", m.PointIdsList(points=[]))
    assert (await docs.count("docs")).count == 10
    assert (await docs.retrieve("docs", [1]))[0].payload == {"kb": "kb-1", "n": 1}


async def test_update_operations_in_one_request(docs: AsyncQdrantClient) -> None:
    await docs.batch_update_points(
        "docs",
        [
            m.UpsertOperation(upsert=m.PointsList(points=[m.PointStruct(id=50, vector={}, payload={"n": 50})])),
            m.SetPayloadOperation(set_payload=m.SetPayload(payload={"n": 51}, points=[50])),
            m.DeleteOperation(delete=m.PointIdsList(points=[0, 1])),
        ],
    )
    assert (await docs.retrieve("docs", [50]))[0].payload == {"n": 51}
    assert (await docs.count("docs")).count == 9


async def test_update_modes(docs: AsyncQdrantClient) -> None:
    new = m.PointStruct(id=1, vector={}, payload={"n": "replaced"})
    await docs.upsert("docs", [new], update_mode=m.UpdateMode.INSERT_ONLY)
    assert (await docs.retrieve("docs", [1]))[0].payload == {"kb": "kb-1", "n": 1}
    await docs.upsert("docs", [m.PointStruct(id=99, vector={})], update_mode=m.UpdateMode.UPDATE_ONLY)
    assert (await docs.count("docs")).count == 10


async def test_indexes_come_and_go(docs: AsyncQdrantClient) -> None:
    tenant = m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=True)
    await docs.create_payload_index("docs", "kb", tenant)
    await docs.create_payload_index("docs", 'meta."a/b"', m.PayloadSchemaType.INTEGER)
    text = m.TextIndexParams(type=m.TextIndexType.TEXT, tokenizer=m.TokenizerType.WORD, lowercase=True)
    await docs.create_payload_index("docs", "text", text)
    schema = (await docs.get_collection("docs")).payload_schema
    assert schema["kb"].params == tenant
    assert schema["kb"].points == 10
    assert schema["text"].params == text
    assert schema['meta."a/b"'].data_type == m.PayloadSchemaType.INTEGER
    await docs.delete_payload_index("docs", 'meta."a/b"')
    assert set((await docs.get_collection("docs")).payload_schema) == {"kb", "text"}
    with pytest.raises(UnexpectedResponse, match="geo"):
        await docs.create_payload_index("docs", "place", m.PayloadSchemaType.GEO)
    stem = m.SnowballParams(type=m.Snowball.SNOWBALL, language=m.SnowballLanguage.ENGLISH)
    stemmed = m.TextIndexParams(type=m.TextIndexType.TEXT, stemmer=stem)
    with pytest.raises(UnexpectedResponse, match="stemmer"):
        await docs.create_payload_index("docs", "t", stemmed)


async def test_the_idf_corpus_keeps_other_tenants_out_of_the_scores(docs: AsyncQdrantClient) -> None:
    mine = m.Filter(must=[m.FieldCondition(key="kb", match=m.MatchValue(value="kb-0"))])
    asked = m.SparseVector(indices=[4], values=[1.0])

    async def score(params: m.SearchParams | None) -> float:
        found = await docs.query_points("docs", query=asked, using="sparse", query_filter=mine, search_params=params)
        assert [point.id for point in found.points] == [4]
        return found.points[0].score

    corpus = m.SearchParams(idf=m.IdfCorpusParams(corpus=mine))
    before, leaking = await score(corpus), await score(None)
    other = [m.PointStruct(id=100 + i, vector={"sparse": asked}, payload={"kb": "kb-1"}) for i in range(5)]
    await docs.upsert("docs", other)
    assert await score(corpus) == before
    assert await score(None) != leaking


async def test_unknown_routes_say_what_to_do(http: httpx.AsyncClient) -> None:
    for method, path in (
        ("GET", "/nope"),
        ("GET", "/telemetry"),
        ("POST", "/collections/docs/points/search"),
    ):
        assert "QDRANT_URL" in await refused(http, method, path, {} if method == "POST" else None, 404)
    assert "QDRANT_URL" in await refused(http, "DELETE", "/collections", status=404)


async def test_without_the_key_nothing_is_read_or_changed(service: Service) -> None:
    transport = httpx.ASGITransport(app=create_app(service, KEY))
    # As bytes: the key is not ASCII, and that is how a client sends it.
    right = KEY.encode()
    body = {"vectors": {"size": 2, "distance": "Dot"}}
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        wrong: list[dict[bytes, bytes]] = [
            {},
            {b"api-key": b"wrong"},
            {b"api-key": right[:-1]},
            {b"authorization": b"Bearer wrong"},
            {b"api-key": b"\xff"},
        ]
        for headers in wrong:
            for method, path in (
                ("PUT", "/collections/x"),
                ("GET", "/collections"),
                ("GET", "/"),
                ("GET", "/nope"),
            ):
                answer = await http.request(method, path, json=body, headers=headers)
                assert answer.status_code == 401
                assert "API" in answer.json()["status"]["error"]
        assert service.names() == []
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.put("/collections/x", json=body, headers={b"api-key": right})).status_code == 200
        bearer = {b"authorization": b"Bearer " + right}
        assert (await http.get("/collections", headers=bearer)).status_code == 200
        gone = await http.delete("/collections/x", headers={"api-key": "wrong"})
        assert gone.status_code == 401
    assert service.names() == ["x"]


async def test_a_body_past_the_bound_is_refused_before_it_is_read(open_service: OpenService) -> None:
    service = open_service(Limits(body_bytes=1000))
    transport = httpx.ASGITransport(app=create_app(service))

    async def endless() -> Any:
        for _ in range(1000):
            sent.append(1)
            yield b"[" * 100

    sent: list[int] = []
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        await http.put("/collections/x", json={"vectors": {"size": 2, "distance": "Dot"}})
        headers = {"content-type": "application/json"}
        big = await http.post("/collections/x/points/count", content=b" " * 1001, headers=headers)
        assert big.status_code == 413
        chunked = await http.post("/collections/x/points/count", content=endless(), headers=headers)
        assert chunked.status_code == 413
        # Everything that was counted was given back.
        assert (await http.post("/collections/x/points/count", json={})).json()["result"] == {"count": 0}


async def test_too_many_waiting_writes_are_refused_at_once(open_service: OpenService) -> None:
    service = open_service(Limits(pending_writes=3))
    transport = httpx.ASGITransport(app=create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        await http.put("/collections/x", json={"vectors": {"size": 2, "distance": "Dot"}})
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        busy = service.get("x").submit(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
        point = {"points": [{"id": 1, "vector": [1.0, 2.0]}]}
        waiting = [asyncio.create_task(http.put("/collections/x/points", json=point)) for _ in range(3)]
        await asyncio.sleep(0)
        while (
            refused := await http.put("/collections/x/points", json=point, params={"timeout": 1})
        ).status_code == 408:
            pass
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        assert (await http.post("/collections/x/points/count", json={})).status_code == 200
        release.set()
        assert {(await task).status_code for task in waiting} == {200}
        await asyncio.wrap_future(busy)
        assert (await http.put("/collections/x/points", json=point)).status_code == 200


async def test_a_write_that_takes_too_long_is_an_error_but_not_lost(open_service: OpenService) -> None:
    service = open_service()
    transport = httpx.ASGITransport(app=create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        await http.put("/collections/x", json={"vectors": {"size": 2, "distance": "Dot"}})
        release = asyncio.Event()
        loop = asyncio.get_running_loop()
        service.get("x").submit(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result())
        point = {"points": [{"id": 1, "vector": [1.0, 2.0]}]}
        late = await http.put("/collections/x/points", json=point, params={"timeout": 1})
        assert late.status_code == 408
        release.set()
        done = await http.put("/collections/x/points", json={"points": []})
        assert done.status_code == 200
        counted = await http.post("/collections/x/points/count", json={})
        assert counted.json()["result"] == {"count": 1}


async def test_a_full_disk_refuses_writes_but_not_deletes(open_service: OpenService) -> None:
    service = open_service(Limits(free_disk_bytes=2**61))
    transport = httpx.ASGITransport(app=create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://vectord") as http:
        await http.put("/collections/x", json={"vectors": {"size": 2, "distance": "Dot"}})
        point = {"points": [{"id": 1, "vector": [1.0, 2.0]}]}
        assert "free some space" in await refused(http, "PUT", "/collections/x/points", point, 507)
        assert (await http.post("/collections/x/points/delete", json={"points": [1]})).status_code == 200


async def test_vectors_come_back_as_short_as_float32_allows(docs: AsyncQdrantClient, http: httpx.AsyncClient) -> None:
    await docs.create_collection("dot", vectors_config=m.VectorParams(size=2, distance=m.Distance.DOT))
    await docs.upsert("dot", [m.PointStruct(id=2**64 - 1, vector=[0.1, 0.7])])
    answer = await http.post("/collections/dot/points", json={"ids": [2**64 - 1], "with_vector": True})
    assert json.loads(answer.content)["result"] == [{"id": 2**64 - 1, "payload": {}, "vector": [0.1, 0.7]}]


async def test_a_collection_can_be_dropped_under_load(docs: AsyncQdrantClient, service: Service) -> None:
    async def write(i: int) -> str:
        try:
            await docs.upsert("docs", [m.PointStruct(id=1000 + i, vector={})])
            await docs.count("docs")
        except UnexpectedResponse as error:
            return str(error.status_code)
        return "there"

    tasks = [asyncio.create_task(write(i)) for i in range(40)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert await docs.delete_collection("docs")
    assert {await task for task in tasks} <= {"404", "there"}
    assert service.names() == []
    await docs.create_collection("docs", vectors_config=m.VectorParams(size=2, distance=m.Distance.DOT))
    assert (await docs.count("docs")).count == 0
