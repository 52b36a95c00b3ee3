import warnings
import zlib

import numpy as np
import pytest

from gateway.images import (
    Target,
    decode_image,
)
from tests.gateway.images.samples import (
    BLUE,
    RED,
    difference,
    encoded,
    exif_of,
    photo,
    png,
    png_chunk,
)


def test_orientation_is_read_from_exif_after_the_pixels_and_from_imagemagicks_text() -> None:
    rows = b"\0" + bytes(RED) + bytes(BLUE)
    digits = (b"Exif\0\0" + exif_of(2).removeprefix(b"Exif\0\0")).hex()
    text = f"Raw profile type exif\0\nexif\n{len(digits) // 2:8}\n{digits}\n".encode()
    late = png(2, 1, rows)[:-12] + png_chunk(b"eXIf", exif_of(2).removeprefix(b"Exif\0\0")) + png_chunk(b"IEND", b"")
    packed = png_chunk(b"zTXt", text[:22] + b"\0" + zlib.compress(text[22:]))
    for data in (late, png(2, 1, rows, png_chunk(b"tEXt", text)), png(2, 1, rows, packed)):
        assert decode_image(data, Target(1, 2)).tolist() == [[list(BLUE), list(RED)]]


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0XX*\0\0\0\0\x08",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
        exif_of(6)[:36],
        exif_of(9),
        exif_of(0),
    ],
)
def test_broken_exif_is_ignored_without_a_warning(exif: bytes) -> None:
    upright = photo(40, 30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in ("JPEG", "PNG", "WEBP"):
            pixels = decode_image(encoded(upright, kind, exif=exif), Target(30, 40))
            assert difference(pixels, np.asarray(upright)) < 8
    assert not caught
