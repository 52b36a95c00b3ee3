import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.images import (
    FitMode,
    ImageError,
    ImageTooLarge,
    InvalidImage,
    Target,
    UnsupportedImage,
    decode_image,
)
from testing import TESTDATA
from tests.gateway.images.samples import (
    BLUE,
    INVERSE,
    ORDINARY,
    RED,
    WHITE,
    difference,
    encoded,
    exif_of,
    flat,
    photo,
    png,
    png_chunk,
)


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_every_accepted_format_gives_the_same_picture(name: str, wrap: type) -> None:
    pixels = decode_image(wrap(ORDINARY[name]), Target(90, 120))
    assert pixels.shape == (90, 120, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    expected = photo(320, 240).convert("L" if "grey" in name else "RGB").convert("RGB")
    assert difference(pixels, np.asarray(expected.resize((120, 90), Image.Resampling.BILINEAR))) < 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize(("kind", "width"), [("JPEG", 800), ("JPEG", 200), ("PNG", 200), ("WEBP", 200)])
def test_orientation_is_applied_before_the_fit(orientation: int, fit: FitMode, kind: str, width: int) -> None:
    upright = photo(width, width * 3 // 4)
    stored = upright.transpose(INVERSE[orientation]) if orientation > 1 else upright
    options = {"lossless": True} if kind == "WEBP" else {"quality": 98, "subsampling": 0}
    target = Target(60, 110, fit)
    pixels = decode_image(encoded(stored, kind, exif=exif_of(orientation), **options), target)
    assert difference(pixels, decode_image(encoded(upright, "BMP"), target)) < 1.5


@pytest.mark.parametrize(
    ("fit", "columns"), [("crop", [[0, 255, 0]] * 4), ("pad", None), ("squash", [RED, [0, 255, 0], [0, 255, 0], BLUE])]
)
def test_a_wide_photo_is_cropped_padded_or_squashed(fit: FitMode, columns: list[list[int]] | None) -> None:
    wide = Image.new("RGB", (400, 100), (0, 255, 0))
    wide.paste(RED, (0, 0, 100, 100))
    wide.paste(BLUE, (300, 0, 400, 100))
    pixels = decode_image(encoded(wide, "PNG"), Target(4, 4, fit, "nearest"))
    if columns is None:
        assert not pixels[[0, 3]].any() or not pixels[[0, 2, 3]].any()
        assert np.abs(pixels[1].astype(int) - [RED, (0, 255, 0), (0, 255, 0), BLUE]).max() <= 1
    else:
        assert pixels.tolist() == [[list(column) for column in columns]] * 4


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_shrinking_antialiases(interpolation: str) -> None:
    board = Image.fromarray((np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8))
    pixels = decode_image(encoded(board, "PNG"), Target(32, 32, "crop", interpolation))  # type: ignore[arg-type]
    assert np.abs(pixels.astype(int) - 127).max() <= 4


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1200, 900), (1201, 903), (2003, 611)])
def test_scaled_decoding_agrees_with_full_decoding(fit: FitMode, size: tuple[int, int]) -> None:
    data = encoded(photo(*size), "JPEG", quality=92)
    full = encoded(Image.open(io.BytesIO(data)), "BMP")  # which has no scaled decoding
    target = Target(96, 96, fit)
    assert difference(decode_image(data, target), decode_image(full, target)) < 1


