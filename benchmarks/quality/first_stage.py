"""Fits the coefficients of rag/scoring.py: python benchmarks/quality/first_stage.py DEV_FOLDER

DEV_FOLDER holds `dev.jsonl.gz` (question, source, passage_id) and `dev_corpus/<source>.jsonl.gz` (_id, text).
For each question the ten best passages of its source by reciprocal rank fusion are the samples, and the
passage it was written for is the positive one.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track
from sklearn.linear_model import LogisticRegression

from rag.bm25 import Bm25Encoder
from rag.build import build_embedder
from rag.embedders import SentenceTransformerEmbedder
from rag.settings import RagSettings

TOP = 10
RRF_K = 60


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def clip(embedder: SentenceTransformerEmbedder, text: str) -> str:
    spans = embedder.token_spans(text)
    return text if len(spans) <= embedder.max_tokens else text[: spans[embedder.max_tokens - 1][1]]


async def embed(embedder: SentenceTransformerEmbedder, texts: list[str]) -> np.ndarray:
    parts = [texts[at : at + 64] for at in range(0, len(texts), 64)]
    return np.concatenate([await embedder.embed_documents(part) for part in track(parts, "embedding")])


def ranks(scores: np.ndarray) -> np.ndarray:
    order = np.empty(len(scores))
    order[np.argsort(-scores)] = np.arange(1, len(scores) + 1)
    return order


async def samples(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    embedder, bm25 = build_embedder(RagSettings()), Bm25Encoder()
    questions = defaultdict(list)
    for row in read(folder / "dev.jsonl.gz"):
        questions[row["source"]].append(row)
    features, labels = [], []
    for source, asked in questions.items():
        corpus = read(folder / "dev_corpus" / f"{source}.jsonl.gz")
        texts = [clip(embedder, row["text"]) for row in corpus]
        dense = await embed(embedder, texts)
        terms = [bm25.document(text) for text in texts]
        weights = [dict(zip(term.indices, term.values, strict=True)) for term in terms]
        seen: dict[int, int] = defaultdict(int)
        for weight in weights:
            for index in weight:
                seen[index] += 1
        vectors = await embed(embedder, [row["question"] for row in asked])
        for row, vector in zip(asked, vectors, strict=True):
            wanted = bm25.query(row["question"]).indices
            idf = {i: np.log(1 + (len(corpus) - seen[i] + 0.5) / (seen[i] + 0.5)) for i in wanted}
            cosine = dense @ vector
            sparse = np.array([sum(w.get(i, 0.0) * idf[i] for i in wanted) for w in weights])
            fused = 1 / (RRF_K + ranks(cosine)) + 1 / (RRF_K + ranks(sparse))
            for at in np.argsort(-fused)[:TOP]:
                coverage = sum(i in weights[at] for i in wanted) / max(len(wanted), 1)
                features.append((cosine[at], coverage))
                labels.append(corpus[at]["_id"] == row["passage_id"])
    return np.array(features), np.array(labels)


def main() -> None:
    features, labels = asyncio.run(samples(Path(sys.argv[1])))
    model = LogisticRegression(C=1e6).fit(features, labels)
    fitted = model.predict_proba(features)[:, 1]
    print(f"samples {len(labels)}, positive {labels.mean():.3f}")
    print(f"INTERCEPT = {model.intercept_[0]:.2f}\nCOSINE = {model.coef_[0][0]:.2f}")
    print(f"COVERAGE = {model.coef_[0][1]:.2f}")
    for low in np.arange(0, 1, 0.1):
        inside = (fitted >= low) & (fitted < low + 0.1)
        if inside.any():
            said, true = fitted[inside].mean(), labels[inside].mean()
            print(f"said {said:.2f}, true {true:.2f} ({inside.sum()} samples)")


if __name__ == "__main__":
    main()
