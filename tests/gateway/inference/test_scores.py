"""How near the answer of a multi-label model is to another one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.inference.scores import Scores, rank_labels
from tests.gateway.inference.batching_callers import CONTRACT


@pytest.mark.parametrize(
    ("values", "margin"),
    [
        ((0.0, 0.0), 1.0),
        ((1.0, 1.0), 1.0),
        ((0.05, 0.0), 0.5),  # half of the way from the threshold to 0
        ((0.0, 0.75), 0.5),
        ((0.1, 1.0), 0.0),
    ],
)
def test_a_margin_is_the_smallest_distance_from_a_threshold(values: tuple[float, ...], margin: float) -> None:
    contract = replace(CONTRACT, labels=("a", "b"), thresholds=(0.1, 0.5))
    ranked = rank_labels(contract, Scores(np.array(values, np.float32)), 2)
    assert ranked.margin == pytest.approx(margin, abs=1e-5)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_a_threshold_at_an_end_has_a_margin_too(score: float) -> None:
    for threshold in (0.0, 1.0):
        contract = replace(CONTRACT, labels=("a", "b"), thresholds=threshold)
        margin = rank_labels(contract, Scores(np.full(2, score, np.float32)), 2).margin
        assert margin == pytest.approx(abs(score - threshold))
