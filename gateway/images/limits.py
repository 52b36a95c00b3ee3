"""How many pixels are decoded, by what a pixel of each format costs."""

from typing import Final

from gateway.images.errors import ImageTooLarge

DEFAULT_MAX_PIXELS: Final = 16_000_000
"""The most pixels of an image in the costliest format, WebP. Formats that take less memory a pixel may have more.

The limit is really one of memory: ``max_pixels`` times `COSTLIEST_BYTES_PER_PIXEL` bytes, 320 MB by default.
"""

COSTLIEST_BYTES_PER_PIXEL: Final = 20
"""Bytes of memory at the peak for each pixel of a WebP file with transparency: see `gateway.images.formats`."""


def check_pixels(size: tuple[int, int], max_pixels: int, bytes_per_pixel: float = COSTLIEST_BYTES_PER_PIXEL) -> None:
    """Refuse an image that would take more memory than the limit allows.

    Args:
        size: Width and height.
        max_pixels: The limit, in pixels of the costliest format.
        bytes_per_pixel: What a pixel of this image costs at the peak of its decoding.

    Raises:
        ImageTooLarge: It has too many pixels.
    """
    width, height = size
    allowed = int(max_pixels * COSTLIEST_BYTES_PER_PIXEL / bytes_per_pixel)
    if width * height > allowed:
        raise ImageTooLarge(
            f"The image is {width} x {height} pixels, {width * height / 1e6:.1f} megapixels; "
            f"at most {allowed / 1e6:.3g} megapixels are accepted for its format."
        )
