"""The same picture twice: by content, or by look at another size or quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.images import Target, decode_image
from trainer.data.photos import Photo

HASH_BITS_APART = 6
"""Of the 64 bits of a difference hash, how many may differ for two photos to be compared pixel by pixel."""

SIDE, BLOCK = 128, 16
"""Pixels of the copies that are compared, and of the blocks in them."""

SAME_PICTURE, SAME_BLOCK = 8.0, 15.0
"""Mean difference (0 to 255) of two copies, and of the block that differs most, under which photos may be the same
picture at two sizes or qualities."""

BLOCK_TO_MEAN, ROUNDING = 3.0, 0.25
"""How much more than the whole a block may differ. Compression changes a picture everywhere, a defect in one place.

Measured on 20 photos at three contrasts: 349 of 360 copies at another size or quality are recognised. A scratch of
80 x 8 pixels on a part of 512 x 512 is seen from 40 levels on, with little noise from 20; without this rule, not even
at 80."""

BLOCK_TO_CONTRAST = 0.5
"""How much a block may differ, in standard deviations of the picture: flat pictures differ little in any case."""

Duplicates = Literal["near", "exact", "off"]
"""Which photos count as copies: those that look the same as well, those with the same content, or none."""


def find_twins(photos: Sequence[Photo], others: Sequence[Photo], *, near: bool = True) -> dict[Path, Photo]:
    """Returns for each photo that is the same picture as one of the others: that one.

    Args:
        photos: Each of these is looked for.
        others: Among these.
        near: Count the same picture at another size or quality as well, not only the same content.
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
    return are_same_picture(_small(one), _small(other))


def are_same_picture(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two copies (SIDE, SIDE, 3), 0 to 255, differ by no more than compression makes of one picture."""
    mean, worst = picture_difference(one, other)
    contrast = min(float(copy.mean(axis=2).std()) for copy in (one, other))
    limit = min(SAME_BLOCK, BLOCK_TO_MEAN * mean + ROUNDING, BLOCK_TO_CONTRAST * contrast + ROUNDING)
    return mean < SAME_PICTURE and worst < limit


def picture_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Mean difference of two copies (SIDE, SIDE, 3), and that of the block that differs most."""
    difference = np.abs(one - other).mean(axis=2)
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3))
    return float(difference.mean()), float(blocks.max())


def _small(path: Path) -> NDArray[np.float32]:
    return decode_image(path.read_bytes(), Target(SIDE, SIDE, "squash")).astype(np.float32)
