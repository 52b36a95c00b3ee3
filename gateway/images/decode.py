"""Encoded bytes to pixels: the one preprocessing that training and serving share.

What it decides, so that a model learns from exactly what it is served:

* **Formats.** Those of `gateway.images.formats`, recognised by their first bytes.
* **First frame** of an animation.
* **Orientation** of EXIF is applied; broken EXIF is ignored.
* **Transparency** is composited over white, as a page shows it. The bars of ``fit="pad"`` are black.
* **Colour profiles** are not applied: nearly all photos are sRGB, and the others (Display P3, Adobe RGB) differ from it
  by less than what augmentation does to colours.
* **Scaled decoding.** A JPEG is decoded at 1/2, 1/4 or 1/8 of its size when that leaves at least twice the wanted size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.images.bands import has_transparency, opaque, shrunk
from gateway.images.errors import decoder_errors
from gateway.images.formats import open_image
from gateway.images.limits import DEFAULT_MAX_PIXELS
from gateway.images.picture import Picture
from gateway.images.target import Interpolation, Target, placement

_FILTERS: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Shrinks by whole numbers first, to three times the wanted size. It bounds the resize, too: without it the first of its
# two passes makes an image of 224 columns and every row of a photo that is one pixel wide and 50 million high.
_REDUCING_GAP: Final = 3.0
_BAR: Final = (0, 0, 0)

# What turns the stored image upright, by its EXIF orientation.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


def decode_image(
    data: bytes | bytearray | memoryview, target: Target, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, and fit it to a model's input.

    Args:
        data: The encoded image.
        target: The wanted size, and how to get there.
        max_pixels: The most pixels of an image in the costliest format: see `DEFAULT_MAX_PIXELS`. An image over the
            limit is refused by its header, which takes well under a millisecond.

    Returns:
        uint8 (target.height, target.width, 3), RGB, C-contiguous and read-only.

    Raises:
        UnsupportedImage: The format is not one of `ACCEPTED_FORMATS`.
        InvalidImage: The image is empty, truncated, corrupt or takes far more memory than its size justifies.
        ImageTooLarge: The image has more pixels than ``max_pixels`` allows. Only this error can go away with a higher
            ``max_pixels``.
    """
    name, picture = open_image(bytes(data), max_pixels)  # bytes of bytes is no copy
    return np.asarray(fit_picture(name, picture, target))


def upright_size(data: bytes | bytearray | memoryview, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """Width and height of an image as it is meant to be seen, by its header; errors as of `decode_image`."""
    _, picture = open_image(bytes(data), max_pixels)
    return seen_size(picture)


def seen_size(picture: Picture) -> tuple[int, int]:
    """Width and height with the orientation applied."""
    width, height = picture.size
    return (height, width) if picture.orientation in _SIDEWAYS else (width, height)


def fit_picture(name: str, picture: Picture, target: Target) -> Image.Image:
    """Decode an opened image and fit it, as `decode_image` does.

    Args:
        name: Its format.
        picture: What `open_image` gave.
        target: The wanted size, and how to get there.

    Returns:
        Mode RGB, of the target's size.

    Raises:
        InvalidImage, ImageTooLarge: As `decode_image`.
    """
    upright = (target.width, target.height)
    wanted = upright[::-1] if picture.orientation in _SIDEWAYS else upright
    size, box = placement(picture.size, wanted, target.fit)
    shrink = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    if target.interpolation == "nearest":
        shrink = 1.0  # takes single pixels, not means

    with decoder_errors(name):
        image, divisor = picture.load(shrink)
        if image.mode not in ("L", "RGB") or has_transparency(image):
            factor = max(1, int(shrink / divisor / 2))
            image, divisor = _opaque(image, factor), divisor * factor
        left, top, right, bottom = box
        part = (left / divisor, top / divisor, right / divisor, bottom / divisor)
        resized = image.resize(size, _FILTERS[target.interpolation], part, _REDUCING_GAP)
    return _finished(resized, picture.orientation, upright)


def _opaque(image: Image.Image, factor: int) -> Image.Image:
    return shrunk(image.size, lambda upper, lower: opaque(image.crop((0, upper, image.width, lower))), factor)


def _finished(image: Image.Image, orientation: int, size: tuple[int, int]) -> Image.Image:
    """RGB, upright and with bars: done last, where the image is small."""
    if image.mode != "RGB":
        image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.size != size:
        framed = Image.new("RGB", size, _BAR)
        framed.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        return framed
    return image
