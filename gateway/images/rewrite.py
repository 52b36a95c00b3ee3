"""Any accepted image as a PNG that every decoder reads, for models that take encoded images.

A model server fails a whole batch when it cannot decode one image of it, and its decoders refuse files that Pillow
accepts, and the other way round. So what is sent is not the file that came but one made of its pixels.
"""

import io
from typing import Final

from gateway.images.decode import fit_picture, seen_size
from gateway.images.formats import open_image
from gateway.images.limits import DEFAULT_MAX_PIXELS
from gateway.images.target import Target

MAX_SIDE: Final = 1024
"""The most pixels of a side. Published image classifiers take 224 to 600."""

_COMPRESS_LEVEL: Final = 1


def rewrite_image(
    data: bytes | bytearray | memoryview, *, max_side: int = MAX_SIDE, max_pixels: int = DEFAULT_MAX_PIXELS
) -> bytes:
    """Decode an image and encode its pixels again, without loss.

    Args:
        data: The encoded image.
        max_side: The most pixels of a side; a larger image is scaled down with antialiasing.
        max_pixels: As in `gateway.images.decode_image`.

    Returns:
        A PNG file: upright, RGB with 8 bits, not interlaced, without metadata.

    Raises:
        UnsupportedImage, InvalidImage, ImageTooLarge: As `gateway.images.decode_image` raises them.
    """
    name, picture = open_image(bytes(data), max_pixels)
    width, height = seen_size(picture)
    scale = min(1.0, max_side / max(width, height))
    target = Target(max(1, round(height * scale)), max(1, round(width * scale)), "squash")
    file = io.BytesIO()
    fit_picture(name, picture, target).save(file, "PNG", compress_level=_COMPRESS_LEVEL)
    return file.getvalue()
