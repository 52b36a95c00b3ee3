"""The orientation in EXIF metadata.

Pillow parses all of EXIF for it, and reports corrupt data through Python's warnings, which are global.
"""

import struct
from typing import Final

EXIF_PREFIX: Final = b"Exif\x00\x00"
"""Prefix of EXIF in a JPEG segment."""

_ORIENTATION_TAG: Final = 0x0112  # EXIF 2.32, section 4.6.4
_SHORT: Final = 3  # the type of its value: TIFF 6.0, section 2


def read_orientation(exif: bytes) -> int:
    """The orientation in EXIF, which is a TIFF structure with or without `EXIF_PREFIX`.

    Returns:
        1 to 8; 1 (upright) if EXIF is corrupt or has no orientation.
    """
    tiff = exif.removeprefix(EXIF_PREFIX)
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and count == 1 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
