from __future__ import annotations

import io
import struct

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.images import ImageTooLarge, InvalidImage, Target, UnsupportedImage, decode_image, heic
from gateway.images import formats as image_formats

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


def test_too_many_pixels_are_refused_by_what_the_file_shows_and_by_what_its_decoder_would_allocate() -> None:
    data = heic_file(picture(640, 480))
    assert list(heic.coded_sizes(heic.metadata(data))) == [(640, 480)]
    with pytest.raises(ImageTooLarge, match="640 x 480"):
        decode_image(data, TARGET, max_pixels=300_000)
    # The container says it is small; the parameter sets of the codec do not.
    smaller = data.replace(
        b"ispe" + bytes(4) + struct.pack(">II", 640, 480), b"ispe" + bytes(4) + struct.pack(">II", 8, 8)
    )
    assert smaller != data
    with pytest.raises(ImageTooLarge, match="640 x 480"):
        decode_image(smaller, TARGET, max_pixels=300_000)


@pytest.mark.parametrize("cut", [20, 60, 300, 500, -200, -20])
def test_a_truncated_file_is_told(cut: int) -> None:
    with pytest.raises((InvalidImage, UnsupportedImage)):
        decode_image(heic_file(picture(256, 256), quality=95)[:cut], TARGET)


def test_other_codecs_in_the_same_container_are_refused() -> None:
    with pytest.raises(UnsupportedImage, match="HEVC"):
        decode_image(heic_file(picture()).replace(b"hvc1", b"av01"), TARGET)


def test_without_the_extra_it_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_formats, "ACCEPTED_FORMATS", ("JPEG", "PNG", "GIF", "BMP", "WebP"))
    with pytest.raises(UnsupportedImage, match="HEIC images are not accepted"):
        decode_image(heic_file(picture()), TARGET)


def test_a_heic_upload_is_answered(gateway: httpx.Client) -> None:
    image = Image.new("RGB", (64, 64), (250, 20, 10))
    answer = gateway.post("/api/v1/predict_breed", files={"dog_image": ("IMG_1.HEIC", heic_file(image), "image/heic")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["breed"] == "red"
