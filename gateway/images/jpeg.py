"""JPEG, and MPO: a JPEG followed by further pictures, as phones and 3D cameras write it.

Pillow gets only the segments that are needed for pixels. It parses the others in Python, warns of corrupt EXIF, and
takes quadratic time to join colour profiles.
"""

import hashlib
import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import Final

from PIL import Image, JpegImagePlugin

from gateway.images.errors import ImageTooLarge, InvalidImage, UnsupportedImage
from gateway.images.exif import EXIF_PREFIX, read_orientation
from gateway.images.limits import COSTLIEST_BYTES_PER_PIXEL, check_pixels

# Markers of ITU-T T.81, table B.1.
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # those between are DHT, JPG, DAC
_HUFFMAN_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended sequential, progressive
_PROGRESSIVE: Final = 0xC2
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = b"\xff\xd9"
_APP1: Final = 0xE1
# The frame, DHT, DQT and DRI; APP0 (JFIF) and APP14 (Adobe) say how the colours are encoded.
_KEPT: Final = _HUFFMAN_FRAMES | {0xC4, 0xDB, 0xDD, 0xE0, 0xEE}
# A marker that a length follows: not TEM, RST0 to RST7 or SOI, nor a stuffed zero or a fill byte in a marker's place.
_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_SCAN: Final = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")

_MAX_SEGMENTS: Final = 4096
# Tables take a few KiB, a thumbnail in APP0 up to 64. Pillow reads all tables in Python.
_MAX_KEPT_BYTES: Final = 1 << 18
# Progressive JPEGs are made of 10 scans (CMYK: 18), each of which visits every pixel. A few bytes suffice for a scan,
# so without a limit a small file keeps a decoder busy for hours.
_MAX_SCANS: Final = 24
_COEFFICIENT_BYTES: Final = 2
_FILLER: Final = b"\x55" * 64


@dataclass(frozen=True, slots=True)
class _Header:
    """The segments before the first scan.

    Attributes:
        kept: The start of the file, and the segments that are needed for pixels.
        exif: EXIF; empty if there is none.
        scan: Where the first scan starts in the file.
        progressive: Whether the frame is progressive.
        samples_per_pixel: Samples of all components for each pixel: 3 without chroma subsampling, 1.5 with 4:2:0.
    """

    kept: bytes
    exif: bytes
    scan: int
    progressive: bool
    samples_per_pixel: float


