"""Convert any accepted image to a PNG that every decoder reads, for models that take encoded images.

A model server fails a whole batch if it cannot decode one image, and its decoders refuse some files that Pillow
accepts. So the gateway never sends the uploaded file, but a new one with its pixels.
"""

import struct
import zlib
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.images.decode import decode_whole
from gateway.images.limits import DEFAULT_MAX_PIXELS

MAX_SIDE: Final = 1024
"""Maximum number of pixels of a side. Published image classifiers take 224 to 600, so it makes no difference to
them."""


def rewrite_image(data: bytes | bytearray | memoryview, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
    """Decode an image, scale it down to `MAX_SIDE`, and encode its pixels again, without loss.

    Returns:
        A PNG file of at most 3 MB: upright, RGB with 8 bits, not interlaced, without metadata. Raises as
        `gateway.images.decode_image` does.
    """
    return encode_png(decode_whole(data, MAX_SIDE, max_pixels=max_pixels))


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 3), RGB, as a PNG (ISO 15948) whose rows are stored and not compressed.

    For a photo of 500 x 375 pixels this takes 0.6 ms, and 1 ms in TensorFlow's decoder, for 563 kB. Compression level 1
    takes 19 ms and 8 ms for 348 kB, and the message does not leave the machine or its network.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row starts with its filter: 0 is none
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.data, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        part
        for kind, body in chunks
        for part in (struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))
    )
