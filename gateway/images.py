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

import io
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, JpegImagePlugin

from gateway.image_formats import (
    ACCEPTED_FORMATS,
    ACCEPTED_MEDIA_TYPES,
    ImageError,
    ImageTooLarge,
    InvalidImage,
    UnsupportedImage,
    check_pixels,
    open_image,
    reading,
)

__all__ = [
    "ACCEPTED_FORMATS",
    "ACCEPTED_MEDIA_TYPES",
    "DEFAULT_MAX_PIXELS",
    "FitMode",
    "ImageError",
    "ImageTooLarge",
    "Interpolation",
    "InvalidImage",
    "Target",
    "UnsupportedImage",
    "decode_image",
]

FitMode = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

DEFAULT_MAX_PIXELS: Final = 30_000_000
"""The most pixels that are decoded into memory.

WebP, the costliest, takes 16 bytes a pixel while it is decoded: half a gigabyte. A JPEG may have eight times as many,
since scaled decoding never holds them all, and phones make photos of 200 megapixels; a progressive one, twice as many.
"""


@dataclass(frozen=True, slots=True)
class Target:
    """The size, and the way a model wants its photos.

    Attributes:
        height: Rows, in pixels.
        width: Columns, in pixels.
        fit: ``crop`` scales the photo to cover the size and cuts the middle, ``pad`` scales it to fit and adds black
            bars, ``squash`` gives up its aspect ratio.
        interpolation: The filter of the resize. All but ``nearest`` antialias when they shrink.
    """

    height: int
    width: int
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"height and width must be positive, not {self.height} and {self.width}")
        if self.fit not in get_args(FitMode):
            raise ValueError(f"fit must be one of {', '.join(get_args(FitMode))}, not {self.fit!r}")
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(
                f"interpolation must be one of {', '.join(get_args(Interpolation))}, not {self.interpolation!r}"
            )


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


def placement(
    size: tuple[int, int], wanted: tuple[int, int], fit: FitMode
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """To what size an image of ``size`` is resized, and what part of it: left, top, right, bottom."""
    width, height = size
    if fit == "squash":
        return wanted, (0, 0, width, height)
    if fit == "pad":
        scale = min(wanted[0] / width, wanted[1] / height)
        return (max(1, round(width * scale)), max(1, round(height * scale))), (0, 0, width, height)
    scale = max(wanted[0] / width, wanted[1] / height)
    across, down = min(width, wanted[0] / scale), min(height, wanted[1] / scale)
    left, top = (width - across) / 2, (height - down) / 2
    return wanted, (left, top, left + across, top + down)


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
