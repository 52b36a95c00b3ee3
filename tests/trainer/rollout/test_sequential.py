"""The sequential tests keep their error rates however often they are looked at."""

import numpy as np
import pytest

from trainer.rollout.sequential import Counts, DifferenceTest, LimitTest, nearest_null

ALPHA = 0.05
RUNS = 150


def drawn(generator: np.random.Generator, total: int, share: float) -> Counts:
    return Counts(int(generator.binomial(total, share)), total)


@pytest.mark.parametrize(("share", "tolerance"), [(0.03, 0.0), (0.3, 0.0), (0.1, 0.05)])
def test_equal_or_tolerated_versions_are_rarely_rejected_though_every_block_is_looked_at(
    share: float, tolerance: float
) -> None:
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(RUNS):
        test = DifferenceTest(tolerance, ALPHA, drawn(generator, 300, share))
        for _ in range(60):
            test.add(drawn(generator, 45, share), drawn(generator, 15, share + tolerance))
        rejected += test.rejected
    assert rejected / RUNS <= ALPHA


def test_shares_that_change_together_are_no_difference() -> None:
    generator = np.random.default_rng(1)
    rejected = 0
    for _ in range(RUNS):
        test = DifferenceTest(0.0, ALPHA, drawn(generator, 300, 0.02))
        for block in range(60):
            share, canary = (0.02, 1) if block < 30 else (0.4, 40)  # a hard night, when the canary has more traffic
            test.add(drawn(generator, 40, share), drawn(generator, canary, share))
        rejected += test.rejected
    assert rejected / RUNS <= ALPHA


def test_a_difference_is_found_and_a_larger_one_sooner() -> None:
    generator = np.random.default_rng(2)

    def answers_needed(excess: float) -> int:
        test = DifferenceTest(0.0, 0.01, Counts(90, 3000))
        answers = 0
        while not test.rejected:
            test.add(drawn(generator, 95, 0.03), drawn(generator, 5, 0.03 + excess))
            answers += 5
        return answers

    small, large = (sorted(answers_needed(excess) for _ in range(50)) for excess in (0.05, 0.3))
    assert large[25] < small[25] / 4
    assert small[40] < 500


def test_evidence_stays_though_later_answers_are_good() -> None:
    test = DifferenceTest(0.0, 0.01, Counts(10, 1000))
    test.add(Counts(0, 10), Counts(30, 40))
    assert test.rejected
    test.add(Counts(10, 1000), Counts(0, 2000))
    assert test.evidence < 100
    assert test.rejected


def test_answers_of_one_version_alone_say_nothing_of_a_difference() -> None:
    test = DifferenceTest(0.0, 0.01, Counts(10, 1000))
    test.add(Counts(), Counts(300, 400))
    test.add(Counts(30, 40), Counts())
    assert test.evidence == pytest.approx(1.0)
    unknown = DifferenceTest(0.0, 0.01, Counts())
    unknown.add(Counts(1, 50), Counts(50, 50))  # becomes the first estimate
    assert unknown.evidence == pytest.approx(1.0)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
def test_a_limit_that_is_kept_is_rarely_called_exceeded(share: float) -> None:
    generator = np.random.default_rng(3)
    rejected = 0
    for _ in range(RUNS):
        test = LimitTest(share, ALPHA)
        for _ in range(80):
            test.add(drawn(generator, 25, share))
        rejected += test.rejected
    assert rejected / RUNS <= ALPHA
    test.add(drawn(generator, 1000, share + 0.1))
    assert test.rejected


@pytest.mark.parametrize(("p", "q", "tolerance", "n", "m"), [(0.1, 0.4, 0.05, 30, 7), (0.001, 0.9, 0.2, 1, 500)])
def test_the_factor_of_a_block_has_an_expectation_of_one_at_most(
    p: float, q: float, tolerance: float, n: int, m: int
) -> None:
    r = nearest_null(p, q, tolerance, n, m)
    s = r + tolerance
    assert p <= r <= q - tolerance
    for x in np.linspace(0, 1 - tolerance, 200):
        for y in (x + tolerance, x, x / 2):
            first = x * p / r + (1 - x) * (1 - p) / (1 - r)
            second = y * q / s + (1 - y) * (1 - q) / (1 - s)
            assert n * np.log(first) + m * np.log(second) <= 1e-9
