import struct

import pytest

from gateway.images import (
    Target,
    UnsupportedImage,
    decode_image,
)


def test_run_length_encoded_bmp_is_refused() -> None:
    header = struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 58, 40, 8, 1, 1, 8, 1, 0, 0, 0, 1, 0)
    with pytest.raises(UnsupportedImage, match="BMP"):
        decode_image(b"BM" + header + bytes(4) + b"\x08\0\0\x01", Target(8, 8))
