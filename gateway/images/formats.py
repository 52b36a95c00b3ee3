"""The image formats: signature, decoder, and memory per pixel.

To add a format, write a module that opens it (see `gateway.images.picture.Picture`) and add one line to `FORMATS`.

Names and headers of files are not trusted. The format is determined by the first bytes, and the size is checked before
memory is allocated.

TIFF and AVIF are not accepted: libtiff has the most memory errors of the decoders in Pillow, and a frame of an AVIF can
be much larger than its header says. Pillow has no decoder for RAW and other formats.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.images import bmp, gif, heic, jpeg, png, webp
from gateway.images.errors import InvalidImage, UnsupportedImage, decoder_errors
from gateway.images.limits import COSTLIEST_BYTES_PER_PIXEL
from gateway.images.picture import Picture
from gateway.images.refused import describe


@dataclass(frozen=True, slots=True)
class Format:
    """One accepted format.

    Attributes:
        name: Name for messages.
        signature: Pattern of the first bytes.
        open: Reads the header of a file. Takes the file, and ``max_pixels`` and ``bytes_per_pixel`` for `check_pixels`.
        bytes_per_pixel: Measured peak memory per pixel of the most expensive variant, without the file. Modules of
            formats whose variants differ refine it.
        available: Whether its decoder is installed.
    """

    name: str
    media_type: str
    signature: re.Pattern[bytes]
    open: Callable[[bytes, int, float], Picture]
    bytes_per_pixel: float
    available: bool = True


# Pillow takes 4 bytes a pixel for RGB and RGBA, and as many again where transparency is composited. WebP takes two
# canvases, a copy of one, the image, and of a lossless file one more. HEIC takes 1.5 bytes of samples, twice, and 3 of
# RGB. JPEG is decoded at a fraction of its size with a few rows in memory, so there the limit is one of time: 240
# megapixels by default, which take a second; phones make photos of 200.
FORMATS: Final = (
    Format("JPEG", "image/jpeg", re.compile(rb"\xff\xd8\xff"), jpeg.open_jpeg, COSTLIEST_BYTES_PER_PIXEL / 15),
    Format("PNG", "image/png", re.compile(rb"\x89PNG\r\n\x1a\n"), png.open_png, 10),
    Format("GIF", "image/gif", re.compile(rb"GIF8[79]a"), gif.open_gif, 8),
    Format("BMP", "image/bmp", re.compile(rb"BM"), bmp.open_bmp, 9),
    Format("WebP", "image/webp", re.compile(rb"RIFF....WEBP", re.DOTALL), webp.open_webp, COSTLIEST_BYTES_PER_PIXEL),
    Format(
        "HEIC",
        "image/heic",
        re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL),
        heic.open_heic,
        6.5,
        heic.AVAILABLE,
    ),
)
"""The order is that in messages."""

ACCEPTED_FORMATS: Final = tuple(one.name for one in FORMATS if one.available)
ACCEPTED_MEDIA_TYPES: Final = tuple(one.media_type for one in FORMATS if one.available)


def open_image(data: bytes, max_pixels: int) -> tuple[str, Picture]:
    """Read an image's header and check its size. No pixel is decoded. Raises as `gateway.images.decode_image` does.

    Returns:
        The name of the format, and the image, not yet decoded.
    """
    image_format = _recognise(data)
    with decoder_errors(image_format.name):
        return image_format.name, image_format.open(data, max_pixels, image_format.bytes_per_pixel)


def is_image(data: bytes) -> bool:
    """Whether the first bytes are those of one of the formats."""
    if data[:2] == b"BM":  # text may start with BM too, but bytes 6 to 9 of a bitmap are zero
        return data[6:10] == bytes(4)
    return any(one.signature.match(data) for one in FORMATS)


def _recognise(data: bytes) -> Format:
    if not data:
        raise InvalidImage("The image is empty.")
    accepted = f"Accepted are {', '.join(ACCEPTED_FORMATS[:-1])} and {ACCEPTED_FORMATS[-1]}."
    for image_format in FORMATS:
        if image_format.signature.match(data):
            if image_format.available:
                return image_format
            raise UnsupportedImage(f"{image_format.name} images are not accepted. {accepted}")
    raise UnsupportedImage(f"{describe(data)} {accepted}")
