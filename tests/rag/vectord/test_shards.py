"""The life of a shard object, the order of writes, and the engine under many threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord import updates
from rag.vectord.errors import BadInput, BadRequest, EngineFault, NotFound, RestError, Unavailable
from rag.vectord.service import Service
from rag.vectord.shards import Collection, Delta, EnginePanic, Generation, engine_errors
from rag.vectord.updates import Change

CREATE = rest.CreateCollection(vectors=rest.VectorParams(size=4, distance=rest.Distance.DOT))


class FakeShard:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def points(first: int, count: int, mark: str = "x") -> list[Change]:
    stored = [edge.Point(i, {"": [1.0, 2.0, 3.0, float(i)]}, {"mark": mark}) for i in range(first, first + count)]
    return [Change(edge.UpdateOperation.upsert_points(stored), count)]


@pytest.fixture
def collection(service: Service) -> Collection:
    service.create("c", CREATE)
    return service.get("c")


def count(collection: Collection) -> int:
    return int(collection.read(lambda shard: shard.count(edge.CountRequest())))


def test_a_retired_generation_closes_with_its_last_lease(tmp_path: Path) -> None:
    (tmp_path / "gen").mkdir()
    shard = FakeShard()
    generation = Generation(tmp_path / "gen", shard)
    with generation.lease() as leased:
        generation.retire(remove=True)
        generation.retire(remove=True)
        assert leased is shard
        assert shard.closed == 0
        with pytest.raises(Unavailable), generation.lease():
            pass
    assert [shard.closed] == [1]
    assert not (tmp_path / "gen").exists()


def test_a_generation_without_leases_closes_at_once_and_keeps_its_files(tmp_path: Path) -> None:
    shard = FakeShard()
    Generation(tmp_path, shard).retire(remove=False)
    assert shard.closed == 1
    assert tmp_path.exists()


def test_a_delta_past_its_size_holds_nothing() -> None:
    delta = Delta(100)
    change = Change(None)
    delta.add(change, 60)
    assert delta.take() == [change]
    delta.add(change, 40)
    seen = [delta.overflowed]
    delta.add(change, 1)
    assert [*seen, delta.overflowed] == [False, True]
    assert delta.take() == []


@pytest.mark.parametrize(
    ("raised", "becomes"),
    [
        (Exception("Vector dimension error: expected dim: 4, got 1"), BadInput),
        (Exception("No range index for `order_by` key: `n`"), BadRequest),
        (Exception("No point with id 5"), NotFound),
        (Exception("Service runtime error: broken"), EngineFault),
        (ValueError("invalid JSON path"), BadInput),
        (TypeError("not a set"), BadInput),
        (OSError(5, "I/O"), EngineFault),
        (type("PanicException", (BaseException,), {})("index out of bounds"), EnginePanic),
        (NotFound("as it is"), NotFound),
    ],
)
def test_what_the_engine_raises(raised: BaseException, becomes: type[RestError]) -> None:
    with pytest.raises(becomes), engine_errors():
        raise raised


def test_what_is_not_the_engines_passes() -> None:
    with pytest.raises(KeyboardInterrupt), engine_errors():
        raise KeyboardInterrupt


def test_a_panic_of_the_real_engine_is_an_error_of_one_request(collection: Collection) -> None:
    def panic(shard: Any) -> None:
        raise type("PanicException", (BaseException,), {})("boom")

    with pytest.raises(EnginePanic):
        collection.read(panic)
    assert count(collection) == 0


def test_after_a_panic_in_a_write_no_further_write_is_acknowledged(collection: Collection, service: Service) -> None:
    """The engine's log now holds what made it panic, so the next start may not get past it."""

    class Panics:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def update(self, _: object) -> None:
            raise type("PanicException", (BaseException,), {})("boom")

    real = collection._generation.shard
    collection._generation.shard = Panics()
    with pytest.raises(EnginePanic):
        collection.submit(partial(collection.apply, points(0, 1), 1)).result()
    collection._generation.shard = real
    with pytest.raises(Unavailable, match="boom"):
        collection.submit(partial(collection.apply, points(0, 1), 1)).result()
    assert count(collection) == 0
    assert service.describe("c")["status"] == "red"


def test_many_threads_read_while_one_writes(collection: Collection) -> None:
    """The binding has no lock of its own to speak of: this is what it must bear."""
    stop = threading.Event()

    def read() -> int:
        done = 0
        while not stop.is_set():
            found = collection.read(
                lambda shard: shard.query(
                    edge.QueryRequest(limit=5, query=edge.Query.Nearest([1.0] * 4, using=""), with_payload=True)
                )
            )
            assert all(point.payload == {"mark": "x"} for point in found)
            done += count(collection) >= 0
        return done

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        try:
            writes = []
            for first in range(0, 2000, 20):
                changes = points(first, 20)
                writes.append(collection.submit(partial(collection.apply, changes, 1)))
            for write in writes:
                write.result()
        finally:
            stop.set()
        assert all(reader.result() for reader in readers)
    assert count(collection) == 2000


def test_writes_from_many_threads_are_applied_in_the_order_they_were_queued(collection: Collection) -> None:
    last: list[str] = []
    lock = threading.Lock()

    def write(worker: int) -> None:
        for i in range(20):
            mark = f"{worker}-{i}"
            with lock:
                changes = points(1, 1, mark)
                future = collection.submit(partial(collection.apply, changes, 1))
                last.append(mark)
            future.result()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    found = collection.read(lambda shard: shard.retrieve([1], True, False))
    assert found[0].payload == {"mark": last[-1]}


def test_churn_counts_points_written_and_removed(collection: Collection) -> None:
    collection.submit(lambda: collection.apply(points(0, 10), 1)).result()
    assert collection.churn == 10
    gone = Change(edge.UpdateOperation.delete_points([0, 1, 99]), grows=False)
    collection.submit(lambda: collection.apply([gone], 1)).result()
    assert collection.churn == 12


def test_a_closed_collection_is_not_found(collection: Collection, service: Service) -> None:
    service.drop("c")
    with pytest.raises(NotFound):
        count(collection)
    with pytest.raises(NotFound):
        collection.submit(lambda: None)
    collection.close()


def test_a_large_upsert_is_cut_into_steps(service: Service, collection: Collection) -> None:
    """Each step holds the interpreter lock; between two of them others run."""
    request = rest.PointsList(points=[rest.PointStruct(id=i, vector=[1.0] * 4) for i in range(600)])
    changes = updates.upsert(request, service.context(collection, update=True))
    assert [change.points for change in changes] == [256, 256, 88]


def test_what_was_written_is_flushed_by_and_by(open_service: Any) -> None:
    from rag.vectord.limits import Limits

    service = open_service(Limits(tick_seconds=0.01, flush_seconds=0.01))
    service.create("c", CREATE)
    collection = service.get("c")
    flushed = threading.Event()
    flush = collection.flush

    def watched() -> None:
        flush()
        flushed.set()

    collection.flush = watched
    collection.submit(lambda: collection.apply(points(0, 1), 1)).result()
    assert flushed.wait(30)
    assert not collection.dirty
