"""Find photos that are unlike all others."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS: Final = 5
FENCE: Final = 3.0
"""Interquartile ranges over the upper quartile: the outer fence, beyond which a value is "far out" (Tukey 1977)."""

MAX_COMPARED: Final = 20_000
"""Photos that every photo is compared with, at most: the comparison takes time in proportion to it."""

MIN_PHOTOS: Final = 50
"""Of fewer photos, quartiles say little."""

ROWS: Final = 1024


def distances(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns how far each photo is from its fifth nearest neighbour, float32 (n): 1 minus the cosine of features.

    Args:
        features: float32 (n, features).
    """
    unit = unit_rows(features)
    compared = unit[:: max(1, -(-len(unit) // MAX_COMPARED))]
    place = min(NEIGHBOURS, len(compared) - 1)  # place 0 is the photo itself
    blocks = [
        np.partition(1 - unit[at : at + ROWS] @ compared.T, place, axis=1)[:, place] for at in range(0, len(unit), ROWS)
    ]
    return np.concatenate(blocks).astype(np.float32)


def unit_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns features (n, ...) as rows (n, d) of length 1, as the signature `embed` does."""
    rows = features.reshape(len(features), -1)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def outliers(neighbour_distances: NDArray[np.float32]) -> list[int]:
    """Returns the positions of distances beyond the outer fence, farthest first; none of fewer than MIN_PHOTOS."""
    if len(neighbour_distances) < MIN_PHOTOS:
        return []
    low, high = np.quantile(neighbour_distances, (0.25, 0.75))
    far = np.flatnonzero(neighbour_distances > high + FENCE * (high - low))
    return [int(at) for at in far[np.argsort(-neighbour_distances[far], kind="stable")]]
