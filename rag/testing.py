"""Doubles that we ship: fast, deterministic, offline. Checked against the real parts by congruence tests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np

from rag.ports import Vectors
from rag.types import Delta, GenerationRequest, Message, Usage

_WORD = re.compile(r"\w+|[^\w\s]")


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


class HashEmbedder:
    """Bag of hashed words: texts that share words are near each other. A token is a word or a sign."""

    def __init__(self, dimension: int = 64, max_tokens: int = 256, model: str = "hash-embedder") -> None:
        self.model = model
        self.dimension = dimension
        self.max_tokens = max_tokens

    def _vector(self, text: str) -> Vectors:
        vector = np.full(self.dimension, 1e-6, dtype=np.float32)
        for word in _words(text):
            digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
            vector[int.from_bytes(digest[:4], "big") % self.dimension] += 1.0 if digest[4] & 1 else -1.0
        return vector / np.linalg.norm(vector)

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        return np.stack([self._vector(text) for text in texts])

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return await self.embed_documents(texts)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        return [match.span() for match in _WORD.finditer(text)]


class OverlapReranker:
    """Scores a text by the share of the query's words that it holds."""

    model = "overlap-reranker"

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        wanted = set(_words(query))
        return [len(wanted & set(_words(text))) / max(len(wanted), 1) for text in texts]


class ScriptedGenerator:
    """Says what it was told to say, in the pieces it was given; records the requests it saw."""

    def __init__(self, pieces: Sequence[str], *, model: str = "scripted", context: int = 4096) -> None:
        self.model = model
        self.pieces = tuple(pieces)
        self.context = context
        self.requests: list[GenerationRequest] = []
        self.closed = 0

    async def context_length(self) -> int:
        return self.context

    async def count_tokens(self, messages: Sequence[Message], params: Mapping[str, Any]) -> int:
        return sum(len(_WORD.findall(message.text)) + 3 for message in messages)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        choices = int(request.params.get("n") or 1)
        try:
            for choice in range(choices):
                yield Delta(choice=choice, role="assistant")
                for piece in self.pieces:
                    yield Delta(choice=choice, text=piece)
                yield Delta(choice=choice, finish_reason="stop")
            prompt = await self.count_tokens(request.messages, request.params)
            yield Delta(usage=Usage(prompt, len(self.pieces) * choices))
        finally:
            self.closed += 1
