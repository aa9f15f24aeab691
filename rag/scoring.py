"""First-stage relevance on the 0–1 scale of the cross-encoder, for when none is configured.

A logistic model of what every search type knows of a hit: the cosine between query and passage, and the share
of the query's terms that the passage holds. Raw RRF sums say nothing about relevance, so they order the hits
but are never shown. Coefficients: benchmarks/quality/first_stage.py, fitted on question-passage pairs that
are no part of any evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

INTERCEPT = -5.79
COSINE = 3.49
COVERAGE = 2.77


def probability(cosine: float, coverage: float) -> float:
    """Estimated probability that a passage answers the query; both inputs in [-1, 1] and [0, 1]."""
    return 1.0 / (1.0 + math.exp(-(INTERCEPT + COSINE * cosine + COVERAGE * coverage)))


def non_increasing(scores: Sequence[float]) -> list[float]:
    """The closest non-increasing sequence (pool adjacent violators; Ayer et al. 1955).

    The order of hits is the fused ranking's; their probabilities must not contradict it.
    """
    pools: list[tuple[float, int]] = []
    for score in scores:
        total, size = score, 1
        while pools and pools[-1][0] / pools[-1][1] < total / size:
            earlier, count = pools.pop()
            total, size = total + earlier, size + count
        pools.append((total, size))
    return [total / size for total, size in pools for _ in range(size)]
