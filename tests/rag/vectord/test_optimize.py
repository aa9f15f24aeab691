"""Index builds beside live traffic: same contents after, old index when anything fails."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord import optimize, updates
from rag.vectord.limits import Limits
from rag.vectord.optimize import Backoff, is_due
from rag.vectord.service import Service
from rag.vectord.shards import Collection

from .conftest import OpenService

DIM = 16
LOW = Limits(optimize_threshold=400, optimize_quiet_seconds=0, tick_seconds=0.01, optimize_backoff_seconds=3600)
CREATE = rest.CreateCollection(
    vectors={"dense": rest.VectorParams(size=DIM, distance=rest.Distance.COSINE)},
    optimizers_config=rest.OptimizersConfigDiff(indexing_threshold=1),
)


def write(service: Service, write: Callable[..., Any], request: Any) -> None:
    collection = service.get("c")
    changes = write(request, service.context(collection, update=True))
    collection.submit(lambda: collection.apply(changes, 1000)).result()


def upsert(service: Service, first: int, count: int, mark: str = "old") -> None:
    rows = np.random.default_rng(first).standard_normal((count, DIM)).tolist()
    points = [
        rest.PointStruct(id=first + i, vector={"dense": row}, payload={"n": first + i, "mark": mark})
        for i, row in enumerate(rows)
    ]
    write(service, updates.upsert, rest.PointsList(points=points))


def delete(service: Service, ids: list[int]) -> None:
    write(service, updates.delete, rest.PointIdsList(points=ids))


def contents(collection: Collection) -> dict[int, Any]:
    request = edge.ScrollRequest(limit=100_000, with_payload=True, with_vector=False)
    found, _ = collection.read(lambda shard: shard.scroll(request))
    return {int(point.id): point.payload for point in found}


def nearest(collection: Collection, row: list[float]) -> list[Any]:
    request = edge.QueryRequest(limit=5, query=edge.Query.Nearest(row, using="dense"), with_payload=True)
    return collection.read(lambda shard: list(shard.query(request)))


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "the build did not come to its end"
        time.sleep(0.01)


def generation(service: Service) -> int:
    return service._registry.state.collections["c"].generation


def test_contents_and_answers_survive_a_build_under_load(open_service: OpenService, tmp_path: Path) -> None:
    service = open_service(LOW)
    service.create("c", CREATE)
    collection = service.get("c")
    write(
        service,
        lambda _, context: [
            updates.Change(edge.UpdateOperation.create_field_index("n", edge.PayloadSchemaType.Integer), reindexes=True)
        ],
        None,
    )
    expected = {i: {"n": i, "mark": "old"} for i in range(500)}
    dice = random.Random(7)
    upsert(service, 0, 500)
    step = 1000
    during = 0
    while generation(service) == 0:
        if collection.building:
            during += 1
        upsert(service, step, 3, "new")
        expected |= {i: {"n": i, "mark": "new"} for i in range(step, step + 3)}
        gone = dice.sample(sorted(expected), 2)
        delete(service, gone)
        for i in gone:
            del expected[i]
        again = dice.choice(sorted(expected))
        upsert(service, again, 1, "again")
        expected[again] = {"n": again, "mark": "again"}
        row = np.random.default_rng(step).standard_normal(DIM).tolist()
        hits = nearest(collection, row)
        assert len(hits) == 5
        assert all(hit.payload == expected[hit.id] for hit in hits)
        step += 3
        assert step < 100_000, "no build was finished"
    until(lambda: not collection.building and collection.churn < LOW.optimize_threshold)
    assert during, "nothing was written while the build ran"
    assert contents(collection) == expected
    assert collection.read(lambda shard: shard.info().indexed_vectors_count) >= 400
    assert set(collection.indexes) == {"n"}
    assert [p.name for p in tmp_path.glob("data/collections/*/*")] == [f"gen-{generation(service)}"]
    service.close()
    reopened = open_service(Limits())
    assert contents(reopened.get("c")) == expected
    assert reopened.describe("c")["optimizer_status"] == "ok"


def test_exact_and_indexed_search_agree_after_a_build(open_service: OpenService) -> None:
    service = open_service(LOW)
    service.create("c", CREATE)
    upsert(service, 0, 600)
    collection = service.get("c")
    until(lambda: generation(service) == 1 and not collection.building)
    row = np.random.default_rng(1).standard_normal(DIM).tolist()
    exact = edge.QueryRequest(
        limit=5, query=edge.Query.Nearest(row, using="dense"), params=edge.SearchParams(exact=True)
    )
    want = [point.id for point in collection.read(lambda shard: shard.query(exact))]
    assert len(set(want) & {hit.id for hit in nearest(collection, row)}) >= 4


def failing_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    child = tmp_path / "child.py"
    child.write_text(text)
    monkeypatch.setattr(optimize, "_CHILD", child)


LOSES_ALL = """
import shutil, sys
shutil.rmtree(sys.argv[1] + "/segments")
sys.stdout.write("optimized")
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise SystemExit('no memory')", "no memory"),
        ("import os; os.kill(os.getpid(), 9)", "status -9"),
        (LOSES_ALL, "points instead of|segments"),
    ],
)  # fmt: skip
def test_when_the_child_dies_the_old_index_stays(
    open_service: OpenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    failing_child(tmp_path, monkeypatch, text)
    service = open_service(LOW)
    service.create("c", CREATE)
    collection = service.get("c")
    upsert(service, 0, 450)
    until(lambda: collection.build_error is not None and not collection.building)
    assert any(part in str(collection.build_error) for part in reason.split("|"))
    assert "error" in service.describe("c")["optimizer_status"]
    assert len(contents(collection)) == 450
    assert generation(service) == 0
    upsert(service, 450, 50)
    assert not is_due(collection, service._backoff["c"], time.monotonic()), "it must wait before it tries again"
    assert [p.name for p in tmp_path.glob("data/collections/*/*")] == ["gen-0"]


def test_nothing_to_build_is_not_tried_for_ever(
    open_service: OpenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_child(tmp_path, monkeypatch, "import sys; sys.stdout.write('nothing to do')")
    service = open_service(LOW)
    service.create("c", CREATE)
    collection = service.get("c")
    upsert(service, 0, 450)
    until(lambda: collection.churn == 0 and not collection.building)
    assert collection.build_error is None
    assert generation(service) == 0
    assert [p.name for p in tmp_path.glob("data/collections/*/*")] == ["gen-0"]


WAITS = """
import pathlib, sys, time
pathlib.Path(sys.argv[1] + "/../started").touch()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("end", ["overflow", "drop", "close"])
def test_a_build_ends_when_it_must(
    open_service: OpenService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    failing_child(tmp_path, monkeypatch, WAITS)
    service = open_service(Limits(**{**{f: getattr(LOW, f) for f in LOW.__slots__}, "optimize_delta_bytes": 5000}))
    service.create("c", CREATE)
    collection = service.get("c")
    upsert(service, 0, 450)
    until(lambda: bool(list(tmp_path.glob("data/collections/*/started"))))
    if end == "overflow":
        for i in range(10):
            upsert(service, 1000 + i, 1)
        until(lambda: collection.build_error is not None)
        assert "too much was written" in str(collection.build_error)
        assert len(contents(collection)) == 460
    elif end == "drop":
        assert service.drop("c")
        until(lambda: not collection.building)
        assert not list(tmp_path.glob("data/collections/*/gen-*"))
    else:
        service.close()
        assert not collection.building
        assert len(contents(open_service(Limits(optimize_threshold=0)).get("c"))) == 450


def test_the_child_needs_nothing_of_this_package(tmp_path: Path) -> None:
    """It runs as a plain file, from anywhere, whatever lies in the current folder."""
    (tmp_path / "qdrant_edge.py").write_text("raise SystemExit('shadowed')")
    config = edge.EdgeConfig(vectors={"v": edge.EdgeVectorParams(size=2, distance=edge.Distance.Dot)})
    edge.EdgeShard.create(str(tmp_path / "shard"), config).close()
    done = subprocess.run(
        [sys.executable, "-P", str(optimize._CHILD), str(tmp_path / "shard")],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "nothing to do"), done.stderr


@pytest.fixture
def idle(open_service: OpenService) -> Collection:
    service = open_service(Limits(optimize_threshold=100, optimize_quiet_seconds=10, tick_seconds=3600))
    service.create("c", CREATE)
    return service.get("c")


def test_when_a_build_is_due(idle: Collection) -> None:
    backoff = Backoff(60)
    now = idle.last_write + 11
    assert not is_due(idle, backoff, now)
    idle.churn = 100
    assert is_due(idle, backoff, now)
    assert not is_due(idle, backoff, idle.last_write + 9), "still being written to"
    idle.churn = 400
    assert is_due(idle, backoff, idle.last_write), "written to without a pause for long enough"
    idle.building = True
    assert not is_due(idle, backoff, now)
    idle.building = False
    backoff.failed()
    assert not is_due(idle, backoff, time.monotonic() + 59)
    assert is_due(idle, backoff, time.monotonic() + 61)


def test_backoff_doubles_up_to_an_hour_and_resets() -> None:
    backoff = Backoff(60)
    pauses = []
    for _ in range(9):
        backoff.failed()
        pauses.append(round(backoff.not_before - time.monotonic()))
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    backoff.succeeded()
    assert backoff.not_before == 0.0


def test_builds_run_one_at_a_time(open_service: OpenService) -> None:
    assert open_service(LOW)._builder._max_workers == 1
    assert sum(thread.name == "keeper" for thread in threading.enumerate()) == 1
