"""Cross-encoders: sentence-transformers in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.batching import Batcher
from rag.errors import ConfigurationError

_STRIDE = 0.75
"""Windows over a long passage overlap by a quarter, so that no sentence is only ever seen cut."""


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder. Scores are sigmoid probabilities, 0–1.

    A passage longer than the model reads beside the query is scored in windows and gets its best window's
    score: nothing is cut in silence.
    """

    def __init__(self, name: str, *, threads: int = 1, device: str | None = None) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(threads)
        try:
            self._model: Any = CrossEncoder(name, device=device, num_labels=1, activation_fn=torch.nn.Sigmoid())
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the reranker {name!r} cannot be loaded: {error}. Set RERANK_MODEL to a folder, to a hub id "
                "that is reachable, or to 'off'"
            ) from error
        self.model = Path(name).name if Path(name).is_dir() else name
        self._tokenizer: Any = self._model.tokenizer
        self._reads = int(self._model.max_length or self._tokenizer.model_max_length)
        self._predict = Batcher(self._predict_now, name="rerank", max_items=128)

    def _predict_now(self, pairs: list[tuple[str, str]]) -> list[float]:
        scores = self._model.predict(pairs, batch_size=32, show_progress_bar=False, convert_to_numpy=True)
        return [float(score) for score in np.asarray(scores).reshape(-1)]

    def _windows(self, query_tokens: int, text: str) -> list[str]:
        """`text` in stretches that fit beside the query, by the tokenizer's own offsets."""
        room = max(self._reads - query_tokens - self._tokenizer.num_special_tokens_to_add(pair=True), 16)
        encoded = self._tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        offsets = encoded["offset_mapping"]
        if len(offsets) <= room:
            return [text]
        step = max(int(room * _STRIDE), 1)
        starts = range(0, max(len(offsets) - room, 0) + step, step)
        return [text[offsets[at][0] : offsets[min(at + room, len(offsets)) - 1][1]] for at in starts]

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        asked = self._tokenizer(query, add_special_tokens=False, verbose=False)["input_ids"]
        # Half of what the model reads is the query's at most; the rest would leave no room for the passage.
        tokens = min(len(asked), self._reads // 2)
        windows = [self._windows(tokens, text) for text in texts]
        scores = iter(await self._predict([(query, window) for own in windows for window in own]))
        return [max(next(scores) for _ in own) for own in windows]

    def close(self) -> None:
        self._predict.close()
