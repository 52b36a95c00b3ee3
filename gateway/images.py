"""Encoded bytes to pixels: the one preprocessing that training and serving share.

:func:`decode_image` turns any bytes into the uint8 RGB array that a model takes, or raises an :class:`ImageError`.

What it decides, so that a model learns from exactly what it is served:

* **Formats.** JPEG (and MPO, the JPEG that phones and 3D cameras write), PNG, GIF, BMP and WebP. TIFF and AVIF are
  refused: libtiff has the longest record of memory errors of all of Pillow's decoders, and an AVIF's video frame can be
  much larger than its header says, so neither keeps the promise that memory is bounded before anything is decoded.
  HEIC, RAW and the rest need decoders that Pillow has not.
* **First frame** of an animation.
* **Orientation** of EXIF is applied; what cannot be read of EXIF is ignored.
* **Transparency** is composited over white, as a page shows it. The bars of ``fit="pad"`` are black.
* **Colour profiles** are not applied: nearly all photos are sRGB, and the others (Display P3, Adobe RGB) differ from it
  by less than what augmentation does to colours.
* **Scaled decoding.** A JPEG is decoded at 1/2, 1/4 or 1/8 of its size when that leaves at least twice the wanted size.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import BmpImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

FitMode = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

DEFAULT_MAX_PIXELS: Final = 50_000_000
"""Pixels that are decoded into memory at most.

The costliest format takes some 16 bytes a pixel while it is decoded. Phones make photos of 200 megapixels: as JPEG they
are accepted, because scaled decoding never holds more than a part of them (see :data:`_JPEG_ALLOWANCE`).
"""

ACCEPTED_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WebP")
ACCEPTED_MEDIA_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/bmp", "image/webp")


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


class ImageError(ValueError):
    """Bytes that cannot be made into pixels; the message is for the person who sent them.

    Attributes:
        code: A short name of the kind of error, for programs. It never changes.
    """

    code: ClassVar[str] = "image_error"


class UnsupportedImage(ImageError):  # noqa: N818
    """Not an image, or one of a format that is not accepted."""

    code = "unsupported_image"


class InvalidImage(ImageError):  # noqa: N818
    """Of an accepted format, but empty, cut short or corrupt."""

    code = "invalid_image"


class ImageTooLarge(ImageError):  # noqa: N818
    """More pixels than are decoded."""

    code = "image_too_large"


def decode_image(
    data: bytes | bytearray | memoryview, target: Target, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> npt.NDArray[np.uint8]:
    """Decode an image, turn it upright, and fit it to a model's input.

    Args:
        data: The encoded image.
        target: The wanted size, and how to get there.
        max_pixels: The most pixels that are decoded into memory.

    Returns:
        uint8 (target.height, target.width, 3), RGB, C-contiguous and read-only.

    Raises:
        UnsupportedImage: The format is not one of :data:`ACCEPTED_FORMATS`.
        InvalidImage: The image is empty, truncated or corrupt.
        ImageTooLarge: The image has more than ``max_pixels`` pixels.
    """
    encoded = bytes(data)  # no copy of what is bytes already
    name = _format(encoded)
    with _reading(name):
        picture, exif = _OPENERS[name](encoded, max_pixels)
    orientation = _orientation(exif)
    upright = (target.width, target.height)
    wanted = upright[::-1] if orientation in _SIDEWAYS else upright

    size, box = _placement(picture.size, wanted, target.fit)
    scale = _draft(picture, size, box) if target.interpolation != "nearest" else 1
    _check_pixels(picture.size, max_pixels)
    with _reading(name):
        picture.load()
        plain = _plain(picture)
    left, top, right, bottom = box
    part = (left / scale, top / scale, right / scale, bottom / scale)
    resized = plain.resize(size, _FILTERS[target.interpolation], part, _REDUCING_GAP)
    return np.asarray(_finished(resized, orientation, upright))


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

# EXIF 2.32, tag 0x0112: what turns the stored image upright.
_ORIENTATION_TAG: Final = 0x0112
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

# A JPEG may have this many times more pixels than are held in memory, since scaled decoding holds a part of them.
_JPEG_ALLOWANCE: Final = 4
# Progressive JPEGs are made of about ten scans, each of which visits every pixel; a few bytes suffice for one, so that
# a small file could keep a decoder busy for hours.
_JPEG_MAX_SCANS: Final = 16
_JPEG_SCAN: Final = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_EXIF_KEYWORD: Final = b"Raw profile type exif\x00"
_MAX_EXIF_BYTES: Final = 1 << 20


def _format(data: bytes) -> str:
    """The accepted format that the first bytes announce. What a file is called or says it is does not count."""
    if not data:
        raise InvalidImage("The image is empty: it has no bytes.")
    for name, signature in _SIGNATURES.items():
        if signature.match(data):
            return name
    accepted = f"Accepted are {', '.join(ACCEPTED_FORMATS[:-1])} and {ACCEPTED_FORMATS[-1]}."
    for name, signature in _REFUSED_SIGNATURES.items():
        if signature.match(data):
            raise UnsupportedImage(f"{name} images are not accepted. {accepted}")
    raise UnsupportedImage(f"This is not an image of a known format. {accepted}")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Makes every failure of a decoder an error about the file.

    Pillow draws no line around what it raises for a broken file (OSError, SyntaxError, ValueError, struct.error,
    EOFError, KeyError, zlib.error and more), so all of it is caught, around calls of Pillow's decoders alone.
    """
    try:
        yield
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageTooLarge(f"The {name} image takes more memory to decode than there is.") from error
    except Exception as error:
        raise InvalidImage(f"The {name} image is truncated or corrupt and cannot be decoded.") from error


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"The image is {width} x {height} pixels, {width * height / 1e6:.1f} megapixels; "
            f"at most {max_pixels / 1e6:g} megapixels are accepted."
        )


