"""What is read of an image file before a pixel is decoded: its format, size and orientation.

The sender decides what a file claims. So the format is told by its first bytes, the size is checked before anything is
allocated for it, and of JPEG, PNG and GIF only the parts that make pixels reach the decoder: comments, profiles, EXIF
and text can be broken, be warned of process-wide, unpack to much more than they are, or cost quadratic time.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from PIL import BmpImagePlugin, GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from gateway.images import heic
from gateway.images.errors import ImageError, ImageTooLarge, InvalidImage, UnsupportedImage
from gateway.interpreter import joined, let_others_run

ACCEPTED_FORMATS: Final = ("JPEG", "PNG", "GIF", "BMP", "WebP", *(("HEIC",) if heic.AVAILABLE else ()))
ACCEPTED_MEDIA_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/bmp", "image/webp")


# The most segments of a JPEG before its first scan, chunks of a PNG or WebP, and blocks of a GIF before its first
# frame: each costs a turn of a loop, here and in Pillow or libwebp, while no other thread runs. Restart markers in a
# scan and blocks of a frame are not walked, and do not count. libpng makes chunks of 8 KiB: 25 MiB are 3,200.
_MAX_PARTS: Final = 1 << 14
_SEARCHED: Final = 1 << 17  # bytes in a row, which take up to 1.4 ms
# How many times more pixels than ``max_pixels`` a JPEG may have. A decoder of one scan holds a few rows and the scaled
# image; one of several scans (progressive) holds 6 bytes a pixel as coefficients, whatever the scale.
_JPEG_ALLOWANCE: Final = 8
_JPEG_SCANS_ALLOWANCE: Final = 2
# Progressive JPEGs are made of 10 scans (CMYK: 18), each of which visits every pixel. A few bytes suffice for a scan,
# so without a limit a small file keeps a decoder busy for hours.
_JPEG_MAX_SCANS: Final = 24
_JPEG_SCAN: Final = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_JPEG_SCAN_BYTES: Final = 5
_JPEG_START_OF_SCAN: Final = 0xDA
_JPEG_APP1: Final = 0xE1
# A marker that a length follows: not TEM, RST0 to RST7 or SOI, nor a stuffed zero or a fill byte in a marker's place.
_JPEG_MARKER_BYTES: Final = 2
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# SOF0 to SOF15 and DHT, DQT, DRI; APP0 (JFIF) and APP14 (Adobe) say how the colours are encoded.
_JPEG_KEPT: Final = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE} - {0xC8, 0xCC})
_JPEG_DAC: Final = 0xCC
# Tables take a few KiB, a thumbnail in APP0 up to 64. Pillow reads every table that there is, in Python.
_JPEG_MAX_KEPT_BYTES: Final = 1 << 18

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_PNG_EXIF_KEYWORD: Final = b"Raw profile type exif\x00"
_MAX_EXIF_BYTES: Final = 1 << 18

_GIF_CONTROL: Final = b"!\xf9\x04"
_GIF_BLOCK: Final = re.compile(rb"[!,]")  # an extension or a frame; what else stands there is passed over

_EXIF_PREFIX: Final = b"Exif\x00\x00"
_ORIENTATION_TAG: Final = 0x0112  # EXIF 2.32, section 4.6.4


def open_image(data: bytes, max_pixels: int) -> tuple[str, ImageFile.ImageFile, int]:
    """Read an image's header and check its size.

    Args:
        data: The encoded image.
        max_pixels: The most pixels that may be decoded into memory. A JPEG may have more, see :func:`check_pixels`.

    Returns:
        The format's name, the image whose pixels are yet to be decoded, and its EXIF orientation, 1 to 8.

    Raises:
        ImageError: One of its three kinds, as :func:`gateway.images.decode_image` says.
    """
    name = _format(data)
    with reading(name):
        picture, exif = _OPENERS[name](data, max_pixels)
        return name, picture, _orientation(exif)


def _format(data: bytes) -> str:
    """The accepted format that the first bytes announce. What a file is called or says it is does not count."""
    if not data:
        raise InvalidImage("The image is empty: it has no bytes.")
    for name, signature in _SIGNATURES.items():
        if name in ACCEPTED_FORMATS and signature.match(data):
            return name
    accepted = f"Accepted are {', '.join(ACCEPTED_FORMATS[:-1])} and {ACCEPTED_FORMATS[-1]}."
    for name, signature in _REFUSED_SIGNATURES.items():
        if signature.match(data):
            raise UnsupportedImage(f"{name} images are not accepted. {accepted}")
    raise UnsupportedImage(f"This is not an image of a known format. {accepted}")


@contextmanager
def reading(name: str) -> Iterator[None]:
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


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Refuses an image of more pixels than ``max_pixels``."""
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"The image is {width} x {height} pixels, {width * height / 1e6:.1f} megapixels; "
            f"at most {max_pixels / 1e6:g} megapixels are accepted for its format."
        )


