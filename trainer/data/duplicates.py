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
"""Mean difference (0 to 255) of two copies, and of the blocks that differ most, under which photos are the same picture
at two sizes or qualities: a thumbnail alone takes a scratched part for a whole one, and a frame for the next one."""

CANDIDATES = 20
"""How many photos with a similar hash are compared pixel by pixel, at most."""

Duplicates = Literal["near", "exact", "off"]
"""Which photos count as copies: those that look the same as well, those with the same content, or none."""


class Pictures:
    """Photos among which another one's picture is looked for."""

    def __init__(self, photos: Sequence[Photo] = ()) -> None:
        self._photos: list[Photo] = []
        self._by_key: dict[bytes, Photo] = {}
        self._looks = np.zeros(1024, np.uint64)
        for photo in photos:
            self.add(photo)

    def add(self, photo: Photo) -> None:
        """Adds a photo to those that are found."""
        if len(self._photos) == len(self._looks):
            self._looks = np.concatenate([self._looks, np.zeros_like(self._looks)])
        self._looks[len(self._photos)] = photo.look
        self._photos.append(photo)
        self._by_key.setdefault(photo.key, photo)

    def twin(self, photo: Photo, *, near: bool = True) -> Photo | None:
        """Returns the first photo that is the same picture, or None.

        Args:
            photo: The one to look for.
            near: Count the same picture at another size or quality as well, not only the same content.
        """
        if photo.key in self._by_key or not near:
            return self._by_key.get(photo.key)
        looks = self._looks[: len(self._photos)]
        alike = np.flatnonzero(np.bitwise_count(looks ^ np.uint64(photo.look)) <= HASH_BITS_APART)
        candidates = (self._photos[at] for at in alike[:CANDIDATES])
        return next((other for other in candidates if _same_picture(photo.path, other.path)), None)


def _same_picture(one: Path, other: Path) -> bool:
    mean, worst = picture_difference(_small(one), _small(other))
    return mean < SAME_PICTURE and worst < SAME_BLOCK


def picture_difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """Mean difference of two copies (SIDE, SIDE, 3), and that of the block that differs most."""
    difference = np.abs(one - other).mean(axis=2)
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3))
    return float(difference.mean()), float(blocks.max())


def _small(path: Path) -> NDArray[np.float32]:
    return decode_image(path.read_bytes(), Target(SIDE, SIDE, "squash")).astype(np.float32)
