"""PNG.

Pillow gets only the chunks that are needed for pixels. It lets text chunks replace the transparent colour, warns of
corrupt animations, uses the first frame of an animation instead of the image, and rejects files with a corrupt profile.
"""

import io
import struct
import zlib
from typing import Final

from PIL import PngImagePlugin

from gateway.images.errors import InvalidImage
from gateway.images.exif import read_orientation
from gateway.images.limits import check_pixels
from gateway.images.picture import PillowPicture

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_EXIF_KEYWORD: Final = b"Raw profile type exif\x00"  # as ImageMagick writes it
_MAX_EXIF_BYTES: Final = 1 << 18
# libpng writes chunks of 8 KiB: 3,200 for 25 MiB.
_MAX_CHUNKS: Final = 1 << 14


def open_png(data: bytes, max_pixels: int, bytes_per_pixel: float) -> PillowPicture:
    """Read a PNG's header, and its EXIF wherever it is; see `Format.open`.

    Raises:
        ImageTooLarge: The image has too many pixels.
        InvalidImage: It has too many chunks.
    """
    width, height = struct.unpack_from(">II", data, 16)
    check_pixels((width, height), max_pixels, bytes_per_pixel)
    view = memoryview(data)
    kept: list[bytes | memoryview] = [_SIGNATURE]
    exif, position = None, len(_SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        if position + 12 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if kind in _PIXEL_CHUNKS:
            kept.append(view[position:end])
        elif exif is None:
            exif = _read_exif(kind, view[position + 8 : end - 4])
        if kind == b"IEND":
            break
        position = end
    else:
        raise InvalidImage("The PNG image has too many chunks.")
    file = PngImagePlugin.PngImageFile(io.BytesIO(b"".join(kept)))
    check_pixels(file.size, max_pixels, bytes_per_pixel)  # there may be a second header, or no header at the start
    return PillowPicture(file, read_orientation(exif or b""))


def _read_exif(kind: bytes, body: memoryview) -> bytes | None:
    """EXIF from its own chunk, or from hexadecimal text; None for other chunks."""
    if kind == b"eXIf":
        return bytes(body[:_MAX_EXIF_BYTES])
    size = len(_EXIF_KEYWORD)
    if kind not in (b"tEXt", b"zTXt") or bytes(body[:size]) != _EXIF_KEYWORD:
        return None
    text = bytes(body[size : size + _MAX_EXIF_BYTES])
    try:
        if kind == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MAX_EXIF_BYTES)
        digits = text.split(b"\n", 3)[3:]
        return bytes.fromhex(b"".join(digits).replace(b"\n", b"").decode("ascii"))
    except (ValueError, zlib.error):
        return b""
