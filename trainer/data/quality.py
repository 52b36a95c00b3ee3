"""Measure photos: size, sharpness, brightness, contrast and colour."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.images import Target, decode_image, upright_size
from trainer.console import progress
from trainer.data.photos import Photo, read_again
from trainer.data.record_store import RecordStore

SIDE: Final = 224
"""Size at which photos are measured: about that of the input of a model, so that blur is what a model sees of it."""

MEASURES: Final = 6


@dataclass(frozen=True)
class Quality:
    """Measures of a photo.

    Attributes:
        width: In pixels, upright.
        height: In pixels, upright.
        sharpness: Standard deviation of the Laplacian of the luminance, in that of the luminance itself. Photos in
            focus have 0.1 to 1.
        brightness: Mean luminance, 0 to 255.
        contrast: Standard deviation of the luminance.
        colour: Mean difference between the largest and smallest channel of a pixel; 0 for a grey photo.
    """

    width: int
    height: int
    sharpness: float
    brightness: float
    contrast: float
    colour: float


def measure(data: bytes) -> Quality:
    """Measures an encoded photo.

    Raises:
        ImageError: It cannot be decoded.
    """
    width, height = upright_size(data)
    return Quality(width, height, *_measured(decode_image(data, Target(SIDE, SIDE, "crop"))))


def _measured(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    wide = pixels.astype(np.float32)
    grey = wide @ np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    contrast = float(grey.std())
    sharpness = float(laplacian.std()) / contrast if contrast > 0 else 0.0
    # Not wide.max(axis=2), which is much slower.
    red, green, blue = wide[..., 0], wide[..., 1], wide[..., 2]
    largest, smallest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    colour = float((largest - smallest).mean())
    return sharpness, float(grey.mean()), contrast, colour


def measure_all(photos: Sequence[Photo], cache: Path, workers: int) -> list[Quality]:
    """Returns the measures of each photo. They are cached by content."""
    with RecordStore[np.float32](cache / "quality", np.float32, (MEASURES,)) as store:
        todo = [photo for photo in photos if photo.key not in store]
        if todo:
            with progress("Measuring photos", len(todo)) as advance, ThreadPoolExecutor(workers) as pool:
                for start in range(0, len(todo), 256):
                    block = todo[start : start + 256]
                    for photo, measures in zip(block, pool.map(_measure_file, block), strict=True):
                        store.add([photo.key], measures[np.newaxis])
                        advance()
        rows = store.rows([photo.key for photo in photos]).tolist() if photos else []
    return [Quality(round(width), round(height), *rest) for width, height, *rest in rows]


def _measure_file(photo: Photo) -> NDArray[np.float32]:
    quality = read_again(photo.path, measure)
    return np.array(
        [quality.width, quality.height, quality.sharpness, quality.brightness, quality.contrast, quality.colour],
        np.float32,
    )
