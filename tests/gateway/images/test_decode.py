import io
import os
import random
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.images import (
    ACCEPTED_FORMATS,
    DEFAULT_MAX_PIXELS,
    FitMode,
    ImageError,
    ImageTooLarge,
    InvalidImage,
    Target,
    UnsupportedImage,
    decode_image,
    rewrite_image,
)
from gateway.images import formats as image_formats

ODD = Path(os.environ.get("TESTDATA", Path(__file__).parents[4] / "shared" / "testdata")) / "odd"
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


ORDINARY = {
    "jpeg": encoded(photo(320, 240), "JPEG", quality=95),
    "jpeg, progressive": encoded(photo(320, 240), "JPEG", quality=95, progressive=True),
    "jpeg, grey": encoded(photo(320, 240).convert("L"), "JPEG", quality=95),
    "jpeg, cmyk": encoded(photo(320, 240).convert("CMYK"), "JPEG", quality=95),
    "mpo": encoded(photo(320, 240), "MPO", save_all=True, append_images=[photo(32, 24)], quality=95),
    "png": encoded(photo(320, 240), "PNG"),
    "png, interlaced palette": encoded(photo(320, 240).quantize(256), "PNG"),
    "gif": encoded(photo(320, 240).quantize(256), "GIF"),
    "bmp": encoded(photo(320, 240), "BMP"),
    "webp": encoded(photo(320, 240), "WEBP", quality=95),
    "webp, lossless": encoded(photo(320, 240), "WEBP", lossless=True),
}


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


def test_broken_exif_inside_a_reserved_jpeg_segment_does_not_reach_pillow() -> None:
    exif = b"\xff\xe1\0\x18Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x1a\0\x05"
    data = ORDINARY["jpeg"]
    hidden = data[:2] + b"\xff\xf0" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (decode_image(hidden, Target(32, 32)) == decode_image(data, Target(32, 32))).all()
    assert not caught


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


def test_a_gif_frame_smaller_than_its_canvas_lies_on_white() -> None:
    data = encoded(Image.new("P", (2, 1), 1), "GIF", transparency=0, optimize=False)
    data = data[:6] + struct.pack("<HH", 4, 1) + data[10:]
    pixels = decode_image(data, Target(1, 4, interpolation="nearest"))
    assert pixels[0, 2:].tolist() == [list(WHITE)] * 2
    assert pixels[0, :2].max() < 255


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


def test_no_bytes_are_an_invalid_image() -> None:
    with pytest.raises(InvalidImage, match="empty") as caught:
        decode_image(b"", Target(8, 8))
    assert caught.value.code == "invalid_image"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"hello, I am no image", "not an image"),
        (b"<html>", "not an image"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF"),
        (encoded(photo(9, 9), "TIFF"), "TIFF"),
        (encoded(photo(32, 32), "ICO"), "Icon"),
        (encoded(photo(9, 9), "PPM"), "not an image"),
    ],
)
def test_another_format_is_refused_by_its_content_and_the_accepted_ones_are_named(data: bytes, message: str) -> None:
    with pytest.raises(UnsupportedImage, match=message) as caught:
        decode_image(data, Target(8, 8))
    assert all(name in str(caught.value) for name in ACCEPTED_FORMATS)
    assert caught.value.code == "unsupported_image"


def gif_claiming(width: int, height: int, frame: tuple[int, int, int, int]) -> bytes:
    control = b"!\xf9\x04\x08\0\0\0\0"  # disposal to background: the reader makes an image of the frame's size
    start = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + control
    return start + b"," + struct.pack("<4HB", *frame, 0) + b"\x02\x02\x4c\x01\0;"


def jpeg_claiming(width: int, height: int, **options: object) -> bytes:
    data = bytearray(encoded(photo(16, 16), "JPEG", **options))
    start = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = {
    "png": png(50_000, 50_000, b"\0"),
    "png, widest": png(2**31 - 1, 2**31 - 1, b"\0"),
    "gif": gif_claiming(50_000, 50_000, (0, 0, 1, 1)),
    "gif, frame beyond the canvas": gif_claiming(10, 10, (0, 0, 50_000, 50_000)),
    "gif, frame far away": gif_claiming(10, 10, (9_000, 9_000, 1, 1)),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "jpeg": jpeg_claiming(50_000, 50_000),
    "jpeg, progressive": jpeg_claiming(10_000, 10_000, progressive=True),
    "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<I", 49_999)[:3] * 2 + b"VP8 ",
    "webp, lossless": b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + bytes(9),
    "webp, lossy": b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_claims_too_many_pixels_is_refused(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImageTooLarge, match=r"megapixels; at most \d+ megapixels") as error:
            decode_image(BOMBS[name], Target(224, 224))
    assert error.value.code == "image_too_large"
    assert not caught


