"""POST /v1/rerank."""

from __future__ import annotations

import asyncio

from fastapi import Request

from rag.errors import NotFound
from rag.types import Usage
from serving.routes.deps import Ranker, Running, new_router, till_of
from serving.services import Services
from serving.sse import unless_left
from serving.wire.models import RerankList, RerankRequest, RerankResult, RerankUsage

router = new_router("Rerank")


@router.post("/rerank", response_model_exclude_none=True)
async def create(request: Request, asked: RerankRequest, principal: Ranker, services: Running) -> RerankList:
    """The documents by their relevance to the query, best first, ties by index."""
    reranker = services.reranker
    if reranker is None or asked.model != reranker.model:
        raise NotFound(
            f"The rerank model '{asked.model[:200]}' does not exist on this server. "
            "GET /v1/models lists what there is; RERANK_MODEL adds one.",
            code="model_not_found",
            param="model",
        )
    texts = asked.texts()
    scores = await unless_left(request.receive, reranker.score(asked.query, texts))
    tokens = await asyncio.to_thread(_tokens, services, asked.query, texts)
    await till_of(request, principal).charge(asked.model, Usage(tokens))
    ranked = sorted(range(len(texts)), key=lambda n: (-scores[n], n))[: asked.top_n]
    shown = asked.return_documents is not False
    results = [
        RerankResult(index=n, relevance_score=scores[n], document={"text": texts[n]} if shown else None) for n in ranked
    ]
    return RerankList(results=results, model=asked.model, usage=RerankUsage(total_tokens=tokens))


def _tokens(services: Services, query: str, texts: list[str]) -> int:
    """Tokens read, the query once per document; in the embedding model's tokens, which are near enough."""
    count = services.embedder.token_spans
    return len(count(query)) * len(texts) + sum(len(count(text)) for text in texts)
