"""The same picture twice: by content, or by look at another size or quality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gateway.images import Target, decode_image
from trainer.data.photos import Photo

HASH_BITS_APART = 6
"""Of the 64 bits of a difference hash, how many may differ for two photos to be compared pixel by pixel."""

SAME_PICTURE = 6.0
"""Mean difference of two 32x32 copies (0 to 255) under which photos are the same picture at two sizes or qualities."""


def find_twins(photos: Sequence[Photo], others: Sequence[Photo]) -> dict[Path, Photo]:
    """Returns for each photo that is the same picture as one of the others: that one."""
    if not photos or not others:
        return {}
    by_key = {photo.key: photo for photo in others}
    looks = np.array([photo.look for photo in others], np.uint64)
    twins: dict[Path, Photo] = {}
    for photo in photos:
        if photo.key in by_key:
            twins[photo.path] = by_key[photo.key]
            continue
        near = np.flatnonzero(np.bitwise_count(looks ^ np.uint64(photo.look)) <= HASH_BITS_APART)
        for at in near[:20]:
            if _same_picture(photo.path, others[at].path):
                twins[photo.path] = others[at]
                break
    return twins


def _same_picture(one: Path, other: Path) -> bool:
    small = Target(32, 32, "squash")
    pair = [decode_image(path.read_bytes(), small).astype(np.float32) for path in (one, other)]
    return float(np.abs(pair[0] - pair[1]).mean()) < SAME_PICTURE
