"""Intervals hold the true value about as often as they say."""

import numpy as np
import pytest

from trainer.evaluation.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_wilson_intervals_hold_the_true_share_about_95_times_in_100(share: float) -> None:
    counts = np.random.default_rng(0).binomial(120, share, 2000)
    intervals = [wilson_interval(int(count), 120) for count in counts]
    assert np.mean([low <= share <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.04)


def test_all_right_is_not_certain() -> None:
    low, high = wilson_interval(120, 120)
    assert low == pytest.approx(0.969, abs=0.001)
    assert high == pytest.approx(1.0)
    assert wilson_interval(0, 120)[0] == pytest.approx(0.0)


def test_bootstrap_intervals_are_those_of_the_mean_and_the_same_every_time() -> None:
    sample = np.random.default_rng(1).normal(3, 1, 400)
    low, high = bootstrap_interval(lambda rows: float(rows.mean()), sample)
    half = 1.96 * sample.std() / 20
    assert (low, high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.03)
    assert bootstrap_interval(lambda rows: float(rows.mean()), sample) == (low, high)
