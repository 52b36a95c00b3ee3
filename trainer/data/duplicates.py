"""Find duplicate photos: equal files, or the same picture at another size or quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.images import Target, decode_image
from trainer.data.photos import Photo

HASH_BITS_APART = 6
"""Maximum number of different bits in the difference hashes (64 bits) of two photos that are compared by pixels."""

SIDE, BLOCK = 128, 16
"""Side of the reduced copies that are compared, and of their blocks, in pixels."""

SAME_PICTURE, SAME_BLOCK = 8.0, 15.0
"""Limits on the mean difference (0 to 255) of two copies, and on that of the block that differs most.

The mean alone would confuse a scratched part with an intact one, and a frame with the next one."""

Duplicates = Literal["near", "exact", "off"]
"""Which photos count as duplicates: those that look the same (near), equal files (exact), or none (off)."""


def find_twins(photos: Sequence[Photo], others: Sequence[Photo], *, near: bool = True) -> dict[Path, Photo]:
    """Returns the duplicate of each photo that has one among the others.

    Args:
        photos: The photos.
        others: Photos that may be duplicates of them.
        near: Whether the same picture at another size or quality counts, too.
    """
    if not photos or not others:
        return {}
    by_key = {photo.key: photo for photo in others}
    looks = np.array([photo.look for photo in others], np.uint64)
    twins: dict[Path, Photo] = {}
    for photo in photos:
        if photo.key in by_key:
            twins[photo.path] = by_key[photo.key]
            continue
        if not near:
            continue
        alike = np.flatnonzero(np.bitwise_count(looks ^ np.uint64(photo.look)) <= HASH_BITS_APART)
        for at in alike[:20]:
            if _same_picture(photo.path, others[at].path):
                twins[photo.path] = others[at]
                break
    return twins


def _same_picture(one: Path, other: Path) -> bool:
    mean, worst = picture_difference(_small(one), _small(other))
    return mean < SAME_PICTURE and worst < SAME_BLOCK


def picture_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Mean difference of two copies (SIDE, SIDE, 3), and of the block that differs most."""
    difference = np.abs(one - other).mean(axis=2)
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3))
    return float(difference.mean()), float(blocks.max())


def _small(path: Path) -> NDArray[np.float32]:
    return decode_image(path.read_bytes(), Target(SIDE, SIDE, "squash")).astype(np.float32)
