import numpy as np
import pytest

from gateway.images import (
    InvalidImage,
    Target,
    decode_image,
)
from tests.gateway.images.samples import (
    GIF_EXTENSIONS,
    ORDINARY,
    after,
    png_chunk,
)


def test_no_bytes_are_an_invalid_image() -> None:
    with pytest.raises(InvalidImage, match="empty") as caught:
        decode_image(b"", Target(8, 8))
    assert caught.value.code == "invalid_image"


@pytest.mark.parametrize(
    ("name", "position", "part", "message"),
    [
        ("jpeg", 2, b"\xff\xdb\0\2", "JPEG image has too many segments"),
        ("jpeg", 2, b"\xff\xe2\0\2", "JPEG image has too many segments"),
        ("jpeg", 2, b"\xff\xdb\0\x43\0" + b"\1" * 64, "tables of the JPEG image are too large"),
        ("png", 33, png_chunk(b"tEXt", b""), "PNG image has too many chunks"),
        ("png", 33, png_chunk(b"IDAT", b""), "PNG image has too many chunks"),
        ("gif", GIF_EXTENSIONS, b"!\xfe\0", "GIF image has too many blocks"),
        ("gif", GIF_EXTENSIONS, b"!\xfe" + b"\1a" * 20_000 + b"\0", "GIF image has too many blocks"),
        ("gif", GIF_EXTENSIONS, b"!\xf9\4\0\0\0\0\0", "GIF image has too many blocks"),
    ],
)
def test_a_file_of_countless_small_parts_is_refused(name: str, position: int, part: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        decode_image(after(ORDINARY[name], position, part), Target(8, 8))


@pytest.mark.parametrize(
    ("name", "position", "part", "size"),
    [
        ("jpeg", 2, b"\xff", 4 << 20),
        ("jpeg", 2, b"\xff\x01", 4 << 20),
        ("jpeg", 2, b"\xff\xe2\xff\xff" + b"\xff\xdb" * 0x7FFE + b"\0", 4 << 20),  # as a long colour profile
        ("png", 33, png_chunk(b"tEXt", bytes(1024)), 4 << 20),
        ("gif", GIF_EXTENSIONS, b"a", 4 << 20),
        ("gif", GIF_EXTENSIONS, b"!\xfe" + (b"\xff" + b"," * 255) * 64 + b"\0", 2 << 20),
    ],
)
def test_long_padding_and_metadata_do_not_change_the_pixels(name: str, position: int, part: bytes, size: int) -> None:
    padded = decode_image(after(ORDINARY[name], position, part, size), Target(60, 80))
    assert np.array_equal(padded, decode_image(ORDINARY[name], Target(60, 80)))
