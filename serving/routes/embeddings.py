"""POST /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import orjson
from fastapi import Request

from rag.errors import InvalidRequest, NotFound
from rag.ports import Embedder, Vectors
from rag.types import Usage
from serving.routes.deps import Encoder, Json, Running, new_router, till_of
from serving.sse import unless_left
from serving.wire.models import EmbeddingList, EmbeddingRequest

router = new_router("Embeddings")


@router.post("/embeddings", response_model=EmbeddingList)
async def create(request: Request, asked: EmbeddingRequest, principal: Encoder, services: Running) -> Json:
    """Unit vectors, in the order of the inputs."""
    embedder = services.embedder
    _check_model(asked, embedder)
    texts = _texts(asked)
    counts = await asyncio.to_thread(lambda: [len(embedder.token_spans(text)) for text in texts])
    _check_lengths(counts, embedder.max_tokens)
    vectors = await unless_left(request.receive, embedder.embed_documents(texts))
    tokens = sum(counts)
    await till_of(request, principal).charge(asked.model, Usage(tokens))
    body = {
        "object": "list",
        "data": _rows(vectors, as_base64=asked.encoding_format == "base64"),
        "model": asked.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Json(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


def _check_model(asked: EmbeddingRequest, embedder: Embedder) -> None:
    if asked.model != embedder.model:
        raise NotFound(
            f"No embedding model '{asked.model[:200]}' here; this server has '{embedder.model}'.",
            code="model_not_found",
            param="model",
        )
    if asked.dimensions not in (None, embedder.dimension):
        raise InvalidRequest(
            f"The model '{embedder.model}' gives {embedder.dimension} dimensions, no other number.",
            param="dimensions",
        )


def _texts(asked: EmbeddingRequest) -> list[str]:
    given = [asked.input] if isinstance(asked.input, str) else asked.input
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) != len(given):
        raise InvalidRequest("Token ids are not taken yet: send the text itself.", param="input")
    for n, text in enumerate(texts):
        if not text.strip():
            raise InvalidRequest("Empty input: an embedding needs some text.", param=_place(asked, n))
    return texts


def _place(asked: EmbeddingRequest, n: int) -> str:
    return "input" if isinstance(asked.input, str) else f"input[{n}]"


def _check_lengths(counts: list[int], reads: int) -> None:
    for n, count in enumerate(counts):
        if count > reads:
            raise InvalidRequest(
                f"Input {n} has {count} tokens; the model reads {reads}. Split it.",
                code="context_length_exceeded",
                param="input",
            )


def _rows(vectors: Vectors, *, as_base64: bool) -> list[dict[str, Any]]:
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    return [
        {
            "object": "embedding",
            "index": n,
            "embedding": base64.b64encode(row.tobytes()).decode() if as_base64 else row,
        }
        for n, row in enumerate(rows)
    ]
