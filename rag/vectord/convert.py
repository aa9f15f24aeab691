"""Reads: REST requests → engine requests, engine answers → JSON."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client.http import models as rest

from rag.vectord import filters
from rag.vectord.errors import BadInput, BadRequest, OutOfRange, unsupported
from rag.vectord.filters import FilterRules, point_id
from rag.vectord.schema import Schema

DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Context:
    """What a request is converted against."""

    schema: Schema
    rules: FilterRules
    max_limit: int


def limit(given: int | None, context: Context, name: str = "limit") -> int:
    value = DEFAULT_LIMIT if given is None else given
    if value < 1:
        raise OutOfRange(f"[{name}: value {value} invalid, must be 1 or larger]")
    allowed = context.schema.strict.max_query_limit or context.max_limit
    if value > min(allowed, context.max_limit):
        raise BadRequest(
            f'Limit exceeded {value} > {allowed} for "{name}". '
            f'Help: Reduce the "{name}" parameter to or below {allowed}.'
        )
    return value


def query_request(source: rest.QueryRequest, context: Context) -> Any:
    """`QueryRequest` for the engine. Raises RestError naming what it cannot serve."""
    _refuse(source, "shard_key", "lookup_from")
    offset = source.offset or 0
    if offset < 0:
        raise OutOfRange("[offset: must be 0 or larger]")
    if offset > context.max_limit:
        raise BadRequest(f"`offset` is larger than {context.max_limit}: page with scroll instead")
    prefetches = _prefetches(source.prefetch, context, 1)
    return edge.QueryRequest(
        limit=limit(source.limit, context),
        offset=offset or None,
        query=_query(source.query, source.using, context, len(prefetches)),
        prefetches=prefetches or None,
        with_vector=with_vector(source.with_vector),
        with_payload=with_payload(source.with_payload, default=False),
        filter=filters.to_edge(source.filter, context.rules),
        score_threshold=source.score_threshold,
        params=_params(source.params, context),
    )


def _refuse(source: Any, *names: str) -> None:
    for name in names:
        if getattr(source, name) is not None:
            raise unsupported(name)


def _prefetches(source: rest.Prefetch | list[rest.Prefetch] | None, context: Context, depth: int) -> list[Any]:
    if source is None:
        return []
    if depth > _MAX_DEPTH:
        raise BadRequest(f"`prefetch` is nested deeper than {_MAX_DEPTH}")
    found = source if isinstance(source, list) else [source]
    context.rules.spend(len(found))
    return [_prefetch(one, context, depth) for one in found]


def _prefetch(source: rest.Prefetch, context: Context, depth: int) -> Any:
    _refuse(source, "lookup_from")
    inner = _prefetches(source.prefetch, context, depth + 1)
    return edge.Prefetch(
        limit=limit(source.limit, context, "prefetch.limit"),
        query=_query(source.query, source.using, context, len(inner)),
        prefetches=inner or None,
        params=_params(source.params, context),
        filter=filters.to_edge(source.filter, context.rules),
        score_threshold=source.score_threshold,
    )


def _query(source: Any, using: str | None, context: Context, prefetches: int) -> Any:
    match source:
        case None if prefetches:
            raise BadInput("a `prefetch` without a `query` has nothing to rank by: add one, such as RRF")
        case None:
            return None
        case rest.NearestQuery(nearest=nearest, mmr=mmr):
            if mmr is not None:
                raise unsupported("query.mmr")
            return _nearest(nearest, using, context)
        case rest.FusionQuery() | rest.RrfQuery():
            return _fusion(source, prefetches)
        case rest.OrderByQuery():
            return order_by(source.order_by)
        case rest.SampleQuery():
            return edge.Sample.Random
        case list() | rest.SparseVector():
            return _nearest(source, using, context)
        case int() | str() | uuid.UUID():
            raise unsupported("query: a point id", "retrieve the point and send its vector")
    raise unsupported(f"query: {type(source).__name__}")


def _nearest(source: Any, using: str | None, context: Context) -> Any:
    name = using or ""
    if isinstance(source, rest.SparseVector):
        return edge.Query.Nearest(context.schema.sparse_query(name, source), using=name)
    if isinstance(source, list):
        return edge.Query.Nearest(context.schema.dense_query(name, source), using=name)
    raise unsupported(f"query.nearest: {type(source).__name__}", "send the vector itself")


def _fusion(source: rest.FusionQuery | rest.RrfQuery, prefetches: int) -> Any:
    if not prefetches:
        raise BadInput("a fusion needs at least one `prefetch`")
    if isinstance(source, rest.FusionQuery):
        return edge.Fusion.Rrf(k=DEFAULT_RRF_K) if source.fusion == rest.Fusion.RRF else edge.Fusion.Dbsf()
    k, weights = source.rrf.k, source.rrf.weights
    if k is not None and not 1 <= k < 2**32:
        raise OutOfRange("[query.rrf.k: must be 1 or larger]")
    if weights is not None and len(weights) != prefetches:
        raise BadInput(f"query.rrf.weights has {len(weights)} numbers for {prefetches} prefetches")
    return edge.Fusion.Rrf(k=DEFAULT_RRF_K if k is None else k, weights=weights)


def order_by(source: rest.OrderBy | str) -> Any:
    if isinstance(source, str):
        return edge.OrderBy(source)
    start = source.start_from
    direction = edge.Direction.Desc if source.direction == rest.Direction.DESC else edge.Direction.Asc
    return edge.OrderBy(
        source.key,
        direction,
        start if start is None or isinstance(start, (int, float)) else filters.utc_text(start),
    )


def _params(source: rest.SearchParams | None, context: Context) -> Any:
    if source is None:
        return None
    ef = source.hnsw_ef
    if ef is not None and not 0 <= ef <= 100_000:
        raise OutOfRange("[params.hnsw_ef: must be from 0 to 100000]")
    return edge.SearchParams(
        hnsw_ef=ef,
        exact=bool(source.exact),
        quantization=_quantization(source.quantization),
        indexed_only=bool(source.indexed_only),
        acorn=edge.AcornSearchParams(bool(source.acorn.enable), source.acorn.max_selectivity) if source.acorn else None,
        idf=edge.IdfParams(corpus=filters.to_edge(source.idf.corpus, context.rules))
        if isinstance(source.idf, rest.IdfCorpusParams)
        else None,
    )


def _quantization(source: rest.QuantizationSearchParams | None) -> Any:
    if source is None:
        return None
    return edge.QuantizationSearchParams(
        ignore=bool(source.ignore), rescore=source.rescore, oversampling=source.oversampling
    )


def with_payload(source: rest.WithPayloadInterface | None, *, default: bool) -> Any:
    match source:
        case None:
            return default
        case rest.PayloadSelectorInclude():
            return edge.PayloadSelector.Include(source.include)
        case rest.PayloadSelectorExclude():
            return edge.PayloadSelector.Exclude(source.exclude)
    return source


def with_vector(source: bool | list[str] | None) -> Any:
    return False if source is None else source


def scroll_request(source: rest.ScrollRequest, context: Context) -> Any:
    _refuse(source, "shard_key")
    if source.order_by is not None and source.offset is not None:
        raise BadInput("`offset` cannot be used with `order_by`: page with `order_by.start_from`")
    return edge.ScrollRequest(
        offset=None if source.offset is None else point_id(source.offset),
        limit=limit(source.limit, context),
        filter=filters.to_edge(source.filter, context.rules),
        with_payload=with_payload(source.with_payload, default=True),
        with_vector=with_vector(source.with_vector),
        order_by=None if source.order_by is None else order_by(source.order_by),
    )


def count_request(source: rest.CountRequest, context: Context) -> Any:
    _refuse(source, "shard_key")
    return edge.CountRequest(exact=source.exact is not False, filter=filters.to_edge(source.filter, context.rules))


def facet_request(source: rest.FacetRequest, context: Context) -> Any:
    _refuse(source, "shard_key")
    return edge.FacetRequest(
        key=source.key,
        limit=limit(source.limit, context),
        exact=bool(source.exact),
        filter=filters.to_edge(source.filter, context.rules),
    )


def retrieve_arguments(source: rest.PointRequest, context: Context) -> tuple[list[Any], Any, Any]:
    """(ids, with_payload, with_vector) of `EdgeShard.retrieve`."""
    _refuse(source, "shard_key")
    if len(source.ids) > context.max_limit:
        raise BadRequest(f"more than {context.max_limit} ids at once: ask in several requests")
    ids = [point_id(raw) for raw in source.ids]
    return ids, with_payload(source.with_payload, default=True), with_vector(source.with_vector)


def id_json(raw: Any) -> int | str:
    return raw if isinstance(raw, int) else str(raw)


def _vector_json(vector: Any) -> Any:
    """Floats leave as float32 arrays: orjson then writes the shortest text that reads back the same."""
    if isinstance(vector, edge.SparseVector):
        return {"indices": vector.indices, "values": np.asarray(vector.values, dtype=np.float32)}
    if isinstance(vector, dict):
        return {name: _vector_json(value) for name, value in vector.items()}
    if vector and isinstance(vector[0], list):
        return [np.asarray(row, dtype=np.float32) for row in vector]
    return np.asarray(vector, dtype=np.float32)


def record_json(point: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": id_json(point.id)}
    if (payload := point.payload) is not None:
        found["payload"] = payload
    if (vector := point.vector) is not None:
        found["vector"] = _vector_json(vector)
    if (order_value := point.order_value) is not None:
        found["order_value"] = order_value
    return found


def scored_json(point: Any) -> dict[str, Any]:
    return {**record_json(point), "version": point.version, "score": point.score}


def scored_list(points: Sequence[Any]) -> dict[str, Any]:
    return {"points": [scored_json(point) for point in points]}