# The plugins' classes are called without Image.open: its check of the size warns, or raises, by a limit that belongs to
# the whole process, and it warns of malformed MPO, which is read as the JPEG that it starts with.


def _open_jpeg(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    header, exif, position = _jpeg_header(data)
    picture = JpegImagePlugin.JpegImageFile(io.BytesIO(joined([header, memoryview(data)[position:]])))

    components = data[position + 4]
    several_scans = "progressive" in picture.info or components < picture.layers
    allowed = max_pixels * (_JPEG_SCANS_ALLOWANCE if several_scans else _JPEG_ALLOWANCE)
    check_pixels(picture.size, allowed)
    if several_scans:
        scans = sum(1 for _ in islice(_found(_JPEG_SCAN, _JPEG_SCAN_BYTES, data, position), _MAX_PARTS))
        if scans == _MAX_PARTS or scans * picture.width * picture.height > _JPEG_MAX_SCANS * allowed:
            raise ImageTooLarge("The JPEG image has too many scans for its size.")
    return picture, exif


def _found(pattern: re.Pattern[bytes], size: int, data: bytes, position: int) -> Iterator[re.Match[bytes]]:
    """Matches from a position on, of so many bytes each, looked for in a part of the data at a time.

    No other thread runs while a pattern is searched, and 24 MB of fill bytes take a quarter of a second.
    """
    for start in range(position, len(data), _SEARCHED):
        yield from pattern.finditer(data, start, start + _SEARCHED + size - 1)
        if start + _SEARCHED < len(data):
            let_others_run()


def _jpeg_header(data: bytes) -> tuple[bytes, bytes, int]:
    """The segments before the first scan that make pixels, the EXIF among the others, and where that scan starts."""
    kept, exif, position = bytearray(data[:2]), b"", 2
    for _ in range(_MAX_PARTS):
        found = next(_found(_JPEG_MARKER, _JPEG_MARKER_BYTES, data, position), None)
        if found is None:
            raise EOFError("no scan")
        position = found.start()
        marker = data[position + 1]
        if marker == _JPEG_START_OF_SCAN:
            return bytes(kept), exif, position
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker == _JPEG_DAC:
            raise UnsupportedImage("JPEG images with arithmetic coding are not accepted: send it with Huffman coding.")
        if marker in _JPEG_KEPT:
            kept += data[position:end]
            if len(kept) > _JPEG_MAX_KEPT_BYTES:
                raise InvalidImage("The JPEG image has too large tables.")
        elif marker == _JPEG_APP1 and not exif and data.startswith(_EXIF_PREFIX, position + 4):
            exif = data[position + 4 : end]
        position = end
    raise InvalidImage("The JPEG image has too many segments.")


def _open_png(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    view = memoryview(data)
    kept: list[bytes | memoryview] = [_PNG_SIGNATURE]
    exif, position = None, len(_PNG_SIGNATURE)
    for _ in range(_MAX_PARTS):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(view[position:end])
        elif exif is None:
            exif = _png_exif(kind, view[position + 8 : end - 4])
        if kind == b"IEND":
            break
        position = end
    else:
        raise InvalidImage("The PNG image has too many chunks.")
    picture = PngImagePlugin.PngImageFile(io.BytesIO(joined(kept)))
    check_pixels(picture.size, max_pixels)
    return picture, exif or b""


def _png_exif(kind: bytes, body: memoryview) -> bytes | None:
    """EXIF, as the standard has it or in hexadecimal digits as ImageMagick writes it; None of any other chunk."""
    if kind == b"eXIf":
        return bytes(body[:_MAX_EXIF_BYTES])
    size = len(_PNG_EXIF_KEYWORD)
    if kind not in (b"tEXt", b"zTXt") or bytes(body[:size]) != _PNG_EXIF_KEYWORD:
        return None
    text = bytes(body[size : size + _MAX_EXIF_BYTES])
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_EXIF_BYTES)
        digits = text.split(b"\n", 3)[3:]
        return bytes.fromhex(b"".join(digits).replace(b"\n", b"").decode("ascii"))
    except (ValueError, zlib.error):
        return b""


def _open_gif(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    kept, blocks = [data[:position]], 0
    while True:
        found = next(_found(_GIF_BLOCK, 1, data, position), None)
        if found is None:
            raise EOFError("no frame")
        start = position = found.start()
        if found[0] == b",":
            break
        size, position = 1, position + 2
        while size:  # the empty block that ends an extension counts too
            size = data[position]
            position += 1 + size
            blocks += 1
            if blocks > _MAX_PARTS:
                raise InvalidImage("The GIF image has too many blocks before its first frame.")
        if data.startswith(_GIF_CONTROL, start):  # its transparent colour
            kept.append(data[start : start + 7] + b"\0")
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, position + 1)
    # The reader grows the canvas to hold the frame, and makes an image of its size as soon as it is opened.
    check_pixels((max(width, left + frame_width), max(height, top + frame_height)), max_pixels)
    return GifImagePlugin.GifImageFile(io.BytesIO(joined([*kept, memoryview(data)[position:]]))), b""


def _open_bmp(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    picture = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    check_pixels(picture.size, max_pixels)
    if any(tile.codec_name != "raw" for tile in picture.tile):
        raise UnsupportedImage("Run-length encoded BMP images are not accepted: send it as PNG.")
    return picture, b""


def _open_webp(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    # Checked here, because the reader makes two canvases when it is opened.
    check_pixels(_webp_size(data), max_pixels)
    _check_webp_chunks(data)
    picture = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    check_pixels(picture.size, max_pixels)
    return picture, picture.info.get("exif", b"")


def _check_webp_chunks(data: bytes) -> None:
    """Bounds what libwebp walks, and makes a frame of each, before it gives the first."""
    position, end = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    for _ in range(_MAX_PARTS):
        if position + 8 > end:
            return
        kind, length = struct.unpack_from("<4sI", data, position)
        position += 24 if kind == b"ANMF" else 8 + length + (length & 1)  # a frame's own chunks follow its header
    raise InvalidImage("The WebP image has too many chunks.")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas of a WebP file (RFC 9649, sections 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _open_heic(data: bytes, max_pixels: int) -> tuple[ImageFile.ImageFile, bytes]:
    meta = heic.metadata(data)
    if not heic.is_hevc_only(meta):
        raise UnsupportedImage("A HEIF image that is not coded with HEVC is not accepted: send it as JPEG.")
    for size in heic.coded_sizes(meta):
        check_pixels(size, max_pixels)
    picture = heic.open_heic(data)
    check_pixels(picture.size, max_pixels)
    return picture, b""  # the container says the rotation, and EXIF only repeats it


_HEIC_SIGNATURE: Final = re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.DOTALL)
_OPENERS: Final[dict[str, Callable[[bytes, int], tuple[ImageFile.ImageFile, bytes]]]] = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "GIF": _open_gif,
    "BMP": _open_bmp,
    "WebP": _open_webp,
    "HEIC": _open_heic,
}
_SIGNATURES: Final = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "WebP": re.compile(rb"RIFF....WEBP", re.DOTALL),
    "HEIC": _HEIC_SIGNATURE,
}
# Named in the refusal, since people do send them.
_REFUSED_SIGNATURES: Final = {
    "HEIC": _HEIC_SIGNATURE,  # where the extra is not installed
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
    tiff = exif.removeprefix(_EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == 3 and count == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
