"""The vector store: the only module that reads or writes vectors, chunk texts and spans.

One collection per embedding model and dimension, behind an alias; tenant and knowledge base are payload keys.
`_scoped` is the one place where a filter is made, so no query can leave out the tenant; every hit is checked
against its scope once more before it is returned.
"""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
import numpy as np
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from rag import scoring
from rag.bm25 import Bm25Encoder
from rag.errors import EngineError, IndexMismatch, InvalidRequest, VectorStoreUnavailable
from rag.filters import PAYLOAD_INDEXES, conditions, metadata_payload
from rag.ports import Vectors
from rag.types import Chunk, DocumentRef, Passage, Scope, SearchType

DENSE, SPARSE = "dense", "bm25"
RRF_K = 61
"""Qdrant scores the first rank 1/k where the paper's formula has 1/(60 + 1) (Cormack et al. 2009)."""
_UPSERT_BATCH = 128
_SCHEMA = 1


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """The client's exceptions as ours."""
    try:
        yield
    except ResponseHandlingException as error:
        raise VectorStoreUnavailable(
            f"the vector store does not answer ({type(error.source).__name__}); retry in a moment"
        ) from error
    except ResourceExhaustedResponse as error:
        raise VectorStoreUnavailable(
            "the vector store is busy; retry in a moment", retry_after=error.retry_after_s
        ) from error
    except UnexpectedResponse as error:
        said = error.content.decode(errors="replace")[:300]
        if error.status_code in (408, 429, 500, 502, 503, 504, 507):
            raise VectorStoreUnavailable(f"the vector store answered {error.status_code}: {said}") from error
        if error.status_code in (401, 403):
            raise VectorStoreUnavailable("the vector store refused our key; set QDRANT_API_KEY") from error
        raise EngineError(f"the vector store refused a request ({error.status_code}): {said}") from error


def connect(url: str, api_key: str | None = None, *, timeout: int = 30) -> AsyncQdrantClient:
    """A client of a Qdrant server; `timeout` in seconds bounds every call. Connects on first use."""
    with warnings.catch_warnings():
        if httpx.URL(url).host in ("127.0.0.1", "localhost", "::1"):
            # A key over plain HTTP is worth a warning on a network, not on the loopback.
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        return AsyncQdrantClient(url=url, api_key=api_key, timeout=timeout, check_compatibility=False)


def _match(key: str, *values: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))


def _scoped(scope: Scope, document_id: str | None = None, *more: models.Condition) -> models.Filter:
    """The choke-point: every filter of this module begins with tenant and knowledge bases."""
    must: list[models.Condition] = [
        _match("tenant_id", scope.tenant_id),
        _match("kb_id", *scope.knowledge_base_ids),
    ]
    if document_id is not None:
        must.append(_match("document_id", document_id))
    return models.Filter(must=[*must, *more])


def _superseded(version: int, chunks: int) -> models.Filter:
    """What a stored version of so many chunks leaves no place for: other versions, and its own former tail."""
    current = models.FieldCondition(key="version", match=models.MatchValue(value=version))
    tail = models.FieldCondition(key="n", range=models.Range(gte=chunks))
    return models.Filter(should=[models.Filter(must_not=[current]), tail])


def point_id(document: DocumentRef, n: int) -> str:
    name = f"{document.tenant_id}/{document.knowledge_base_id}/{document.document_id}/{document.version}/{n}"
    return str(uuid5(NAMESPACE_URL, name))


def _payload(document: DocumentRef, chunk: Chunk) -> dict[str, Any]:
    return {
        "tenant_id": document.tenant_id,
        "kb_id": document.knowledge_base_id,
        "document_id": document.document_id,
        "version": document.version,
        "n": chunk.n,
        "source": document.source,
        "source_type": document.source_type,
        "file_id": document.file_id,
        "data_source_id": document.data_source_id,
        "text": chunk.text,
        "start": chunk.start,
        "end": chunk.end,
        "pages": [list(page) for page in chunk.pages],
        "headings": list(chunk.headings),
        **metadata_payload(document.metadata),
    }


