"""Find mirrored copies of photos.

A mirrored copy has another difference hash, so the search for copies does not see it. Its features are nearly the same:
they propose the photos to compare, and the pixels decide.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.check.outliers import MAX_COMPARED, ROWS, unit_rows
from trainer.data.duplicates import are_same_picture, reduced_copy
from trainer.data.photos import Photo

CANDIDATES: Final = 3
"""How many of the most similar photos are compared with each photo."""

MIN_COSINE: Final = 0.85
"""Photos whose features are less similar are not compared.

With EfficientNet-Lite2, 80 photos of cats and dogs have a cosine of 0.94 or more with their mirror images. With the
most similar other photo, it is 0.69 in the median and 0.87 at most.
"""


def mirrored(photos: Sequence[Photo], features: NDArray[np.float32], workers: int) -> list[tuple[int, int]]:
    """Returns the positions of each photo that is the mirror image of an earlier one, and of the earlier one.

    Args:
        photos: The photos.
        features: float32 (n, features).
        workers: Threads that decode.
    """
    pairs = candidates(features)

    def is_mirrored(pair: tuple[int, int]) -> bool:
        later, earlier = (reduced_copy(photos[at].path) for at in pair)
        return are_same_picture(later[:, ::-1], earlier)

    with ThreadPoolExecutor(workers) as pool:
        mirrored_pairs = [pair for pair, same in zip(pairs, pool.map(is_mirrored, pairs), strict=True) if same]
    return list({later: (later, earlier) for later, earlier in reversed(mirrored_pairs)}.values())[::-1]


def candidates(features: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Returns pairs of photos with similar features, the later one first, in order.

    Args:
        features: float32 (n, features). Of more than MAX_COMPARED photos, each is compared with that many.
    """
    rows = unit_rows(features)
    step = max(1, -(-len(rows) // MAX_COMPARED))
    compared = rows[::step]
    pairs = set()
    for start in range(0, len(rows), ROWS):
        cosines = rows[start : start + ROWS] @ compared.T
        best = np.argsort(-cosines, axis=1, kind="stable")[:, : CANDIDATES + 1]
        for at, columns in enumerate(best):
            for column in columns[cosines[at, columns] >= MIN_COSINE].tolist():
                first, second = start + at, column * step
                if first != second:
                    pairs.add((max(first, second), min(first, second)))
    return sorted(pairs)
