"""95 % intervals of figures that were measured on a number of photos."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Z: Final = 1.959964
"""Number of standard errors around the mean of a normal distribution that contain 95 % of it."""

RESAMPLES: Final = 1000

Interval = tuple[float, float]


def wilson_interval(right: int, count: int, z: float = Z) -> Interval:
    """Returns the interval of a share, by Wilson's score (Wilson 1927); by default, the 95 % interval.

    Unlike the bootstrap, it does not shrink to a point if all answers are right.

    Args:
        right: Number of right answers.
        count: Number of answers, at least 1.
        z: Standard errors on each side.
    """
    share, z2 = right / count, z * z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Paired:
    """How often two versions are right on the same photos.

    Attributes:
        photos: Number of photos.
        both: Photos on which both are right.
        better: Photos on which only the second is right.
        worse: Photos on which only the first is right.
    """

    photos: int
    both: int
    better: int
    worse: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> "Paired":
        """Counts two arrays, bool (photos)."""
        return cls(len(first), int((first & second).sum()), int((~first & second).sum()), int((first & ~second).sum()))

    @property
    def first(self) -> float:
        """The share of photos on which the first is right; NaN without photos."""
        return (self.both + self.worse) / self.photos if self.photos else math.nan

    @property
    def second(self) -> float:
        """The share of photos on which the second is right; NaN without photos."""
        return (self.both + self.better) / self.photos if self.photos else math.nan

    @property
    def difference(self) -> float:
        """The share of the second minus that of the first."""
        return (self.better - self.worse) / self.photos if self.photos else math.nan

    def interval(self, z: float = Z) -> Interval:
        """Returns the interval of the difference; by default, the 95 % interval.

        It combines the Wilson intervals of both shares, and takes their correlation into account (Newcombe 1998,
        "Improved confidence intervals for the difference between binomial proportions based on paired data", method
        10). It also holds for few photos and for shares near 0 and 1.
        """
        if not self.photos:
            return -1.0, 1.0
        first_right, second_right, neither = self.both + self.worse, self.both + self.better, self.photos - self.both
        neither -= self.better + self.worse
        low_first, high_first = wilson_interval(first_right, self.photos, z)
        low_second, high_second = wilson_interval(second_right, self.photos, z)
        margins = first_right * (self.photos - first_right) * second_right * (self.photos - second_right)
        product = float(self.both * neither - self.better * self.worse)
        if product > 0:
            product = max(product - self.photos / 2, 0)  # continuity correction
        correlation = product / math.sqrt(margins) if margins else 0.0

        def half(down: float, up: float) -> float:
            return math.sqrt(max(0.0, down * down - 2 * correlation * down * up + up * up))

        return (
            self.difference - half(high_first - self.first, self.second - low_second),
            self.difference + half(self.first - low_first, high_second - self.second),
        )

    def p_value(self) -> float:
        """Returns the p-value of McNemar's exact test, two-sided (McNemar 1947).

        If both versions are equally good, a photo on which only one of them is right is as likely to be of the first as
        of the second, so `better` has a binomial distribution.
        """
        from scipy.stats import binomtest

        changed = self.better + self.worse
        return float(binomtest(self.better, changed).pvalue) if changed else 1.0


def bootstrap_interval(figure: Callable[..., float], *samples: NDArray[np.generic]) -> Interval:
    """Returns the 95 % interval of a figure by the bootstrap (Efron 1979, percentiles): the same every time.

    Args:
        figure: Takes resampled rows of each sample.
        samples: Arrays (n, ...), each resampled by itself.
    """
    generator = np.random.default_rng(0)
    values = [
        figure(*(sample[generator.integers(0, len(sample), len(sample))] for sample in samples))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
