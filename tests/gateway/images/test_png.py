import struct
import warnings
import zlib

from tests.gateway.images.samples import (
    RED,
    flat,
    png,
    png_chunk,
)


def test_broken_profiles_text_and_animation_data_of_a_png_do_not_matter() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    extra = [
        png_chunk(b"acTL", struct.pack(">II", 0, 0)),
        png_chunk(b"iCCP", b"profile\0\0" + bomb),
        png_chunk(b"zTXt", b"comment\0\0" + bomb),
        png_chunk(b"tEXt", b"transparency\0nonsense"),
        png_chunk(b"gAMA", b"")[:-1] + b"?",
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert flat(png(1, 1, b"\0" + bytes(RED), *extra)) == RED
    assert not caught