class _Jpeg(JpegImagePlugin.JpegImageFile):
    def _read_dpi_from_exif(self) -> None:
        """Nothing: the resolution is not needed, and broken EXIF would be warned of, process-wide."""


# The plugins' classes are called without Image.open: its check of the size warns, or raises, by a limit that belongs to
# the whole process, and it takes malformed MPO for a reason to warn.


def _open_jpeg(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    picture = _Jpeg(io.BytesIO(data))
    # A decoder of several scans keeps the whole image as coefficients, whatever the scale.
    several_scans = "progressive" in picture.info or _scan_components(data) < picture.layers
    _check_pixels(picture.size, max_pixels if several_scans else _JPEG_ALLOWANCE * max_pixels)
    if several_scans and len(_JPEG_SCAN.findall(data)) * picture.width * picture.height > _JPEG_MAX_SCANS * max_pixels:
        raise ImageTooLarge("The JPEG image has too many scans for its size.")
    return picture, picture.info.get("exif", b"")


def _scan_components(data: bytes) -> int:
    scan = _JPEG_SCAN.search(data)
    return data[scan.end() - 1] if scan else 0


def _open_png(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    """Opens the chunks that make pixels; the others can be broken, or unpack to much more than they are."""
    kept, exif, position = [_PNG_SIGNATURE], b"", len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(data[position:end])
        elif not exif:
            exif = _png_exif(kind, data[position + 8 : end - 4])
        if kind == b"IEND":
            break
        position = end
    picture = PngImagePlugin.PngImageFile(io.BytesIO(b"".join(kept)))
    _check_pixels(picture.size, max_pixels)
    return picture, exif


def _png_exif(kind: bytes, body: bytes) -> bytes:
    """EXIF of a chunk: as the standard has it, or in hexadecimal digits as ImageMagick writes it."""
    if kind == b"eXIf":
        return body
    if kind not in (b"tEXt", b"zTXt") or not body.startswith(_PNG_EXIF_KEYWORD):
        return b""
    text = body[len(_PNG_EXIF_KEYWORD) :]
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_EXIF_BYTES)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (ValueError, zlib.error):
        return b""


def _open_gif(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    # Checked here, because the reader makes images of the first frame's size when it is opened.
    _check_pixels(_gif_size(data), max_pixels)
    picture = GifImagePlugin.GifImageFile(io.BytesIO(data))
    _check_pixels(picture.size, max_pixels)
    return picture, b""


def _gif_size(data: bytes) -> tuple[int, int]:
    """The canvas, grown to hold the first frame, as the reader does."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while data[position] != ord(","):
        if data[position] == ord("!"):
            position += 2
            while data[position]:
                position += 1 + data[position]
        position += 1
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
    return max(width, left + frame_width), max(height, top + frame_height)


def _open_bmp(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    picture = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    _check_pixels(picture.size, max_pixels)
    if any(tile.codec_name != "raw" for tile in picture.tile):
        raise UnsupportedImage("Run-length encoded BMP images are not accepted: send it as PNG.")
    return picture, b""


def _open_webp(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    # Checked here, because the reader makes two canvases when it is opened.
    _check_pixels(_webp_size(data), max_pixels)
    picture = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    _check_pixels(picture.size, max_pixels)
    return picture, picture.info.get("exif", b"")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_OPENERS: Final[dict[str, Callable[[bytes, int], tuple[ImageFile.ImageFile, bytes]]]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "GIF": _open_gif,
    "BMP": _open_bmp,
    "WebP": _open_webp,
}
_SIGNATURES: Final = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
# Named in the refusal, since people do send them.
_REFUSED_SIGNATURES: Final = {
    "HEIC": re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
    "TIFF": re.compile(rb"II\x2a\x00|MM\x00\x2a|II\x2b\x00|MM\x00\x2b"),
    "JPEG 2000": re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL "),
    "Photoshop": re.compile(rb"8BPS"),
    "Icon": re.compile(rb"\x00\x00[\x01\x02]\x00"),
    "SVG": re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg\b", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
}


def _orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that EXIF gives; 1, upright, where it gives none or is broken.

    Pillow reads all of EXIF, and warns of what is broken in it. Warnings are silenced process-wide or not at all.
    """
    tiff = exif[6:] if exif.startswith(b"Exif\x00\x00") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == 3 and count == 1 and value in _UPRIGHT else 1
    except struct.error:
        pass
    return 1


def _placement(
    size: tuple[int, int], wanted: tuple[int, int], fit: FitMode
) -> tuple[tuple[int, int], tuple[float, float, float, float]]:
    """What part of an image of ``size`` is resized (left, top, right, bottom), and to what size."""
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
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
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
