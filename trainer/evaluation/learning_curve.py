"""How accuracy depends on the number of photos, and what twice as many would give."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

Point = tuple[int, int, float]
"""Training photos, photos that it was measured on, accuracy."""

CEILING: Final = 0.9999


def at_twice(points: Sequence[Point]) -> float | None:
    """Returns the accuracy to expect from twice the photos, by a power law; None for fewer than three points.

    Errors of classifiers fall about as a power of the number of photos (Hestness et al. 2017). A line is fitted to the
    logarithms of both, larger numbers of photos counting more.

    Args:
        points: In ascending order of the number of photos.
    """
    if len(points) < 3:
        return None
    photos = np.log([count for count, _, _ in points])
    # Half a mistake more, because the logarithm of no mistake is infinite.
    errors = np.log([((1 - accuracy) * tested + 0.5) / (tested + 1) for _, tested, accuracy in points])
    weights = np.sqrt([count for count, _, _ in points])
    slope, level = np.polyfit(photos, errors, 1, w=weights)
    if slope >= 0:
        return points[-1][2]
    expected = 1 - math.exp(level + slope * (photos[-1] + math.log(2)))
    return min(CEILING, max(points[-1][2], expected))
