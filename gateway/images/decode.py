"""Encoded bytes to pixels: the one preprocessing that training and serving share.

:func:`decode_image` turns any bytes into the uint8 RGB array that a model takes, or raises an :class:`ImageError`.

What it decides, so that a model learns from exactly what it is served:

* **Formats.** JPEG (and MPO, the JPEG that phones and 3D cameras write), PNG, GIF, BMP and WebP. TIFF and AVIF are
  refused: libtiff has the longest record of memory errors of all of Pillow's decoders, and an AVIF's video frame can be
  much larger than its header says, so neither keeps the promise that memory is bounded before anything is decoded.
  HEIC is read where the extra `heic` is installed (see `gateway.heic`); RAW and the rest need decoders that Pillow has
  not.
* **First frame** of an animation.
* **Orientation** of EXIF is applied; what cannot be read of EXIF is ignored.
* **Transparency** is composited over white, as a page shows it. The bars of ``fit="pad"`` are black.
* **Colour profiles** are not applied: nearly all photos are sRGB, and the others (Display P3, Adobe RGB) differ from it
  by less than what augmentation does to colours.
* **Scaled decoding.** A JPEG is decoded at 1/2, 1/4 or 1/8 of its size when that leaves at least twice the wanted size.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin

from gateway.images.formats import check_pixels, open_image, reading
from gateway.images.target import DEFAULT_MAX_PIXELS, Interpolation, Target, placement


def decode_image(
    data: bytes | bytearray | memoryview, target: Target, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, and fit it to a model's input.

    Args:
        data: The encoded image.
        target: The wanted size, and how to get there.
        max_pixels: The most pixels that are decoded into memory. See :data:`DEFAULT_MAX_PIXELS` for JPEG.

    Returns:
        uint8 (target.height, target.width, 3), RGB, C-contiguous and read-only.

    Raises:
        UnsupportedImage: The format is not one of :data:`ACCEPTED_FORMATS`.
        InvalidImage: The image is empty, truncated or corrupt.
        ImageTooLarge: The image has more pixels than ``max_pixels`` allows.
    """
    name, picture, orientation = open_image(bytes(data), max_pixels)  # bytes of bytes is no copy
    upright = (target.width, target.height)
    wanted = upright[::-1] if orientation in _SIDEWAYS else upright

    size, box = placement(picture.size, wanted, target.fit)
    scale = _draft(picture, size, box) if target.interpolation != "nearest" else 1
    check_pixels(picture.size, max_pixels)
    with reading(name):
        picture.load()
        plain = _plain(picture)
    left, top, right, bottom = box
    part = (left / scale, top / scale, right / scale, bottom / scale)
    resized = plain.resize(size, _FILTERS[target.interpolation], part, _REDUCING_GAP)
    return np.asarray(_finished(resized, orientation, upright))


def upright_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Width and height of an image as it is meant to be seen; errors as of :func:`decode_image`."""
    _, picture, orientation = open_image(data, max_pixels)
    width, height = picture.size
    return (height, width) if orientation in _SIDEWAYS else (width, height)


_FILTERS: Final[dict[Interpolation, Image.Resampling]] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Shrinks by whole numbers first. It bounds the resize, too: without it the first of its two passes makes an image of
# 224 columns and every row of a photo that is one pixel wide and 50 million high.
_REDUCING_GAP: Final = 3.0
_BACKGROUND: Final = (255, 255, 255)
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


def _draft(picture: ImageFile.ImageFile, size: tuple[int, int], box: tuple[float, float, float, float]) -> int:
    """Sets a JPEG to be decoded at a part of its size, and gives the divisor."""
    if not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return 1
    shrink = min((box[2] - box[0]) / size[0], (box[3] - box[1]) / size[1])
    divisor = next(divisor for divisor in (8, 4, 2, 1) if shrink >= 2 * divisor or divisor == 1)
    if divisor > 1:
        picture.draft(None, (picture.width // divisor, picture.height // divisor))
    return divisor


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in a mode that can be resized: L, RGB, LA or RGBA."""
    if picture.mode.startswith("I;16"):
        return _eight_bits(picture)
    if picture.mode in ("1", "L", "P", "RGB") and isinstance(picture.info.get("transparency"), int | bytes | tuple):
        return picture.convert("RGBA")
    if picture.mode in ("L", "RGB", "LA", "RGBA"):
        return picture
    return picture.convert("L" if picture.mode == "1" else "RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey, with the high byte kept as Pillow does for 16-bit RGB; its own conversion of grey clips."""
    values = np.asarray(picture)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, np.uint8(0), np.uint8(255))))
    return grey


def _finished(image: Image.Image, orientation: int, size: tuple[int, int]) -> Image.Image:
    """RGB, upright and with bars: done last, where the image is small."""
    if image.mode in ("LA", "RGBA"):
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*_BACKGROUND, 255)), colours)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.size != size:
        framed = Image.new("RGB", size, _BAR)
        framed.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        return framed
    return image
