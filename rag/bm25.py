"""The sparse encoder: BM25 term weights on the client, IDF in the engine (Robertson et al., Okapi BM25).

Scripts that write no spaces between words are cut into character bigrams first, so that the word splitter
finds units that a query shares with the text.
"""

from __future__ import annotations

import re

from qdrant_client import models
from qdrant_edge import Bm25, Bm25Config

# Han, kana, Hangul syllables, Thai, Lao, Khmer, Myanmar.
_UNSPACED = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f\uac00-\ud7af"
    "\u0e00-\u0eff\u1780-\u17ff\u1000-\u109f]+"
)


def spaced(text: str) -> str:
    """`text` with each run of an unspaced script replaced by its character bigrams."""

    def bigrams(match: re.Match[str]) -> str:
        run = match.group()
        pairs = [run[at : at + 2] for at in range(len(run) - 1)] or [run]
        return f" {' '.join(pairs)} "

    return _UNSPACED.sub(bigrams, text)


class Bm25Encoder:
    """Text to sparse vectors. `name` is recorded with a collection: another encoder does not fit it."""

    name = "bm25-english-bigrams-v1"

    def __init__(self, average_tokens: float = 120.0) -> None:
        self._bm25 = Bm25(Bm25Config(language="english", avg_len=average_tokens))

    def document(self, text: str) -> models.SparseVector:
        vector = self._bm25.embed_document(spaced(text))
        return models.SparseVector(indices=list(vector.indices), values=[float(v) for v in vector.values])

    def query(self, text: str) -> models.SparseVector:
        """Empty when nothing but stop words is left."""
        vector = self._bm25.embed_query(spaced(text))
        return models.SparseVector(indices=list(vector.indices), values=[float(v) for v in vector.values])
