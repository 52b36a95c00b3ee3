"""Photos for the benchmark: from a folder, or generated ones of the size of a photo on a web page."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from gateway.images import ImageError, Target, decode_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp"})
DRAWN = 32


def read_photos(folder: Path) -> list[bytes]:
    """All photos in a folder that the gateway accepts, sorted by name.

    Raises:
        ValueError: There is none.
    """
    photos = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            data = path.read_bytes()
            try:
                decode_image(data, Target(8, 8))
            except ImageError:
                continue
            photos.append(data)
    if not photos:
        raise ValueError(f"{folder} contains no photo")
    return photos


def draw_photos(count: int = DRAWN) -> list[bytes]:
    """JPEG files of 500 x 375 pixels with smooth patterns and a little noise. Deterministic."""
    from PIL import Image

    photos = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        pattern = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        noisy = pattern + rng.normal(0, 4, (375, 500, 1))
        file = io.BytesIO()
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
        photos.append(file.getvalue())
    return photos
