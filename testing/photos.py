"""Photos drawn on the spot, in which one colour prevails."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RGB = {"red": (250, 20, 10), "green": (20, 240, 30), "blue": (10, 30, 250), "grey": (128, 128, 128)}


def photo(colour: str = "red", size: tuple[int, int] = (40, 30), encoding: str = "PNG") -> bytes:
    """An encoded image of one colour; `size` is width and height in pixels."""
    return _encoded(Image.new("RGB", size, RGB[colour]), encoding)


def noisy_photo(colour: str, seed: int = 0, size: tuple[int, int] = (640, 480), encoding: str = "JPEG") -> bytes:
    """An encoded image of one colour under noise, which compresses like a photo."""
    noise = np.random.default_rng(seed).normal(0, 20, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(RGB[colour]) + noise, 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), encoding)


def _encoded(image: Image.Image, encoding: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding)
    return buffer.getvalue()
