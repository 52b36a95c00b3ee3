"""Files that the tests of image decoding generate."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from gateway.images import (
    Target,
    decode_image,
)

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


INVERSE = {  # how an upright image is stored when its EXIF orientation is the key
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


Pixels = npt.NDArray[np.uint8]


@cache
def photo(width: int, height: int) -> Image.Image:
    """A smooth picture without symmetries, with a dark corner and some detail."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    channels = [120 + 100 * np.sin(5 * x + 3 * y), 255 * x, 200 * y + 20 * np.sin(40 * x)]
    pixels = np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
    pixels[: height // 5, : width // 5] = (10, 30, 20)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a description that comes first"
    exif[0x0112] = orientation
    return exif.tobytes()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, rows: bytes, *extra: bytes, depth: int = 8, colours: int = 2) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def difference(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def flat(data: bytes) -> tuple[int, ...]:
    """The one colour of an image, decoded."""
    pixels = decode_image(data, Target(8, 8)).reshape(-1, 3)
    assert (pixels == pixels[0]).all()
    return tuple(int(value) for value in pixels[0])


PALETTE = photo(320, 240).quantize(256, Image.Quantize.FASTOCTREE)

ORDINARY = {
    "jpeg": encoded(photo(320, 240), "JPEG", quality=95),
    "jpeg, progressive": encoded(photo(320, 240), "JPEG", quality=95, progressive=True),
    "jpeg, grey": encoded(photo(320, 240).convert("L"), "JPEG", quality=95),
    "jpeg, cmyk": encoded(photo(320, 240).convert("CMYK"), "JPEG", quality=95),
    "mpo": encoded(photo(320, 240), "MPO", save_all=True, append_images=[photo(32, 24)], quality=95),
    "png": encoded(photo(320, 240), "PNG"),
    "png, palette": encoded(PALETTE, "PNG"),
    "gif": encoded(PALETTE, "GIF"),
    "bmp": encoded(photo(320, 240), "BMP"),
    "webp": encoded(photo(320, 240), "WEBP", quality=95),
    "webp, lossless": encoded(photo(320, 240), "WEBP", lossless=True),
}


def gif_claiming(width: int, height: int, frame: tuple[int, int, int, int]) -> bytes:
    control = b"!\xf9\x04\x08\0\0\0\0"  # disposal to background: the reader makes an image of the frame's size
    start = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + control
    return start + b"," + struct.pack("<4HB", *frame, 0) + b"\x02\x02\x4c\x01\0;"


def jpeg_claiming(width: int, height: int, **options: object) -> bytes:
    data = bytearray(encoded(photo(16, 16), "JPEG", **options))
    start = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


GIF_EXTENSIONS = 13 + 3 * 256  # where they start in a GIF of 256 colours


def after(data: bytes, position: int, part: bytes, size: int = 4 << 20) -> bytes:
    """The file with ``size`` bytes of one part, repeated, put in."""
    return data[:position] + part * (size // len(part)) + data[position:]
