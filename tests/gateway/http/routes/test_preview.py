"""A small JPEG of any accepted image."""

from __future__ import annotations

import io

import httpx
import pytest
from PIL import Image

from testing.photos import photo


def sent(client: httpx.Client, content: bytes, **params: int) -> Image.Image:
    """Ask for the preview of an image."""
    answer = client.post("/api/v1/preview", content=content, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    return Image.open(io.BytesIO(answer.content))


def encoded(size: tuple[int, int], form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, form, **options)
    return buffer.getvalue()


def test_a_preview_is_upright_and_no_larger_than_asked(gateway: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera"
    preview = sent(gateway, encoded((640, 480), "JPEG", exif=exif), max_side=160)
    assert preview.size == (120, 160)
    assert not preview.getexif()


def test_a_small_image_keeps_its_size(gateway: httpx.Client) -> None:
    assert sent(gateway, encoded((40, 30), "PNG")).size == (40, 30)


def test_a_heic_photo_becomes_a_jpeg(gateway: httpx.Client) -> None:
    heif = pytest.importorskip("pillow_heif", reason="needs the extra heic")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (320, 200), (200, 30, 30))).save(buffer)
    preview = sent(gateway, buffer.getvalue(), max_side=100)
    assert (preview.format, preview.size) == ("JPEG", (100, 62))


@pytest.mark.parametrize("side", [15, 2049, "wide"])
def test_a_side_out_of_range_is_refused(gateway: httpx.Client, side: object) -> None:
    answer = gateway.post("/api/v1/preview", content=photo("red"), params={"max_side": str(side)})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


def test_what_is_no_image_is_refused(gateway: httpx.Client) -> None:
    answer = gateway.post("/api/v1/preview", content=b"no image")
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_image")
