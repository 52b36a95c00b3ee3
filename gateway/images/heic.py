"""HEIC photos, which phones make, where the extra `heic` is installed: their size before a pixel is decoded.

A HEIC file says its size twice: in the container, which is what it shows, and in the parameter sets of the video codec,
which is what its decoder allocates. Both are read here.
"""

import io
import struct
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from PIL import ImageFile

AVAILABLE: Final = find_spec("pillow_heif") is not None
"""Whether HEIC can be decoded."""

# Item types of the codecs that libheif may know besides.
_OTHER_CODECS: Final = (b"av01", b"vvc1", b"avc1", b"jpeg", b"j2k1", b"unci")
_SPS_NAL_TYPE: Final = 33  # H.265, table 7-1
_PROFILE_BITS: Final = 88  # profile_tier_level without the level: H.265, section 7.3.3
_LEVEL_BITS: Final = 8


def open_heic(data: bytes) -> ImageFile.ImageFile:
    """The primary image, its pixels yet to be decoded; the container's rotation is applied when they are."""
    from pillow_heif import HeifImageFile

    picture: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return picture


def metadata(data: bytes) -> bytes:
    """The file's ``meta`` box (ISO 14496-12, section 8.11.1), which describes every image in it; empty without one."""
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"meta":
            return data[position : position + size] if size else data[position:]
        if size == 1:  # a 64-bit size follows
            (size,) = struct.unpack_from(">Q", data, position + 8)
        if size < 8:
            break
        position += size
    return b""


def is_hevc_only(meta: bytes) -> bool:
    """Whether HEVC, whose sizes `coded_sizes` knows, is the only codec in a ``meta`` box."""
    return b"hvcC" in meta and not any(codec in meta for codec in _OTHER_CODECS)


def coded_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height that each decoder configuration (``hvcC``, ISO 14496-15, section 8.3.3) asks for.

    Args:
        data: The ``meta`` box.

    Raises:
        IndexError, struct.error: A configuration is cut off.
    """
    position = data.find(b"hvcC")
    while position >= 0:
        position += 4
        arrays, at = data[position + 22], position + 23
        for _ in range(arrays):
            kind, count = struct.unpack_from(">BH", data, at)
            at += 3
            for _ in range(count):
                (length,) = struct.unpack_from(">H", data, at)
                if kind & 0x3F == _SPS_NAL_TYPE:
                    yield _sps_size(data[at + 2 : at + 2 + length])
                at += 2 + length
        position = data.find(b"hvcC", position)


def _sps_size(unit: bytes) -> tuple[int, int]:
    """Width and height in a sequence parameter set: H.265, section 7.3.2.2."""
    bits = _Bits(unit[2:].replace(b"\0\0\3", b"\0\0"))
    bits.skip(4)
    sub_layers = bits.read(3)
    bits.skip(1 + _PROFILE_BITS + _LEVEL_BITS)
    present = [(bits.read(1), bits.read(1)) for _ in range(8 if sub_layers else 0)][:sub_layers]
    for profile, level in present:
        bits.skip(profile * _PROFILE_BITS + level * _LEVEL_BITS)
    bits.golomb()
    if bits.golomb() == 3:  # 4:4:4 says whether its planes are coded apart
        bits.skip(1)
    return bits.golomb(), bits.golomb()


class _Bits:
    """Reads bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, count: int) -> int:
        value = 0
        for _ in range(count):
            byte = self._data[self._position >> 3]
            value = value << 1 | byte >> (7 - (self._position & 7)) & 1
            self._position += 1
        return value

    def skip(self, count: int) -> None:
        self._position += count

    def golomb(self) -> int:
        """An unsigned Exp-Golomb code: H.265, section 9.2."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
