"""POST /v1/knowledge-bases/{kb_id}/retrieve."""

from __future__ import annotations

from fastapi import Request

from rag.types import Scope
from serving.routes.deps import Reader, Running, new_router
from serving.sse import unless_left
from serving.wire.knowledge_bases import RetrieveObject, RetrieveRequest
from serving.wire.rag import rag_options

router = new_router("Retrieval", "/knowledge-bases/{kb_id}/retrieve")


@router.post("")
async def retrieve(
    kb_id: str, request: Request, asked: RetrieveRequest, principal: Reader, services: Running
) -> RetrieveObject:
    """The passages of one knowledge base that answer a query, best first."""
    await services.ingestion.knowledge_base(principal.tenant_id, kb_id)
    options = rag_options(
        {
            "top_k": asked.top_k,
            "search_type": asked.search_type,
            "rerank": asked.rerank,
            "filters": asked.filters.plain() if asked.filters else {},
            "min_score": asked.min_score,
            "rewrite": "off",
        }
    )
    search = services.pipeline.retrieve(asked.query, Scope(principal.tenant_id, (kb_id,)), options)
    found = await unless_left(request.receive, search)
    return RetrieveObject.of(asked.query, found, with_metadata=asked.include_metadata)
