from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rag.scoring import non_increasing, probability

UNIT = st.floats(0, 1)


@given(st.floats(-1, 1), UNIT)
def test_a_probability_grows_with_each_signal(cosine: float, coverage: float) -> None:
    assert 0 < probability(cosine, coverage) < 1
    assert probability(cosine, coverage) <= probability(min(cosine + 0.1, 1), coverage)
    assert probability(cosine, coverage) <= probability(cosine, min(coverage + 0.1, 1))


@given(st.lists(UNIT, max_size=30))
def test_pooling_keeps_the_length_the_sum_and_the_order(scores: list[float]) -> None:
    pooled = non_increasing(scores)
    assert len(pooled) == len(scores)
    assert abs(sum(pooled) - sum(scores)) < 1e-9
    assert all(a >= b - 1e-12 for a, b in pairwise(pooled))
    if all(a >= b for a, b in pairwise(scores)):
        assert pooled == scores