def test_the_limit_is_inclusive_and_a_jpeg_may_exceed_it_when_it_is_decoded_at_a_smaller_scale() -> None:
    large = photo(640, 480)
    assert decode_image(encoded(large, "PNG"), Target(8, 8), max_pixels=640 * 480).any()
    with pytest.raises(ImageTooLarge):
        decode_image(encoded(large, "PNG"), Target(8, 8), max_pixels=640 * 480 - 1)
    assert decode_image(encoded(large, "JPEG"), Target(60, 80), max_pixels=640 * 480 // 8).any()
    with pytest.raises(ImageTooLarge):
        decode_image(encoded(large, "JPEG"), Target(480, 640), max_pixels=640 * 480 // 8)
    with pytest.raises(ImageTooLarge):
        decode_image(encoded(large, "JPEG"), Target(60, 80), max_pixels=640 * 480 // 9)


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    data = encoded(photo(640, 480), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLarge, match="scans"):
        decode_image(data[:-2] + data[last:-2] * 5_000 + data[-2:], Target(8, 8), max_pixels=640 * 480)


def test_scans_are_counted_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photo(640, 480), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    monkeypatch.setattr(image_formats, "_JPEG_MAX_SCANS", 16)
    within = data[:-2] + data[last:-2] * 6 + data[-2:]
    over = data[:-2] + data[last:-2] * 7 + data[-2:]
    for window in (1, 2, 4, 5, 1_000, 1 << 20):
        monkeypatch.setattr(image_formats, "_SEARCHED", window)
        assert decode_image(within, Target(8, 8), max_pixels=640 * 480 // 2).any()
        with pytest.raises(ImageTooLarge, match="scans"):
            decode_image(over, Target(8, 8), max_pixels=640 * 480 // 2)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "BMP", "WebP"])
def test_headers_are_read_wherever_their_parts_are(format_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(64, 48), format_name, exif=exif, comment=b"c" * 300)
    expected = decode_image(data, Target(8, 8))
    for window in (1, 2, 3, 7, 100):
        monkeypatch.setattr(image_formats, "_SEARCHED", window)
        np.testing.assert_array_equal(decode_image(data, Target(8, 8)), expected)


def after(data: bytes, position: int, part: bytes, size: int = 4 << 20) -> bytes:
    """The file with ``size`` bytes of one part, repeated, put in."""
    return data[:position] + part * (size // len(part)) + data[position:]


GIF_EXTENSIONS = 13 + 3 * 256  # where they start in a GIF of 256 colours


@pytest.mark.parametrize(
    ("name", "position", "part", "message"),
    [
        ("jpeg", 2, b"\xff\xdb\0\2", "JPEG image has too many segments"),
        ("jpeg", 2, b"\xff\xe2\0\2", "JPEG image has too many segments"),
        ("jpeg", 2, b"\xff\xdb\0\x43\0" + b"\1" * 64, "JPEG image has too large tables"),
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


@pytest.mark.parametrize("part", [b"ZZZZ" + bytes(4), b"ANMF" + struct.pack("<I", 16) + bytes(16)])
def test_a_webp_of_countless_chunks_is_refused_and_what_follows_it_passed_over(part: bytes) -> None:
    more = part * 20_000
    grown = struct.pack("<I", len(ORDINARY["webp"]) - 8 + len(more))
    with pytest.raises(InvalidImage, match="WebP image has too many chunks"):
        decode_image(ORDINARY["webp"][:4] + grown + ORDINARY["webp"][8:] + more, Target(8, 8))
    assert decode_image(ORDINARY["webp"] + more, Target(8, 8)).shape == (8, 8, 3)


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


def test_run_length_encoded_bmp_is_refused() -> None:
    header = struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 58, 40, 8, 1, 1, 8, 1, 0, 0, 0, 1, 0)
    with pytest.raises(UnsupportedImage, match="BMP"):
        decode_image(b"BM" + header + bytes(4) + b"\x08\0\0\x01", Target(8, 8))


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (3, 60_000)])
def test_extreme_aspect_ratios_keep_their_colour(size: tuple[int, int], fit: FitMode) -> None:
    for kind, tolerance in (("PNG", 0), ("JPEG", 3)):
        pixels = decode_image(encoded(Image.new("RGB", size, (200, 100, 50)), kind, quality=95), Target(64, 48, fit))
        lit = pixels[pixels.any(axis=-1)]
        assert len(lit) >= 48
        assert np.abs(lit.astype(int) - (200, 100, 50)).max() <= tolerance


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


@settings(max_examples=200, deadline=None)
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


@settings(max_examples=300, deadline=None)
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


def test_threads_get_the_pixels_that_one_thread_gets() -> None:
    target = Target(64, 64)
    alone = {name: decode_image(data, target) for name, data in ORDINARY.items()}
    names = list(ORDINARY) * 12
    with ThreadPoolExecutor(8) as pool:
        for name, pixels in zip(names, pool.map(lambda name: decode_image(ORDINARY[name], target), names), strict=True):
            assert (pixels == alone[name]).all()


PEAK = """
import resource, sys
from gateway.images import ImageError, Target, decode_image
unit = 1024 if sys.platform == "linux" else 1
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
before = peak()
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    for fit in ("crop", "pad", "squash"):
        try:
            decode_image(data, Target(224, 224, fit), max_pixels=int(sys.argv[1]))
        except ImageError:
            pass
print(peak() - before)
"""


def test_memory_is_bounded_by_max_pixels_whatever_a_file_claims(tmp_path: Path) -> None:
    max_pixels, side = 4_000_000, 2_000
    files = BOMBS | {
        "tall": png(1, max_pixels, bytes(4 * max_pixels)),
        "wide": png(max_pixels, 1, bytes(3 * max_pixels + 1)),
        "rgba": png(side, side, bytes(side * (4 * side + 1)), colours=6),
        "webp, flat": encoded(Image.new("RGBA", (side, side)), "WEBP", lossless=True, method=0),
        "text": png(1, 1, bytes(4), *[png_chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(10**7)))] * 200),
    }
    paths = []
    for number, data in enumerate(files.values()):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(data)
    run = [sys.executable, "-W", "error", "-c", PEAK, str(max_pixels), *map(str, paths)]
    answer = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60, cwd=Path(__file__).parents[3])
    assert int(answer.stdout) < 20 * max_pixels + 16_000_000
    assert DEFAULT_MAX_PIXELS * 20 < 1_000_000_000


@pytest.mark.parametrize(
    "arguments", [(0, 8), (8, -1), (8, 8, "stretch"), (8, 8, "crop", "area")], ids=["height", "width", "fit", "filter"]
)
def test_a_target_that_makes_no_sense_is_refused(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Target(*arguments)


@pytest.mark.skipif(not ODD.is_dir(), reason=f"no test data at {ODD}")
class TestOddFiles:
    def test_every_odd_file_gives_pixels_or_a_clear_error(self) -> None:
        refused = {}
        paths = sorted(path for path in ODD.rglob("*") if path.is_file())
        for path in paths:
            try:
                assert decode_image(path.read_bytes(), Target(64, 64)).shape == (64, 64, 3)
            except ImageError as error:
                refused[path.name] = type(error)
        assert refused.pop("broken_data_stream.png") is InvalidImage
        assert refused.pop("truncated_jpeg.jpg") is InvalidImage
        assert refused.pop("decompression_bomb.gif") is ImageTooLarge
        assert set(refused.values()) == {UnsupportedImage}
        accepted = {".jpg", ".mpo", ".png", ".gif", ".bmp", ".webp"}
        assert not [name for name in refused if Path(name).suffix in accepted]
        assert len(paths) - len(refused) > 60

    @pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
    def test_orientation_variants_agree_with_their_upright_twin(self, fit: FitMode) -> None:
        target = Target(96, 160, fit)
        upright = decode_image((ODD / "exif_orientation/Landscape_1.jpg").read_bytes(), target)
        for number in range(2, 9):
            data = (ODD / f"exif_orientation/Landscape_{number}.jpg").read_bytes()
            assert difference(decode_image(data, target), upright) < 2, number  # the number is written in the photo
        for suffix in ("jpg", "webp"):
            upright = decode_image((ODD / f"pillow/hopper.{suffix}").read_bytes(), target)
            for number in (2, 4, 6, 8):
                data = (ODD / f"pillow/hopper_orientation_{number}.{suffix}").read_bytes()
                assert difference(decode_image(data, target), upright) < 5, (number, suffix)


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (640, 480)), ((3000, 1500), (1024, 512)), ((1, 9000), (1, 1024))]
)
def test_a_reencoded_image_is_an_upright_baseline_jpeg_of_bounded_size(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", size[::-1], (200, 30, 60)).save(buffer, "WebP" if max(size) < 9000 else "PNG", exif=exif)
    with Image.open(io.BytesIO(rewrite_image(buffer.getvalue()))) as made:
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", expected)
        assert "exif" not in made.info
        assert np.abs(np.asarray(made).reshape(-1, 3).mean(axis=0) - (200, 30, 60)).max() < 3


def test_what_cannot_be_decoded_cannot_be_reencoded() -> None:
    with pytest.raises(UnsupportedImage):
        rewrite_image(b"no image")