@dataclass(frozen=True, slots=True)
class _JpegPicture:
    """A JPEG that is decoded at 1/2, 1/4 or 1/8 of its size if that is enough."""

    file: JpegImagePlugin.JpegImageFile
    orientation: int
    coefficient_bytes: float
    max_pixels: int

    @property
    def size(self) -> tuple[int, int]:
        return self.file.size

    def load(self, shrink: float) -> tuple[Image.Image, int]:
        divisor = next(divisor for divisor in (8, 4, 2, 1) if shrink >= 2 * divisor or divisor == 1)
        size = self.file.size
        pixel_bytes = {"L": 1, "RGB": 4}.get(self.file.mode, 8)  # CMYK: 4, and 4 of the RGB that it is converted to
        check_pixels(size, self.max_pixels, self.coefficient_bytes + pixel_bytes / divisor**2)
        if divisor > 1:
            self.file.draft(None, (size[0] // divisor, size[1] // divisor))
        self.file.load()
        return self.file, divisor


@dataclass(frozen=True, slots=True)
class _EndlessPicture:
    """A JPEG without an end marker: written by a simple camera, or truncated.

    To distinguish the two, the data is decoded twice with different bytes after it. If the data is complete, the
    results are equal.
    """

    picture: _JpegPicture
    data: bytes

    @property
    def size(self) -> tuple[int, int]:
        return self.picture.size

    @property
    def orientation(self) -> int:
        return self.picture.orientation

    def load(self, shrink: float) -> tuple[Image.Image, int]:
        del shrink  # missing scans of a progressive JPEG would not show at a fraction of the size
        image, divisor = self.picture.load(1)
        with JpegImagePlugin.JpegImageFile(io.BytesIO(self.data + _FILLER + _END_OF_IMAGE)) as other:
            other.load()
            if _digest(other) != _digest(image):
                raise InvalidImage("The JPEG image is truncated or corrupt and cannot be decoded.")
        return image, divisor


def open_jpeg(data: bytes, max_pixels: int, bytes_per_pixel: float) -> _JpegPicture | _EndlessPicture:
    """Read a JPEG's header; see `Format.open`. Memory is that of a single scan, at a fraction of the size.

    Raises:
        UnsupportedImage: The image is neither baseline nor progressive with Huffman coding.
        ImageTooLarge: It has too many pixels even for scaled decoding, or too many scans for its size.
        InvalidImage: It has too many segments or tables.
    """
    header = _read_header(data)
    encoded = header.kept + data[header.scan :]
    endless = data.find(_END_OF_IMAGE, header.scan) < 0
    file = JpegImagePlugin.JpegImageFile(io.BytesIO(encoded + _END_OF_IMAGE if endless else encoded))

    coefficients = 0.0
    if header.progressive or data[header.scan + 4] < file.layers:  # several scans: all coefficients are kept in memory
        coefficients = _COEFFICIENT_BYTES * header.samples_per_pixel
        scans = sum(1 for _ in islice(_SCAN.finditer(data, header.scan), _MAX_SEGMENTS))
        allowed = max_pixels * COSTLIEST_BYTES_PER_PIXEL / coefficients
        if scans == _MAX_SEGMENTS or scans * file.width * file.height > _MAX_SCANS * allowed:
            raise ImageTooLarge("The JPEG image has too many scans for its size.")
    check_pixels(file.size, max_pixels, max(coefficients, bytes_per_pixel))
    picture = _JpegPicture(file, read_orientation(header.exif), coefficients, max_pixels)
    return _EndlessPicture(picture, encoded.rstrip(b"\xff")) if endless else picture


def _read_header(data: bytes) -> _Header:
    kept, exif, position = bytearray(data[:2]), b"", 2
    progressive, samples = False, 3.0
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, position)
        if match is None:
            raise EOFError("no scan")
        position = match.start()
        marker = data[position + 1]
        if marker == _START_OF_SCAN:
            return _Header(bytes(kept), exif, position, progressive, samples)
        if marker in _START_OF_FRAME:
            if marker not in _HUFFMAN_FRAMES:
                raise UnsupportedImage(
                    "JPEG images with arithmetic coding, lossless or hierarchical, are not accepted: send it as "
                    "baseline or progressive JPEG, or as PNG."
                )
            progressive, samples = marker == _PROGRESSIVE, _samples_per_pixel(data, position + 4)
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4])
        if marker in _KEPT:
            kept += data[position:end]
            if len(kept) > _MAX_KEPT_BYTES:
                raise InvalidImage("The tables of the JPEG image are too large.")
        elif marker == _APP1 and not exif and data.startswith(EXIF_PREFIX, position + 4):
            exif = data[position + 4 : end]
        position = end
    raise InvalidImage("The JPEG image has too many segments.")


def _samples_per_pixel(data: bytes, frame: int) -> float:
    """From the sampling factors of a frame header: ITU-T T.81, B.2.2."""
    factors = [divmod(data[frame + 7 + 3 * component], 16) for component in range(data[frame + 5])]
    maximum = max(across for across, _ in factors) * max(down for _, down in factors)
    return sum(across * down for across, down in factors) / maximum


def _digest(image: Image.Image) -> bytes:
    digest = hashlib.blake2b()
    step = max(1, (1 << 18) // image.width)
    for top in range(0, image.height, step):
        digest.update(image.crop((0, top, image.width, min(image.height, top + step))).tobytes())
    return digest.digest()
