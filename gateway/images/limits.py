"""The limit on pixels, by the memory that a pixel of a format takes."""

from typing import Final

from gateway.images.errors import ImageTooLarge

DEFAULT_MAX_PIXELS: Final = 16_000_000
"""Maximum number of pixels in the most expensive format, WebP. Formats with less memory per pixel may have more.

This is a limit on memory: ``max_pixels`` times `COSTLIEST_BYTES_PER_PIXEL` bytes, 320 MB by default.
"""

COSTLIEST_BYTES_PER_PIXEL: Final = 20
"""Peak memory per pixel of a WebP file with transparency, in bytes; see `gateway.images.formats`."""


def check_pixels(size: tuple[int, int], max_pixels: int, bytes_per_pixel: float = COSTLIEST_BYTES_PER_PIXEL) -> None:
    """Refuse an image that would take more memory than the limit allows.

    Args:
        size: Width and height.
        max_pixels: The limit for the most expensive format.
        bytes_per_pixel: Peak memory per pixel of this image, in bytes.

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
