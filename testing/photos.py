"""Generated photos with one dominant colour."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image

RGB = {"red": (250, 20, 10), "green": (20, 240, 30), "blue": (10, 30, 250), "grey": (128, 128, 128)}


def photo(colour: str = "red", size: tuple[int, int] = (40, 30), encoding: str = "PNG") -> bytes:
    """An encoded image of one colour; `size` is width and height in pixels."""
    return _encoded(Image.new("RGB", size, RGB[colour]), encoding)


def noisy_photo(colour: str, seed: int = 0, size: tuple[int, int] = (640, 480), encoding: str = "JPEG") -> bytes:
    """An encoded image of one colour with noise, which compresses like a photo."""
    noise = np.random.default_rng(seed).normal(0, 20, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(RGB[colour]) + noise, 0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(pixels), encoding)


@cache
def slow_png(side: int = 10_000) -> bytes:
    """A small PNG file that takes seconds of CPU time and 300 MB of memory to decode."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(1)
    row = b"\4" + bytes(3 * side)  # the Paeth filter, the slowest
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _encoded(image: Image.Image, encoding: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, encoding)
    return buffer.getvalue()
