from __future__ import annotations

import io
import struct
import time
from contextlib import suppress
from dataclasses import replace

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gateway.images import ImageError, ImageTooLarge, InvalidImage, Target, UnsupportedImage, decode_image, formats
from testing import TESTDATA

pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra `heic`")

TARGET = Target(32, 48, "squash")


def picture(width: int = 96, height: int = 64) -> Image.Image:
    """Red at the left, blue at the right."""
    image = Image.new("RGB", (width, height), (220, 20, 20))
    image.paste((20, 20, 220), (width // 2, 0, width, height))
    return image


def heic_file(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, **options)
    return buffer.getvalue()


def colours(pixels: np.ndarray) -> tuple[str, str]:
    """Main colours of the left and the right edge."""
    left, right = pixels[:, 2].mean(axis=0), pixels[:, -3].mean(axis=0)
    return ("red" if left[0] > left[2] else "blue", "red" if right[0] > right[2] else "blue")


def test_a_heic_photo_is_decoded() -> None:
    pixels = decode_image(heic_file(picture()), TARGET)
    assert pixels.shape == (32, 48, 3)
    assert colours(pixels) == ("red", "blue")
    assert np.allclose(pixels[16, 4], (220, 20, 20), atol=12)


ABSURD_CPU_SECONDS = 10
"""Two hundred times what the costliest of these files takes: enough for a slow processor."""


@pytest.mark.parametrize(
    ("orientation", "expected"), [(1, ("red", "blue")), (3, ("blue", "red")), (2, ("blue", "red"))]
)
def test_the_rotation_of_the_container_is_applied_once(orientation: int, expected: tuple[str, str]) -> None:
    image = picture()
    exif = Image.Exif()  # of its own: pillow-heif turns the pixels of an image that has one
    exif[0x0112] = orientation
    assert colours(decode_image(heic_file(image, exif=exif.tobytes()), TARGET)) == expected


def test_a_rotated_photo_stands_upright() -> None:
    image = picture(64, 96)
    exif = Image.Exif()  # of its own: pillow-heif turns the pixels of an image that has one
    exif[0x0112] = 6
    upright = decode_image(heic_file(image, exif=exif.tobytes()), TARGET)
    top, bottom = upright[2].mean(axis=0), upright[-3].mean(axis=0)
    assert (top[0] > top[2], bottom[2] > bottom[0]) == (True, True)


def test_transparency_is_over_white() -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert decode_image(heic_file(image), TARGET).min() > 240


def ispe(width: int, height: int) -> bytes:
    """The property that says an item's size."""
    return b"ispe" + bytes(4) + struct.pack(">II", width, height)


def noise(width: int, height: int) -> Image.Image:
    return Image.effect_noise((width, height), 60).convert("RGB")


def test_more_pixels_than_the_limit_are_refused_by_the_header() -> None:
    data = heic_file(picture(640, 480))
    assert decode_image(data, TARGET, max_pixels=100_000).any()
    with pytest.raises(ImageTooLarge, match="640 x 480"):
        decode_image(data, TARGET, max_pixels=99_000)
    with pytest.raises(ImageTooLarge):
        decode_image(data[:900], TARGET, max_pixels=99_000)


def test_a_pixel_costs_what_its_chroma_format_and_transparency_take() -> None:
    full, transparent = heic_file(picture(640, 480), chroma=444), heic_file(picture(640, 480).convert("RGBA"))
    for data in (full, transparent):
        assert decode_image(data, TARGET, max_pixels=640 * 480 * 9 // 20 + 1).any()
        with pytest.raises(ImageTooLarge):
            decode_image(data, TARGET, max_pixels=640 * 480 * 8 // 20)


@pytest.mark.parametrize("claimed", [(8, 8), (576, 416), (640, 960)])
def test_a_coded_frame_of_another_size_than_the_container_says_is_refused(claimed: tuple[int, int]) -> None:
    data = heic_file(picture(640, 480))
    lying = data.replace(ispe(640, 480), ispe(*claimed))
    assert lying != data
    with pytest.raises(InvalidImage):
        decode_image(lying, TARGET)


def test_a_photo_made_of_tiles_is_decoded() -> None:
    image = noise(500, 300)
    tiled = decode_image(heic_file(image, tile_size=128, quality=90), Target(300, 500))
    assert np.abs(tiled.astype(int) - np.asarray(image)).mean() < 12


def test_tiles_with_far_more_pixels_than_the_image_are_refused() -> None:
    data = heic_file(noise(500, 300), tile_size=128)
    lying = data.replace(ispe(128, 128), ispe(4096, 4096))
    assert lying != data
    with pytest.raises(InvalidImage, match=r"500 x 300 pixels has tiles with [\d.]+ megapixels"):
        decode_image(lying, TARGET)


def test_only_the_codec_of_the_primary_image_counts() -> None:
    path = TESTDATA / "reports" / "heic_with_jpeg_item.heic"
    if not path.is_file():
        pytest.skip(f"no test data at {path}")
    assert decode_image(path.read_bytes(), TARGET).shape == (32, 48, 3)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def container(*inner: bytes, version: bytes = bytes(4)) -> bytes:
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", version, *inner)


PITM = box(b"pitm", bytes(4), b"\0\1")


def iinf(*items: tuple[int, bytes]) -> bytes:
    entries = [box(b"infe", b"\2\0\0\0", struct.pack(">HH", item, 0), kind, b"\0") for item, kind in items]
    return box(b"iinf", bytes(4), struct.pack(">H", len(entries)), *entries)


def references(kind: bytes, source: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


def iloc(items: int, extents: int, length: int) -> bytes:
    one = struct.pack(">HHH", 1, 0, extents) + struct.pack(">II", 0, length) * extents
    return box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", items), one * items)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (container(), "has no primary image"),
        (container(PITM), "has no primary image"),
        (container(PITM, iinf((1, b"hvc1"))), "lacks the property ispe"),
        (container(PITM, iinf((1, b"iden")), box(b"iref", bytes(4), references(b"dimg", 1, 1))), "too many levels"),
        (container(PITM, *[box(b"free")] * 1001), "too many boxes"),
        (container(PITM, iloc(1, 33, 1)), "too many extents"),
        (container(PITM, iloc(30, 32, 4096)), "exceed the size of the file"),
        (container(PITM, iloc(30, 32, 1)[:-1]), "truncated or corrupt"),
        (container(struct.pack(">I4s", 0x68766343, b"\0\0\0\0"), bytes(100_000)), "truncated or corrupt"),
        (container(PITM) + b"\0\0\0\4free", "has no primary image"),
        (box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\0\0\0\4free", "truncated or corrupt"),
    ],
)
def test_boxes_that_make_no_sense_are_refused_at_once(data: bytes, message: str) -> None:
    started = time.process_time()
    with pytest.raises(InvalidImage, match=message):
        decode_image(data, TARGET)
    assert time.process_time() - started < ABSURD_CPU_SECONDS


def test_a_tile_that_is_used_many_times_is_looked_up_once() -> None:
    properties = box(b"ipco", box(*_split(ispe(64, 64))), box(b"hvcC", bytes(23)))
    no_property = struct.pack(">HB", 2, 255) + b"\3" * 255
    owned = [b"\0\1\1\1", *[no_property] * 400, b"\0\2\2\1\2"]
    associations = box(b"ipma", bytes(4), struct.pack(">I", len(owned)), *owned)
    tiles = box(b"iref", bytes(4), references(b"dimg", 1, *[2] * 6000))
    data = container(PITM, iinf((1, b"grid"), (2, b"hvc1")), box(b"iprp", properties, associations), tiles)
    started = time.process_time()
    with pytest.raises(InvalidImage, match=r"64 x 64 pixels has tiles with 24\.6 megapixels"):
        decode_image(data, TARGET)
    assert time.process_time() - started < ABSURD_CPU_SECONDS


def test_transparency_with_far_more_pixels_than_the_image_is_refused() -> None:
    alpha = box(b"auxC", bytes(4), b"urn:mpeg:hevc:2015:auxid:1\0")
    properties = box(
        b"ipco", box(b"hvcC", bytes(23)), box(*_split(ispe(64, 64))), box(*_split(ispe(9000, 9000))), alpha
    )
    owned = box(b"ipma", bytes(4), struct.pack(">I", 2), b"\0\1\2\1\2", b"\0\2\3\1\3\4")
    beside = box(b"iref", bytes(4), references(b"auxl", 2, 1))
    data = container(PITM, iinf((1, b"hvc1"), (2, b"hvc1")), box(b"iprp", properties, owned), beside)
    with pytest.raises(InvalidImage, match=r"64 x 64 pixels has tiles with 81\.0 megapixels"):
        decode_image(data, TARGET)


def _split(content: bytes) -> tuple[bytes, bytes]:
    return content[:4], content[4:]


def test_grids_of_grids_do_not_multiply() -> None:
    grid = box(b"iref", bytes(4), references(b"dimg", 1, *[2] * 60_000), references(b"dimg", 2, *[3] * 60_000))
    started = time.process_time()
    with pytest.raises((InvalidImage, UnsupportedImage)):
        decode_image(container(PITM, iinf((1, b"grid"), (2, b"grid"), (3, b"hvc1")), grid), TARGET)
    assert time.process_time() - started < ABSURD_CPU_SECONDS


FILES = [heic_file(picture()), heic_file(picture().convert("RGBA")), heic_file(noise(100, 80), tile_size=64)]


@settings(max_examples=150)
@given(st.sampled_from(FILES), st.lists(st.tuples(st.integers(0, 900), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_files_give_pixels_or_an_image_error(data: bytes, changes: list[tuple[int, int]]) -> None:
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    with suppress(ImageError):
        assert decode_image(mutated, TARGET, max_pixels=1_000_000).shape == (32, 48, 3)


@pytest.mark.parametrize("cut", [20, 60, 300, 500, -200, -20])
def test_a_truncated_file_is_told(cut: int) -> None:
    with pytest.raises((InvalidImage, UnsupportedImage)):
        decode_image(heic_file(picture(256, 256), quality=95)[:cut], TARGET)


def test_other_codecs_in_the_same_container_are_refused() -> None:
    with pytest.raises(UnsupportedImage, match="HEVC"):
        decode_image(heic_file(picture()).replace(b"hvc1", b"av01"), TARGET)


def test_without_the_extra_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    without = tuple(replace(one, available=one.name != "HEIC") for one in formats.FORMATS)
    monkeypatch.setattr(formats, "FORMATS", without)
    with pytest.raises(UnsupportedImage, match="HEIC images are not accepted"):
        decode_image(heic_file(picture()), TARGET)


def test_a_heic_upload_is_answered(gateway: httpx.Client) -> None:
    image = Image.new("RGB", (64, 64), (250, 20, 10))
    answer = gateway.post("/api/v1/predict_breed", files={"dog_image": ("IMG_1.HEIC", heic_file(image), "image/heic")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"] == "red"
