"""The routes: the part of Qdrant's REST API that this product uses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import qdrant_edge as edge
from pydantic import TypeAdapter
from qdrant_client.http import models as rest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rag.vectord import convert, indexes, updates, wire
from rag.vectord.convert import Context
from rag.vectord.errors import NotFound
from rag.vectord.service import Service
from rag.vectord.shards import Collection, engine_errors
from rag.vectord.updates import Change

QDRANT_VERSION = "1.20.0"
"""The version whose API is spoken; clients compare it with their own."""

_DONE = b'{"operation_id":0,"status":"completed"}'

Read = Callable[[Any, Any, Context], Any]
"""(shard, request model, context) → a value for JSON."""
Write = Callable[[Any, Context], Sequence[Change]]
"""(request model, context) → what to apply."""


class Api:
    """The endpoints over one service. Nothing here blocks: threads parse bodies and call engines."""

    def __init__(self, service: Service) -> None:
        limits = service.limits
        self._service = service
        self._reads = wire.Gate("reads", limits.pending_reads, limits.pending_bytes)
        self._writes = wire.Gate("writes", limits.pending_writes, limits.pending_bytes)

    # the three shapes of an endpoint

    async def _admin(self, request: Request, work: Callable[[bytes], Any]) -> Response:
        """Registry work, one at a time. `work` gets the body (empty for GET and DELETE)."""
        started = time.perf_counter()
        body = b""
        if request.method in ("PUT", "POST", "PATCH"):
            body = await wire.read_body(request, self._writes, self._service.limits.body_bytes)
        else:
            self._writes.enter()
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._service.admin, lambda: wire.dump(work(body)))
        future.add_done_callback(lambda _: self._writes.leave(len(body)))
        return wire.answer(await wire.within(wire.query_timeout(request), future), started)

    async def _read(self, adapter: TypeAdapter[Any], read: Read, request: Request) -> Response:
        started = time.perf_counter()
        timeout = wire.query_timeout(request)
        collection = self._collection(request)
        body = await wire.read_body(request, self._reads, self._service.limits.body_bytes)

        def work() -> bytes:
            parsed = wire.parse(adapter, body)
            context = self._service.context(collection, update=False)
            return wire.dump(collection.read(lambda shard: read(shard, parsed, context)))

        future = asyncio.get_running_loop().run_in_executor(self._service.readers, work)
        future.add_done_callback(lambda _: self._reads.leave(len(body)))
        return wire.answer(await wire.within(timeout, future), started)

    async def _write(self, adapter: TypeAdapter[Any], write: Write, request: Request) -> Response:
        """Answers when the change is in the engine's log, whatever `?wait=` says."""
        timeout = wire.query_timeout(request)
        collection = self._collection(request)
        body = await wire.read_body(request, self._writes, self._service.limits.body_bytes)

        def work() -> bytes:
            parsed = wire.parse(adapter, body)
            with engine_errors():
                changes = write(parsed, self._service.context(collection, update=True))
            collection.apply(changes, len(body))
            many = len(parsed.operations) if isinstance(parsed, rest.UpdateOperations) else None
            return _DONE if many is None else b"[" + b",".join([_DONE] * many) + b"]"

        return await self._apply(collection, work, len(body), timeout)

    async def _apply(
        self, collection: Collection, work: Callable[[], bytes], size: int, seconds: float | None
    ) -> Response:
        started = time.perf_counter()
        try:
            future = asyncio.wrap_future(collection.submit(work))
        except NotFound:
            self._writes.leave(size)
            raise
        future.add_done_callback(lambda _: self._writes.leave(size))
        return wire.answer(await wire.within(seconds, future), started)

    def _collection(self, request: Request) -> Collection:
        return self._service.get(request.path_params["name"])

    # the process

    async def root(self, request: Request) -> Response:
        body = {"title": "qdrant - vector search engine", "version": QDRANT_VERSION, "commit": "vectord"}
        return Response(wire.dump(body), media_type="application/json")

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("healthz check passed")

    async def ready(self, request: Request) -> Response:
        return PlainTextResponse("all shards are ready")

    # collections and aliases

    async def list_collections(self, request: Request) -> Response:
        service = self._service
        return await self._admin(request, lambda _: {"collections": [{"name": n} for n in service.names()]})

    async def exists(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await self._admin(request, lambda _: {"exists": self._service.exists(name)})

    async def info(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await self._admin(request, lambda _: self._service.describe(name))

    async def create(self, request: Request) -> Response:
        name = request.path_params["name"]

        def work(body: bytes) -> bool:
            self._service.create(name, wire.parse(_CREATE, body))
            return True

        return await self._admin(request, work)

    async def update(self, request: Request) -> Response:
        name = request.path_params["name"]

        def work(body: bytes) -> bool:
            self._service.update(name, wire.parse(_UPDATE, body))
            return True

        return await self._admin(request, work)

    async def drop(self, request: Request) -> Response:
        name = request.path_params["name"]
        return await self._admin(request, lambda _: self._service.drop(name))

    async def change_aliases(self, request: Request) -> Response:
        def work(body: bytes) -> bool:
            self._service.change_aliases(wire.parse(_ALIASES, body))
            return True

        return await self._admin(request, work)

    async def list_aliases(self, request: Request) -> Response:
        name = request.path_params.get("name")

        def work(_: bytes) -> dict[str, Any]:
            target = None if name is None else self._service.resolve(name)
            return {
                "aliases": [
                    {"alias_name": alias, "collection_name": collection}
                    for alias, collection in sorted(self._service.aliases().items())
                    if target in (None, collection)
                ]
            }

        return await self._admin(request, work)

    async def delete_index(self, request: Request) -> Response:
        collection = self._collection(request)
        timeout = wire.query_timeout(request)
        with engine_errors():
            operation = edge.UpdateOperation.delete_field_index(request.path_params["field"])
        self._writes.enter()

        def work() -> bytes:
            collection.apply([Change(operation, grows=False, reindexes=True)], 0)
            return _DONE

        return await self._apply(collection, work, 0, timeout)

    def routes(self) -> list[Route]:
        points = "/collections/{name}/points"
        return [
            _route("GET", "/", self.root),
            _route("GET", "/healthz", self.health),
            _route("GET", "/readyz", self.ready),
            _route("GET", "/collections", self.list_collections),
            _route("POST", "/collections/aliases", self.change_aliases),
            _route("GET", "/aliases", self.list_aliases),
            _route("GET", "/collections/{name}/exists", self.exists),
            _route("GET", "/collections/{name}/aliases", self.list_aliases),
            _route("GET", "/collections/{name}", self.info),
            _route("PUT", "/collections/{name}", self.create),
            _route("PATCH", "/collections/{name}", self.update),
            _route("DELETE", "/collections/{name}", self.drop),
            _route("DELETE", "/collections/{name}/index/{field:path}", self.delete_index),
            *(_route(method, path, partial(self._write, *parts)) for (method, path), parts in _WRITES.items()),
            *(_route("POST", points + path, partial(self._read, *parts)) for path, parts in _READS.items()),
            _route("POST", "/collections/{name}/facet", partial(self._read, _adapter(rest.FacetRequest), _facet)),
        ]


def _route(method: str, path: str, endpoint: wire.Endpoint) -> Route:
    return Route(path, wire.rendered(endpoint), methods=[method])


def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


# reads


def _query(shard: Any, source: rest.QueryRequest, context: Context) -> Any:
    return convert.scored_list(shard.query(convert.query_request(source, context)))


def _query_batch(shard: Any, source: rest.QueryRequestBatch, context: Context) -> Any:
    requests = [convert.query_request(one, context) for one in source.searches]
    answers = shard.query_batch(edge.QueryBatchRequest(requests)) if requests else []
    return [convert.scored_list(points) for points in answers]


def _retrieve(shard: Any, source: rest.PointRequest, context: Context) -> Any:
    ids, with_payload, with_vector = convert.retrieve_arguments(source, context)
    found = shard.retrieve(ids, with_payload, with_vector)
    return [convert.record_json(point) for point in found]


def _scroll(shard: Any, source: rest.ScrollRequest, context: Context) -> Any:
    points, offset = shard.scroll(convert.scroll_request(source, context))
    return {
        "points": [convert.record_json(point) for point in points],
        "next_page_offset": None if offset is None else convert.id_json(offset),
    }


def _count(shard: Any, source: rest.CountRequest, context: Context) -> Any:
    return {"count": shard.count(convert.count_request(source, context))}


def _facet(shard: Any, source: rest.FacetRequest, context: Context) -> Any:
    hits = shard.facet(convert.facet_request(source, context)).hits
    return {"hits": [{"value": hit.value, "count": hit.count} for hit in hits]}


_READS: Mapping[str, tuple[TypeAdapter[Any], Read]] = {
    "": (_adapter(rest.PointRequest), _retrieve),
    "/query": (_adapter(rest.QueryRequest), _query),
    "/query/batch": (_adapter(rest.QueryRequestBatch), _query_batch),
    "/scroll": (_adapter(rest.ScrollRequest), _scroll),
    "/count": (_adapter(rest.CountRequest), _count),
}


# writes


def _create_index(source: rest.CreateFieldIndex, context: Context) -> list[Change]:
    operation = edge.UpdateOperation.create_field_index(source.field_name, indexes.to_edge(source.field_schema))
    return [Change(operation, reindexes=True)]


def _many(source: rest.UpdateOperations, context: Context) -> list[Change]:
    """Several writes in one request, converted all before the first is applied."""
    return [change for one in source.operations for change in updates.operation(one, context)]


_SELECTOR = _adapter(rest.PointsSelector)
_SET = _adapter(rest.SetPayload)
_POINTS = "/collections/{name}/points"
_WRITES: Mapping[tuple[str, str], tuple[TypeAdapter[Any], Write]] = {
    ("PUT", "/collections/{name}/index"): (_adapter(rest.CreateFieldIndex), _create_index),
    ("PUT", _POINTS): (_adapter(rest.PointInsertOperations), updates.upsert),
    ("POST", f"{_POINTS}/delete"): (_SELECTOR, updates.delete),
    ("POST", f"{_POINTS}/payload"): (_SET, updates.set_payload),
    ("PUT", f"{_POINTS}/payload"): (_SET, updates.overwrite_payload),
    ("POST", f"{_POINTS}/payload/delete"): (_adapter(rest.DeletePayload), updates.delete_payload),
    ("POST", f"{_POINTS}/payload/clear"): (_SELECTOR, updates.clear_payload),
    ("POST", f"{_POINTS}/batch"): (_adapter(rest.UpdateOperations), _many),
}
_CREATE = _adapter(rest.CreateCollection)
_UPDATE = _adapter(rest.UpdateCollection)
_ALIASES = _adapter(rest.ChangeAliasesOperation)


@wire.rendered
async def _nowhere(request: Request) -> Response:
    raise NotFound(
        f"{request.method} {request.url.path} is not served by the embedded vector store: "
        "set QDRANT_URL to a Qdrant server for it"
    )


async def _not_found(request: Request, _: Exception) -> Response:
    return await _nowhere(request)


def create_app(service: Service, api_key: str | None = None) -> Starlette:
    """The ASGI application. With `api_key` every route but the health checks asks for it."""
    return Starlette(
        routes=Api(service).routes(),
        middleware=[Middleware(wire.RequireKey, key=api_key)],
        exception_handlers={404: _not_found, 405: _not_found},
    )
