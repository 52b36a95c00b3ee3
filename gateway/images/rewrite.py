"""Any accepted image as one that every decoder reads, for models that take encoded images."""

import io

from PIL import Image

from gateway.images.decode import decode_image, upright_size
from gateway.images.target import DEFAULT_MAX_PIXELS, Target


def reencode_image(
    data: bytes | bytearray | memoryview, *, max_side: int = 1024, max_pixels: int = DEFAULT_MAX_PIXELS
) -> bytes:
    """Make any accepted image one that every decoder reads, for models that take encoded images.

    Args:
        data: The encoded image.
        max_side: The most pixels a side; a larger image is scaled down.
        max_pixels: As in :func:`decode_image`.

    Returns:
        A baseline JPEG: upright, RGB, without metadata, of quality 95 and full colour resolution.

    Raises:
        UnsupportedImage, InvalidImage, ImageTooLarge: As :func:`decode_image` raises them.
    """
    encoded = bytes(data)
    width, height = upright_size(encoded, max_pixels)
    scale = min(1.0, max_side / max(width, height))
    target = Target(max(1, round(height * scale)), max(1, round(width * scale)), "squash")
    sent = io.BytesIO()
    pixels = decode_image(encoded, target, max_pixels=max_pixels)
    Image.fromarray(pixels).save(sent, "JPEG", quality=95, subsampling=0)
    return sent.getvalue()
