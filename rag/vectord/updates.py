"""Writes: REST requests → engine operations, every value checked before the engine sees it.

The engine logs an operation before it applies it and replays the log at each start. One that makes it
panic would do so again at every start, so nothing unchecked may reach it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord import filters
from rag.vectord.convert import Context
from rag.vectord.errors import BadInput, OutOfRange, unsupported
from rag.vectord.filters import point_id

_STEP = 256
_MODE = {
    rest.UpdateMode.UPSERT: edge.UpdateMode.Upsert,
    rest.UpdateMode.INSERT_ONLY: edge.UpdateMode.InsertOnly,
    rest.UpdateMode.UPDATE_ONLY: edge.UpdateMode.UpdateOnly,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One engine operation. `points` is how many points get new vectors, for the index's sake; `grows`
    tells whether it needs disk; `reindexes` whether the payload indexes change."""

    operation: Any
    points: int = 0
    grows: bool = True
    reindexes: bool = False


def upsert(source: rest.PointsList | rest.PointsBatch, context: Context) -> list[Change]:
    """Steps of at most 256 points: the engine holds the interpreter lock through each."""
    if source.shard_key is not None:
        raise unsupported("shard_key")
    points = _batch(source.batch, context) if isinstance(source, rest.PointsBatch) else _list(source, context)
    condition = filters.to_edge(source.update_filter, context.rules)
    mode = None if source.update_mode is None else _MODE[source.update_mode]
    return [
        Change(edge.UpdateOperation.upsert_points(step, condition, mode), len(step))
        for step in (points[i : i + _STEP] for i in range(0, len(points), _STEP))
    ]


def _list(source: rest.PointsList, context: Context) -> list[Any]:
    return [_point(p.id, p.vector, p.payload, context) for p in source.points]


def _point(raw: Any, vector: Any, payload: dict[str, Any] | None, context: Context) -> Any:
    return edge.Point(id=point_id(raw), vector=context.schema.vector(vector), payload=_payload(payload))


def _payload(payload: dict[str, Any] | None) -> dict[str, Any]:
    return payload or {}


def _batch(batch: rest.Batch, context: Context) -> list[Any]:
    count = len(batch.ids)
    payloads = batch.payloads or [{}] * count
    columns = batch.vectors if isinstance(batch.vectors, dict) else {"": batch.vectors}
    if len(payloads) != count or any(len(column) != count for column in columns.values()):
        raise BadInput("`ids`, `vectors` and `payloads` of a batch must be equally long")
    return [
        _point(batch.ids[i], {name: column[i] for name, column in columns.items()}, payloads[i], context)
        for i in range(count)
    ]


def _ids(raw: list[Any]) -> list[Any]:
    return [point_id(one) for one in raw]


def _target(points: list[Any] | None, source: rest.Filter | None, context: Context) -> tuple[list[Any] | None, Any]:
    """The ids or the filter that a write names: exactly one of the two. An absent target must never
    come to mean every point."""
    if (points is None) == (source is None):
        raise OutOfRange("[points, filter: exactly one of the two must be given]")
    if points is not None:
        return _ids(points), None
    return None, filters.to_edge(source, context.rules)


def delete(source: rest.PointsSelector, context: Context) -> list[Change]:
    if source.shard_key is not None:
        raise unsupported("shard_key")
    if isinstance(source, rest.PointIdsList):
        ids = _ids(source.points)
        return [Change(edge.UpdateOperation.delete_points(ids), grows=False)] if ids else []
    condition = filters.to_edge(source.filter, context.rules)
    return [Change(edge.UpdateOperation.delete_points_by_filter(condition), grows=False)]


def set_payload(source: rest.SetPayload, context: Context) -> list[Change]:
    return _put_payload(source, context, "set_payload")


def overwrite_payload(source: rest.SetPayload, context: Context) -> list[Change]:
    return _put_payload(source, context, "overwrite_payload")


def _put_payload(source: rest.SetPayload, context: Context, name: str) -> list[Change]:
    if source.shard_key is not None:
        raise unsupported("shard_key")
    ids, condition = _target(source.points, source.filter, context)
    if ids is not None:
        make = getattr(edge.UpdateOperation, name)
        return [Change(make(ids, source.payload, source.key))] if ids else []
    make = getattr(edge.UpdateOperation, f"{name}_by_filter")
    return [Change(make(condition, source.payload, source.key))]


def delete_payload(source: rest.DeletePayload, context: Context) -> list[Change]:
    if source.shard_key is not None:
        raise unsupported("shard_key")
    ids, condition = _target(source.points, source.filter, context)
    if ids is not None:
        operation = edge.UpdateOperation.delete_payload(ids, source.keys)
        return [Change(operation, grows=False)] if ids else []
    return [Change(edge.UpdateOperation.delete_payload_by_filter(condition, source.keys), grows=False)]


def clear_payload(source: rest.PointsSelector, context: Context) -> list[Change]:
    if source.shard_key is not None:
        raise unsupported("shard_key")
    if isinstance(source, rest.PointIdsList):
        ids = _ids(source.points)
        return [Change(edge.UpdateOperation.clear_payload(ids), grows=False)] if ids else []
    condition = filters.to_edge(source.filter, context.rules)
    return [Change(edge.UpdateOperation.clear_payload_by_filter(condition), grows=False)]


def operation(source: rest.UpdateOperation, context: Context) -> list[Change]:
    """One entry of a batch of writes."""
    match source:
        case rest.UpsertOperation():
            return upsert(source.upsert, context)
        case rest.DeleteOperation():
            return delete(source.delete, context)
        case rest.SetPayloadOperation():
            return set_payload(source.set_payload, context)
        case rest.OverwritePayloadOperation():
            return overwrite_payload(source.overwrite_payload, context)
        case rest.DeletePayloadOperation():
            return delete_payload(source.delete_payload, context)
        case rest.ClearPayloadOperation():
            return clear_payload(source.clear_payload, context)
    raise unsupported(f"operations: {type(source).__name__}")
