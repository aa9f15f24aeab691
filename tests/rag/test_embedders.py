"""The built-in embedder itself; one load for the whole module."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from rag.embedders import SentenceTransformerEmbedder
from rag.errors import ConfigurationError, InvalidRequest
from rag.settings import BUILTIN_EMBEDDER

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def embedder() -> Iterator[SentenceTransformerEmbedder]:
    made = SentenceTransformerEmbedder(BUILTIN_EMBEDDER)
    yield made
    made.close()


async def test_vectors_are_unit_rows_and_near_when_the_meaning_is(
    embedder: SentenceTransformerEmbedder,
) -> None:
    texts = ["The ferry departs at nine.", "The boat leaves at 9 o'clock.", "Boil the pasta in salted water."]
    vectors = await embedder.embed_documents(texts)
    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


async def test_concurrent_calls_give_what_single_ones_give(embedder: SentenceTransformerEmbedder) -> None:
    texts = [f"text number {n} " * (n + 1) for n in range(8)]
    together = await asyncio.gather(*(embedder.embed_documents([text]) for text in texts))
    alone = await embedder.embed_documents(texts)
    assert np.allclose(np.concatenate(together), alone, atol=1e-4)


async def test_a_text_longer_than_the_model_reads_is_refused_not_cut(
    embedder: SentenceTransformerEmbedder,
) -> None:
    fits = "ship " * embedder.max_tokens
    assert len(embedder.token_spans(fits)) == embedder.max_tokens
    assert (await embedder.embed_documents([fits])).shape == (1, embedder.dimension)
    with pytest.raises(InvalidRequest, match="input 1 has"):
        await embedder.embed_documents(["short", fits + "ship"])


async def test_nothing_gives_an_empty_matrix(embedder: SentenceTransformerEmbedder) -> None:
    assert (await embedder.embed_documents([])).shape == (0, embedder.dimension)


def test_token_spans_are_code_points(embedder: SentenceTransformerEmbedder) -> None:
    text = "Größe 🚢 ＆ ferry's 東京"
    spans = embedder.token_spans(text)
    assert all(0 <= start <= end <= len(text) for start, end in spans)
    assert "".join(text[start:end] for start, end in spans).replace(" ", "") == text.replace(" ", "")


def test_a_model_that_cannot_be_loaded_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match="EMBEDDING_MODEL"):
        SentenceTransformerEmbedder("no-such-organisation/no-such-model")