def _passage(point: models.ScoredPoint | models.Record, scope: Scope, score: float = 0.0) -> Passage:
    payload = point.payload or {}
    if payload["tenant_id"] != scope.tenant_id or payload["kb_id"] not in scope.knowledge_base_ids:
        raise EngineError("the vector store returned a point outside the scope of the query; nothing was shown")
    return Passage(
        chunk_id=f"chunk_{UUID(str(point.id)).hex}",
        document_id=payload["document_id"],
        knowledge_base_id=payload["kb_id"],
        source=payload["source"],
        text=payload["text"],
        start=payload["start"],
        end=payload["end"],
        n=payload["n"],
        score=score,
        pages=tuple((int(start), int(page)) for start, page in payload["pages"]),
        headings=tuple(payload["headings"]),
        file_id=payload["file_id"],
        data_source_id=payload["data_source_id"],
        source_type=payload["source_type"],
        metadata=payload["meta"],
    )


class QdrantStore:
    """VectorStore on AsyncQdrantClient; the same code on `vectord`, a server, a cluster or Cloud."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        *,
        model: str,
        dimension: int,
        encoder: Bm25Encoder | None = None,
    ) -> None:
        self._client = client
        self._encoder = encoder or Bm25Encoder()
        self._dimension = dimension
        self._made_with = {
            "schema": _SCHEMA,
            "embedding_model": model,
            "dimension": dimension,
            "sparse_encoder": self._encoder.name,
        }
        slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
        self._alias = f"passages-{slug}-{dimension}"
        self._ready = False
        self._making = asyncio.Lock()

    # the collection ------------------------------------------------------------------------------
    async def _collection(self) -> str:
        """The alias to read and write through, after the collection is known to exist and to fit."""
        if not self._ready:
            async with self._making, _translated():
                if not self._ready:
                    await self._ensure()
                    self._ready = True
        return self._alias

    async def _ensure(self) -> None:
        aliases = (await self._client.get_aliases()).aliases
        if not any(alias.alias_name == self._alias for alias in aliases):
            await self._create(f"{self._alias}-v{_SCHEMA}")
        info = await self._client.get_collection(self._alias)
        made_with = info.config.metadata or {}
        if made_with != self._made_with:
            raise IndexMismatch(
                f"the collection {self._alias!r} was made with {made_with}, but the configuration says "
                f"{self._made_with}. Set EMBEDDING_MODEL back, or delete the collection and ingest again"
            )

    async def _create(self, name: str) -> None:
        """Idempotent: gateway and workers may all come here first, and a crash may leave any prefix of it."""
        if not await self._client.collection_exists(name):
            try:
                await self._client.create_collection(
                    name,
                    vectors_config={DENSE: models.VectorParams(size=self._dimension, distance=models.Distance.COSINE)},
                    sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                    strict_mode_config=models.StrictModeConfig(
                        enabled=True, unindexed_filtering_retrieve=False, unindexed_filtering_update=False
                    ),
                    metadata=self._made_with,
                )
            except UnexpectedResponse as error:
                if error.status_code != 409:
                    raise
        for field, schema in PAYLOAD_INDEXES.items():
            await self._client.create_payload_index(name, field, field_schema=schema, wait=True)
        alias = models.CreateAlias(collection_name=name, alias_name=self._alias)
        await self._client.update_collection_aliases(
            change_aliases_operations=[models.CreateAliasOperation(create_alias=alias)]
        )

    # writing -------------------------------------------------------------------------------------
    async def replace(self, document: DocumentRef, chunks: Sequence[Chunk], vectors: Vectors) -> int:
        """New version first, then the stale ones: a reader never meets a moment without the document."""
        name = await self._collection()
        scope = Scope(document.tenant_id, (document.knowledge_base_id,))
        async with _translated():
            for at in range(0, len(chunks), _UPSERT_BATCH):
                part = slice(at, at + _UPSERT_BATCH)
                points = await asyncio.to_thread(self._points, document, chunks[part], vectors[part])
                await self._client.upsert(name, points=points, wait=True)
            stale = _scoped(scope, document.document_id, _superseded(document.version, len(chunks)))
            await self._client.delete(name, points_selector=models.FilterSelector(filter=stale), wait=True)
        return await self.count(scope, document.document_id)

    def _points(self, document: DocumentRef, chunks: Sequence[Chunk], vectors: Vectors) -> list[models.PointStruct]:
        return [
            models.PointStruct(
                id=point_id(document, chunk.n),
                vector={DENSE: vector.tolist(), SPARSE: self._encoder.document(chunk.text)},
                payload=_payload(document, chunk),
            )
            for chunk, vector in zip(chunks, vectors, strict=True)
        ]

    async def delete(self, scope: Scope, document_id: str | None = None) -> int:
        name = await self._collection()
        before = await self.count(scope, document_id)
        async with _translated():
            everything = models.FilterSelector(filter=_scoped(scope, document_id))
            await self._client.delete(name, points_selector=everything, wait=True)
        return before - await self.count(scope, document_id)

    async def set_metadata(self, scope: Scope, document_id: str, metadata: Mapping[str, Any]) -> None:
        name = await self._collection()
        async with _translated():
            await self._client.set_payload(
                name,
                payload=metadata_payload(metadata),
                points=models.FilterSelector(filter=_scoped(scope, document_id)),
                wait=True,
            )

    # reading -------------------------------------------------------------------------------------
    async def count(self, scope: Scope, document_id: str | None = None) -> int:
        name = await self._collection()
        async with _translated():
            return (await self._client.count(name, count_filter=_scoped(scope, document_id), exact=True)).count

    async def chunks(self, scope: Scope, document_id: str, *, limit: int, after: int | None) -> list[Passage]:
        name = await self._collection()
        newer = models.FieldCondition(key="n", range=models.Range(gt=-1 if after is None else after))
        async with _translated():
            points, _ = await self._client.scroll(
                name,
                scroll_filter=_scoped(scope, document_id, newer),
                order_by=models.OrderBy(key="n", direction=models.Direction.ASC),
                limit=limit,
                with_payload=True,
            )
        return [_passage(point, scope) for point in points]

    async def search(
        self,
        scope: Scope,
        query: str,
        vector: NDArray[np.float32] | None,
        *,
        search_type: SearchType,
        limit: int,
        filters: Mapping[str, Any],
    ) -> list[Passage]:
        name = await self._collection()
        sparse = self._encoder.query(query)
        request = self._query(_scoped(scope, None, *conditions(filters)), vector, sparse, search_type, limit)
        if request is None:
            return []
        async with _translated():
            response = await self._client.query_points(
                name, limit=limit, with_payload=True, with_vectors=[DENSE], **request
            )
        # The engine orders equal scores by chance; the same question must get the same answer.
        points = sorted(response.points, key=lambda point: (-point.score, str(point.id)))
        scores = scoring.non_increasing([self._relevance(point, vector, sparse) for point in points])
        return [_passage(point, scope, score) for point, score in zip(points, scores, strict=True)]

    def _query(
        self,
        scope: models.Filter,
        vector: NDArray[np.float32] | None,
        sparse: models.SparseVector,
        search_type: SearchType,
        limit: int,
    ) -> dict[str, Any] | None:
        """Arguments of one query; None when there is nothing to search for (a query of stop words only)."""
        # IDF over the scope alone: other tenants' texts must not show in the scores.
        idf = models.SearchParams(idf=models.IdfCorpusParams(corpus=scope))
        keyword: dict[str, Any] = {"query": sparse, "using": SPARSE}
        if search_type == "keyword":
            return {**keyword, "query_filter": scope, "search_params": idf} if sparse.indices else None
        if vector is None:
            raise InvalidRequest(f"a {search_type} search needs the query's vector")
        dense: dict[str, Any] = {"query": vector.tolist(), "using": DENSE}
        if search_type == "vector" or not sparse.indices:
            return {**dense, "query_filter": scope}
        depth = max(2 * limit, 50)
        legs = [
            models.Prefetch(**dense, filter=scope, limit=depth),
            models.Prefetch(**keyword, filter=scope, limit=depth, params=idf),
        ]
        return {
            "prefetch": legs,
            "query": models.RrfQuery(rrf=models.Rrf(k=RRF_K)),
            "query_filter": scope,
        }

    def _relevance(
        self, point: models.ScoredPoint, vector: NDArray[np.float32] | None, sparse: models.SparseVector
    ) -> float:
        stored = point.vector[DENSE] if isinstance(point.vector, dict) else None
        cosine = float(np.dot(vector, np.asarray(stored))) if vector is not None and stored else 0.0
        held = set(self._encoder.document((point.payload or {})["text"]).indices)
        coverage = sum(index in held for index in sparse.indices) / max(len(sparse.indices), 1)
        return scoring.probability(cosine, coverage)

    async def healthy(self) -> bool:
        try:
            async with _translated():
                await self._client.get_collections()
        except VectorStoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        await self._client.close()
