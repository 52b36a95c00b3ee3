"""Sequential tests of shares that may be looked at after every answer.

A test multiplies its evidence by a factor for each block of answers. Under the null hypothesis, the expected factor is
at most 1 whatever came before, so the product is a nonnegative supermartingale. By Ville's inequality (Ville 1939), the
probability that it *ever* reaches 1 / alpha is at most alpha. So the test can be looked at as often as one likes and be
stopped at any time, and its false alarms still have a probability of at most alpha. This assumes that answers are
independent of each other, given the version: a hundred photos of one dog by one caller say less than they seem to.

The factors are the e-variables of Turner, Ly and Grünwald (2024), "Generic E-variables for exact sequential k-sample
tests that allow for optional stopping", Journal of Statistical Planning and Inference 230, 106116. They are exact: they
need no normal approximation and no minimum number of answers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

EXCESSES: Final[Mapping[float, float]] = {0.02: 0.15, 0.05: 0.5, 0.1: 0.2, 0.2: 0.1, 0.5: 0.05}
"""Excesses over the null hypothesis that a test bets on, and the share of its stake on each.

The test is a mixture, so it finds every excess from about half of the smallest one on, and is quickest at those with
most of the stake. A share of 0.5 costs as much as a factor of 2 in evidence.
"""

MIN_SHARE: Final = 1e-4
"""Shares that a test assumes stay at least this far from 0 and 1."""


@dataclass(frozen=True)
class Counts:
    """How many answers had a property, of how many."""

    hits: int = 0
    total: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.hits + other.hits, self.total + other.total)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.hits - other.hits, self.total - other.total)

    @property
    def share(self) -> float:
        """The share of hits; 0 without answers."""
        return self.hits / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.hits} of {self.total} ({self.share:.1%})"


class SequentialTest:
    """Evidence against a null hypothesis about the share of hits, for a mixture of alternatives.

    Args:
        alpha: Probability of a false alarm, at most, over the whole time.
        excesses: Excesses to bet on, and the stake on each; the stakes add up to 1.
    """

    def __init__(self, alpha: float, excesses: Mapping[float, float] = EXCESSES) -> None:
        self.alpha = alpha
        self._stakes = [math.log(stake) for stake in excesses.values()]
        self._excesses = list(excesses)
        self._logs = [0.0] * len(excesses)
        self._highest = 0.0

    @property
    def evidence(self) -> float:
        """The e-value: the product of the factors, averaged over the alternatives."""
        logs = [stake + log for stake, log in zip(self._stakes, self._logs, strict=True)]
        highest = max(logs)
        return math.exp(min(700.0, highest + math.log(sum(math.exp(log - highest) for log in logs))))

    @property
    def rejected(self) -> bool:
        """Whether the evidence has ever reached 1 / alpha."""
        return self._highest * self.alpha >= 1

    def _bet(self, logs: list[float]) -> None:
        self._logs = [one + other for one, other in zip(self._logs, logs, strict=True)]
        self._highest = max(self._highest, self.evidence)


class LimitTest(SequentialTest):
    """Tests the null hypothesis that the share of hits is at most `limit`.

    The factor of a hit is (limit + excess) / limit, that of another answer (1 - limit - excess) / (1 - limit). Its
    expectation grows with the share and is 1 at the limit.
    """

    def __init__(self, limit: float, alpha: float, excesses: Mapping[float, float] = EXCESSES) -> None:
        super().__init__(alpha, excesses)
        self.limit = _inside(limit)

    def add(self, counts: Counts) -> None:
        """Adds a block of answers."""
        self._bet([_log_ratio(counts, _inside(self.limit + excess), self.limit) for excess in self._excesses])


class DifferenceTest(SequentialTest):
    """Tests the null hypothesis that the second share exceeds the first by at most `tolerance`, in every block.

    Both shares may change from block to block, as between day and night: only their difference counts. The numbers of
    answers in a block may depend on what came before, so the traffic may move from one version to the other.

    For a block of n answers of the first and m of the second, the alternative is (p, q): p is estimated from the
    earlier answers of the first, and q = p + tolerance + excess. The null hypothesis that is nearest to it, by
    Kullback-Leibler divergence, is (r, r + tolerance), where

        n (p - r) / (r (1 - r)) + m (q - s) / (s (1 - s)) = 0,    s = r + tolerance.

    The factor is the likelihood ratio of both. If the true shares are (x, x + tolerance), its expected logarithm of
    moments, n log(1 + (p - r)(x - r) / (r (1 - r))) + m log(1 + (q - s)(x - r) / (s (1 - s))), is concave in x and has
    its maximum 0 at x = r, by the equation above. So the expectation is at most 1. If the second share is smaller than
    x + tolerance, it is smaller still, because q >= s. Different shares within a block have no larger an expectation
    than their mean, by the inequality of arithmetic and geometric means.

    Args:
        tolerance: Excess that is accepted.
        alpha: Probability of a false alarm, at most, over the whole time.
        before: Earlier answers of the first, for the estimate of p.
        excesses: Excesses to bet on; see `SequentialTest`.
    """

    def __init__(
        self, tolerance: float, alpha: float, before: Counts, excesses: Mapping[float, float] = EXCESSES
    ) -> None:
        super().__init__(alpha, excesses)
        self.tolerance = tolerance
        self._first = before

    def add(self, first: Counts, second: Counts) -> None:
        """Adds a block of answers of both."""
        if self._first.total:  # else there is nothing yet to estimate p from, and this block becomes the estimate
            p = _inside((self._first.hits + 0.5) / (self._first.total + 1))
            self._bet([self._log_factor(p, excess, first, second) for excess in self._excesses])
        self._first += first

    def _log_factor(self, p: float, excess: float, first: Counts, second: Counts) -> float:
        q = _inside(p + self.tolerance + excess)
        if q <= p + self.tolerance or not second.total:
            return 0.0
        r = nearest_null(p, q, self.tolerance, first.total, second.total)
        return _log_ratio(first, p, r) + _log_ratio(second, q, r + self.tolerance)


def nearest_null(p: float, q: float, tolerance: float, n: int, m: int) -> float:
    """Returns r such that (r, r + tolerance) is nearest to (p, q) by Kullback-Leibler divergence.

    Args:
        p: Share of hits among the first, between 0 and 1.
        q: Share of hits among the second, above p + tolerance.
        tolerance: Difference of the shares under the null hypothesis.
        n: Number of answers of the first.
        m: Number of answers of the second, at least 1.
    """
    if not tolerance:
        return (n * p + m * q) / (n + m)
    low, high = p, q - tolerance
    for _ in range(60):  # bisection: the left side of the equation falls with r
        r = (low + high) / 2
        s = r + tolerance
        slope = n * (p - r) / (r * (1 - r)) + m * (q - s) / (s * (1 - s))
        low, high = (r, high) if slope > 0 else (low, r)
    return (low + high) / 2


def _log_ratio(counts: Counts, alternative: float, null: float) -> float:
    misses = counts.total - counts.hits
    return counts.hits * math.log(alternative / null) + misses * math.log((1 - alternative) / (1 - null))


def _inside(share: float) -> float:
    return min(max(share, MIN_SHARE), 1 - MIN_SHARE)
