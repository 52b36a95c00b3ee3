"""Find duplicate photos: equal files, or the same picture at another size or quality."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.images import Target, decode_image
from trainer.data.photos import Photo, read_again

HASH_BITS_APART = 6
"""Maximum number of different bits in the difference hashes (64 bits) of two photos that are compared by pixels."""

SIDE, BLOCK = 128, 16
"""Side of the reduced copies that are compared, and of their blocks, in pixels."""

SAME_PICTURE, SAME_BLOCK = 8.0, 15.0
"""Limits on the mean difference (0 to 255) of two copies, and on that of the block that differs most."""

BLOCK_TO_MEAN, ROUNDING = 3.0, 0.25
"""How much more than the whole a block may differ. Compression changes a picture everywhere, a defect in one place.

Measured on 20 photos at three contrasts: 349 of 360 copies at another size or quality are recognised. A scratch of
80 x 8 pixels on a part of 512 x 512 is seen from 40 levels on, with little noise from 20; without this rule, not even
at 80."""

BLOCK_TO_CONTRAST = 0.5
"""How much a block may differ, in standard deviations of the picture: flat pictures differ little in any case."""

CANDIDATES = 20
"""How many photos with a similar hash are compared pixel by pixel, at most."""

Duplicates = Literal["near", "exact", "off"]
"""Which photos count as duplicates: those that look the same (near), equal files (exact), or none (off)."""


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


def _same_picture(first: Path, second: Path) -> bool:
    return are_same_picture(reduced_copy(first), reduced_copy(second))


def are_same_picture(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    """Whether two copies (SIDE, SIDE, 3), 0 to 255, differ by no more than compression makes of one picture."""
    mean, worst = picture_difference(first, second)
    contrast = min(float(copy.mean(axis=2).std()) for copy in (first, second))
    limit = min(SAME_BLOCK, BLOCK_TO_MEAN * mean + ROUNDING, BLOCK_TO_CONTRAST * contrast + ROUNDING)
    return mean < SAME_PICTURE and worst < limit


def picture_difference(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[float, float]:
    """Mean difference of two copies (SIDE, SIDE, 3), and of the block that differs most."""
    difference = np.abs(first - second).mean(axis=2)
    blocks = difference.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).mean(axis=(1, 3))
    return float(difference.mean()), float(blocks.max())


def reduced_copy(path: Path) -> NDArray[np.float32]:
    """Returns the copy of a photo that is compared: float32 (SIDE, SIDE, 3), 0 to 255."""
    pixels = read_again(path, lambda data: decode_image(data, Target(SIDE, SIDE, "squash")))
    return pixels.astype(np.float32)