def test_transparency_is_composited_over_white() -> None:
    size = (8, 8)
    assert flat(encoded(Image.new("RGBA", size, (255, 0, 0, 0)), "PNG")) == WHITE
    assert flat(encoded(Image.new("RGBA", size, (255, 0, 0, 51)), "PNG")) == (255, 204, 204)
    assert flat(encoded(Image.new("RGBA", size, (255, 0, 0, 255)), "WEBP", lossless=True)) == RED
    assert flat(encoded(Image.new("LA", size, (0, 51)), "PNG")) == (204, 204, 204)
    assert flat(encoded(Image.new("L", size, 7), "PNG", transparency=7)) == WHITE
    assert flat(encoded(Image.new("L", size, 8), "PNG", transparency=7)) == (8, 8, 8)
    assert flat(encoded(Image.new("RGB", size, RED), "PNG", transparency=RED)) == WHITE
    assert flat(encoded(Image.new("1", size, 0), "PNG", transparency=0)) == WHITE
    palette = Image.new("P", size, 1)
    palette.putpalette([*BLUE, *RED])
    assert flat(encoded(palette, "PNG", transparency=b"\xff\x33")) == (255, 204, 204)
    assert flat(encoded(palette, "GIF", transparency=1)) == WHITE
    assert flat(encoded(palette, "GIF")) == RED


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    assert flat(encoded(Image.fromarray(np.full((8, 8), 0x8012, np.uint16)), "PNG")) == (0x80, 0x80, 0x80)
    rows = (b"\0" + b"\x40\x99" * 8) * 8
    assert flat(png(8, 8, rows, depth=16, colours=0)) == (0x40, 0x40, 0x40)
    assert flat(png(8, 8, rows, png_chunk(b"tRNS", b"\x40\x99"), depth=16, colours=0)) == WHITE
    assert flat(png(8, 8, (b"\0" + b"\x40\x99\x20\x01\xff\xff" * 8) * 8, depth=16)) == (0x40, 0x20, 0xFF)


def test_one_bit_images_are_smoothed_when_shrunk() -> None:
    board = Image.fromarray(np.indices((64, 64)).sum(axis=0) % 2 == 0)
    assert board.mode == "1"
    assert np.abs(decode_image(encoded(board, "PNG"), Target(8, 8)).astype(int) - 127).max() <= 4


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in (RED, BLUE, WHITE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    assert flat(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)) == RED


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 60_000)])
def test_extreme_aspect_ratios_keep_their_colour(size: tuple[int, int], fit: FitMode) -> None:
    for kind, tolerance in (("PNG", 0), ("JPEG", 3)):
        pixels = decode_image(encoded(Image.new("RGB", size, (200, 100, 50)), kind, quality=95), Target(64, 48, fit))
        lit = pixels[pixels.any(axis=-1)]
        assert len(lit) >= 48
        assert np.abs(lit.astype(int) - (200, 100, 50)).max() <= tolerance


@pytest.mark.parametrize("name", [name for name in ORDINARY if name != "mpo"])
def test_a_truncated_image_is_invalid_wherever_it_is_cut(name: str) -> None:
    data = ORDINARY[name]
    # The last 24 bytes need not hold pixels: the end marker, checksums.
    cuts = {3, 8, 20, 40, *range(60, len(data) - 24, len(data) // 20), len(data) - 24}
    for cut in cuts:
        with pytest.raises(ImageError) as caught:
            decode_image(data[:cut], Target(32, 32))
        if cut >= 20:
            assert type(caught.value) is InvalidImage, cut
            assert str(caught.value).endswith("is truncated or corrupt and cannot be decoded.")


def test_restart_markers_idat_chunks_and_blocks_of_a_frame_are_as_many_as_pixels_need() -> None:
    noise = Image.effect_noise((2048, 2048), 90)
    jpeg = encoded(noise, "JPEG", restart_marker_blocks=1)
    gif = encoded(noise, "GIF")
    assert sum(jpeg.count(bytes([0xFF, 0xD0 + n])) for n in range(8)) > 1 << 14
    assert len(gif) > 255 << 14
    for data in (jpeg, gif):
        assert decode_image(data, Target(8, 8)).any()
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(noise)))
    small = b"".join(png_chunk(b"IDAT", rows[i : i + 512]) for i in range(0, len(rows), 512))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2048, 2048, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + small + png_chunk(b"IEND", b"")
    assert np.array_equal(decode_image(data, Target(8, 8)), decode_image(encoded(noise, "PNG"), Target(8, 8)))


def check_that_it_is_decoded_or_refused(data: bytes | bytearray) -> None:
    try:
        pixels = decode_image(data, Target(16, 16), max_pixels=1_000_000)
    except (UnsupportedImage, InvalidImage, ImageTooLarge) as refused:
        message = str(refused)
    else:
        assert pixels.shape == (16, 16, 3)
        return
    assert message.endswith(".")
    assert not any(word in message for word in ("0x", "<", "PIL", "/", "Error"))


