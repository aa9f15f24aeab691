from dataclasses import replace

import numpy as np
import pytest

from rag.retrieve import Retriever
from rag.testing import HashEmbedder, OverlapReranker
from rag.types import Chunk, DocumentRef, RagOptions, Scope
from tests.rag.memory import MemoryStore

SCOPE = Scope("t1", ("kb_1",))
TEXTS = ["the ferry leaves at nine", "cabins cost forty euros", "the cat sleeps"]


@pytest.fixture
async def store() -> MemoryStore:
    store = MemoryStore()
    chunks = [Chunk(n, text, 0, len(text)) for n, text in enumerate(TEXTS)]
    vectors = await HashEmbedder().embed_documents(TEXTS)
    await store.replace(DocumentRef("t1", "kb_1", "doc_1", 1, "a.txt"), chunks, vectors)
    return store


async def test_without_a_reranker_the_result_says_that_reranking_was_skipped(store: MemoryStore) -> None:
    found = await Retriever(HashEmbedder(), store).search("when does the ferry leave", SCOPE, RagOptions(top_k=2))
    assert found.passages[0].text == TEXTS[0]
    assert found.retrieval.rerank == "skipped"
    assert store.searches[0]["limit"] == 2
    assert set(found.retrieval.timings_ms) == {"embed", "search", "rerank"}


async def test_with_a_reranker_more_candidates_are_fetched_and_its_order_and_scores_win(
    store: MemoryStore,
) -> None:
    retriever = Retriever(HashEmbedder(), store, OverlapReranker())
    found = await retriever.search("cabins cost", SCOPE, RagOptions(top_k=1, candidates=30))
    assert store.searches[0]["limit"] == 30
    assert [p.text for p in found.passages] == [TEXTS[1]]
    assert found.passages[0].score == 1.0
    assert found.retrieval.rerank == "applied"
    off = await retriever.search("cabins cost", SCOPE, RagOptions(rerank=False))
    assert off.retrieval.rerank == "off"


async def test_min_score_may_leave_nothing(store: MemoryStore) -> None:
    retriever = Retriever(HashEmbedder(), store, OverlapReranker())
    assert (await retriever.search("zebra", SCOPE, RagOptions(min_score=0.5))).passages == ()


async def test_a_query_longer_than_the_model_reads_is_embedded_in_windows(store: MemoryStore) -> None:
    embedder = HashEmbedder(max_tokens=8)
    vector = await Retriever(embedder, store)._query_vector("ferry " * 100)
    assert np.allclose(vector, (await embedder.embed_queries(["ferry"]))[0], atol=1e-5)
    assert np.isclose(np.linalg.norm(vector), 1)


async def test_other_scopes_see_nothing(store: MemoryStore) -> None:
    for scope in (replace(SCOPE, tenant_id="t2"), Scope("t1", ("kb_2",))):
        assert (await Retriever(HashEmbedder(), store).search("ferry", scope, RagOptions())).passages == ()


def test_a_scope_names_a_tenant_and_a_knowledge_base() -> None:
    for tenant, bases in (("", ("kb",)), ("t", ())):
        with pytest.raises(ValueError, match="scope"):
            Scope(tenant, bases)
