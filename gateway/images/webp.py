"""WebP. Only the first frame of an animation is decoded."""

import io
import struct

from PIL import WebPImagePlugin

from gateway.images.exif import read_orientation
from gateway.images.limits import check_pixels
from gateway.images.picture import PillowPicture


def open_webp(data: bytes, max_pixels: int, bytes_per_pixel: float) -> PillowPicture:
    """Read a WebP's header; see `Format.open`."""
    check_pixels(_canvas(data), max_pixels, bytes_per_pixel)  # Pillow allocates two canvases when it opens the file
    file = WebPImagePlugin.WebPImageFile(io.BytesIO(data))
    check_pixels(file.size, max_pixels, bytes_per_pixel)
    return PillowPicture(file, read_orientation(file.info.get("exif", b"")))


def _canvas(data: bytes) -> tuple[int, int]:
    """Width and height (RFC 9649, sections 2.5 to 2.7)."""
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF
