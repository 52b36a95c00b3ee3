"""How sure a figure is that was measured on a number of photos: 95 % intervals."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Z: Final = 1.959964
"""Standard errors on each side of the mean of a normal distribution that hold 95 % of it."""

RESAMPLES: Final = 1000

Interval = tuple[float, float]


def wilson_interval(right: int, count: int) -> Interval:
    """Returns the 95 % interval of a share, by Wilson's score (Wilson 1927).

    Unlike the bootstrap it does not shrink to a point where all answers are right.

    Args:
        right: How many.
        count: Of how many, at least 1.
    """
    share, z2 = right / count, Z * Z
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_interval(figure: Callable[..., float], *samples: NDArray[np.generic]) -> Interval:
    """Returns the 95 % interval of a figure by the bootstrap (Efron 1979, percentiles): the same every time.

    Args:
        figure: Takes resampled rows of each sample.
        samples: Arrays (n, ...), each resampled by itself.
    """
    generator = np.random.default_rng(0)
    found = [
        figure(*(sample[generator.integers(0, len(sample), len(sample))] for sample in samples))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