@settings(max_examples=100)
@given(st.sampled_from([b"", *[data[:30] for data in ORDINARY.values()]]), st.binary(max_size=400))
def test_any_bytes_give_pixels_or_an_image_error(start: bytes, rest: bytes) -> None:
    check_that_it_is_decoded_or_refused(start + rest)


SMALL = [
    encoded(photo(24, 18), "JPEG", exif=exif_of(6)),
    encoded(photo(24, 18), "JPEG", progressive=True),
    encoded(photo(24, 18).convert("CMYK"), "JPEG"),
    encoded(photo(24, 18), "PNG", exif=exif_of(3)),
    encoded(photo(24, 18).quantize(16), "PNG", transparency=3),
    encoded(
        photo(24, 18).quantize(16), "GIF", transparency=3, save_all=True, append_images=[photo(24, 18).quantize(8)]
    ),
    encoded(photo(24, 18), "BMP"),
    encoded(photo(24, 18).convert("RGBA"), "WEBP", exif=exif_of(8)),
]


@settings(max_examples=150)
@given(st.sampled_from(SMALL), st.integers(0, 2**32), st.integers(1, 8))
def test_mutated_images_give_pixels_or_an_image_error(data: bytes, seed: int, changes: int) -> None:
    source, mutated = random.Random(seed), bytearray(data)  # noqa: S311
    for _ in range(changes):
        position = source.randrange(len(mutated) + 1)
        match source.randrange(4):
            case 0:
                mutated[position : position + 1] = [source.randrange(256)]
            case 1:
                del mutated[position : position + source.randrange(1, 9)]
            case 2:
                mutated[position:position] = mutated[position : position + source.randrange(1, 40)]
            case 3:
                mutated[position : position + 2] = source.choice([b"\xff\xff", b"\0\0", b"\x7f\xff", b"\xff\xda"])
    check_that_it_is_decoded_or_refused(mutated)


@pytest.mark.skipif(not (TESTDATA / "odd").is_dir(), reason=f"no test data at {TESTDATA}")
class TestOddFiles:
    def test_every_odd_file_gives_pixels_or_a_clear_error(self) -> None:
        refused = {}
        paths = sorted(path for path in (TESTDATA / "odd").rglob("*") if path.is_file())
        for path in paths:
            try:
                assert decode_image(path.read_bytes(), Target(64, 64)).shape == (64, 64, 3)
            except ImageError as error:
                refused[path.name] = type(error)
        assert refused.pop("broken_data_stream.png") is InvalidImage
        assert "truncated_jpeg.jpg" not in refused  # lacks half of its end marker only
        assert refused.pop("decompression_bomb.gif") is ImageTooLarge
        assert set(refused.values()) == {UnsupportedImage}
        accepted = {".jpg", ".mpo", ".png", ".gif", ".bmp", ".webp"}
        assert not [name for name in refused if Path(name).suffix in accepted]
        assert len(paths) - len(refused) > 60

    @pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
    def test_orientation_variants_agree_with_their_upright_twin(self, fit: FitMode) -> None:
        target = Target(96, 160, fit)
        upright = decode_image((TESTDATA / "odd" / "exif_orientation/Landscape_1.jpg").read_bytes(), target)
        for number in range(2, 9):
            data = (TESTDATA / "odd" / f"exif_orientation/Landscape_{number}.jpg").read_bytes()
            assert difference(decode_image(data, target), upright) < 2, number  # the number is written in the photo
        for suffix in ("jpg", "webp"):
            upright = decode_image((TESTDATA / "odd" / f"pillow/hopper.{suffix}").read_bytes(), target)
            for number in (2, 4, 6, 8):
                data = (TESTDATA / "odd" / f"pillow/hopper_orientation_{number}.{suffix}").read_bytes()
                assert difference(decode_image(data, target), upright) < 5, (number, suffix)
