import io
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.images import DEFAULT_MAX_PIXELS, ImageTooLarge, Target, decode_image
from gateway.images.limits import COSTLIEST_BYTES_PER_PIXEL
from testing import TESTDATA
from tests.gateway.images.isolated import decode_isolated
from tests.gateway.images.samples import encoded, gif_claiming, jpeg_claiming, photo, png, png_chunk

linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is enforced on Linux only")
SMALL_PIXELS = 4_000_000

BOMBS = {
    "png": png(50_000, 50_000, b"\0"),
    "png, widest": png(2**31 - 1, 2**31 - 1, b"\0"),
    "gif": gif_claiming(50_000, 50_000, (0, 0, 1, 1)),
    "gif, frame beyond the canvas": gif_claiming(10, 10, (0, 0, 50_000, 50_000)),
    "gif, frame far away": gif_claiming(10, 10, (9_000, 9_000, 1, 1)),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "jpeg": jpeg_claiming(50_000, 50_000),
    "jpeg, progressive": jpeg_claiming(12_000, 12_000, progressive=True),
    "webp": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + struct.pack("<I", 49_999)[:3] * 2 + b"VP8 ",
    "webp, lossless": b"RIFF\x16\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 16_382 | 16_382 << 14) + bytes(9),
    "webp, lossy": b"RIFF\x16\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 16_383),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_claims_too_many_pixels_is_refused(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImageTooLarge, match=r"megapixels; at most [\d.]+ megapixels") as error:
            decode_image(BOMBS[name], Target(224, 224))
    assert error.value.code == "image_too_large"
    assert not caught


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "JPEG"])
def test_a_lower_limit_refuses_by_the_header_alone(kind: str) -> None:
    data = encoded(photo(2000, 1500), kind)
    started = time.process_time()
    for _ in range(20):
        with pytest.raises(ImageTooLarge):
            decode_image(data, Target(224, 224), max_pixels=100_000)
    refusing = time.process_time() - started
    started = time.process_time()
    decode_image(data, Target(1000, 1000))
    assert refusing / 20 < (time.process_time() - started) / 2


def test_the_limit_is_inclusive_and_counts_what_a_pixel_of_the_format_costs() -> None:
    large = photo(640, 480)
    pixels = 640 * 480
    assert decode_image(encoded(large, "WEBP"), Target(8, 8), max_pixels=pixels).any()
    with pytest.raises(ImageTooLarge, match=r"at most 0\.307 megapixels"):
        decode_image(encoded(large, "WEBP"), Target(8, 8), max_pixels=pixels - 1)
    assert decode_image(encoded(large, "PNG"), Target(8, 8), max_pixels=pixels // 2).any()
    with pytest.raises(ImageTooLarge):
        decode_image(encoded(large, "PNG"), Target(8, 8), max_pixels=pixels // 2 - 1)


def test_a_jpeg_may_have_many_more_pixels_when_it_is_decoded_at_a_smaller_scale() -> None:
    data = encoded(photo(640, 480), "JPEG")
    pixels = 640 * 480
    assert decode_image(data, Target(30, 40), max_pixels=pixels // 15).any()
    with pytest.raises(ImageTooLarge):
        decode_image(data, Target(480, 640), max_pixels=pixels // 15)
    with pytest.raises(ImageTooLarge):
        decode_image(data, Target(30, 40), max_pixels=pixels // 16)


def test_a_progressive_jpeg_is_charged_for_the_samples_that_it_has() -> None:
    sampled = encoded(photo(640, 480), "JPEG", progressive=True, subsampling=2)  # 1.5 samples a pixel, of 2 bytes each
    full = encoded(photo(640, 480), "JPEG", progressive=True, subsampling=0)
    max_pixels = 640 * 480 * 4 // COSTLIEST_BYTES_PER_PIXEL
    assert decode_image(sampled, Target(30, 40), max_pixels=max_pixels).any()
    with pytest.raises(ImageTooLarge):
        decode_image(full, Target(30, 40), max_pixels=max_pixels)


def _rgba(width: int, height: int) -> Image.Image:
    image = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGBA", (image, image, image, image))


def _png_rgba() -> bytes:
    return encoded(_rgba(3200, 2500), "PNG", compress_level=1)


def _png_16_bits() -> bytes:
    values = np.zeros((2500, 3200), np.uint16)
    data = encoded(Image.fromarray(values), "PNG", compress_level=1)
    return data[:33] + png_chunk(b"tRNS", b"\0\1") + data[33:]


def _gif_transparent() -> bytes:
    return encoded(Image.linear_gradient("L").resize((3600, 2700)).convert("P"), "GIF", transparency=3)


def _bmp() -> bytes:
    return encoded(_rgba(3200, 2500), "BMP")


def _webp_lossless() -> bytes:
    return encoded(_rgba(2000, 2000), "WEBP", lossless=True, method=0, quality=0)


def _webp_animated() -> bytes:
    first = _rgba(2000, 2000)
    return encoded(first, "WEBP", method=0, save_all=True, append_images=[first.rotate(180)])


def _jpeg_cmyk_progressive() -> bytes:
    return encoded(Image.new("CMYK", (2500, 2000), (9, 90, 0, 3)), "JPEG", progressive=True, subsampling=0)


def _jpeg_cmyk() -> bytes:
    return encoded(Image.new("CMYK", (3100, 3100), (9, 90, 0, 3)), "JPEG", subsampling=0)


def _jpeg_50_megapixels() -> bytes:
    return encoded(Image.new("L", (8000, 6250)), "JPEG")


@linux
@pytest.mark.parametrize(
    "make",
    [
        _png_rgba,
        _png_16_bits,
        _gif_transparent,
        _bmp,
        _webp_lossless,
        _webp_animated,
        _jpeg_cmyk_progressive,
        _jpeg_cmyk,
        _jpeg_50_megapixels,
    ],
    ids=lambda make: make.__name__.strip("_"),
)
def test_the_largest_accepted_file_of_each_format_fits_into_the_memory_that_the_limit_stands_for(
    make: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(make())
    heap = COSTLIEST_BYTES_PER_PIXEL * SMALL_PIXELS + 2 * path.stat().st_size + 20 * 2**20
    assert decode_isolated(path, max_pixels=SMALL_PIXELS, heap_bytes=heap, side=1024).result == "1024x1024x3"


@linux
def test_files_that_claim_much_take_little_memory(tmp_path: Path) -> None:
    text = [png_chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(10**7)))] * 200
    files = BOMBS | {"tall": png(1, 8_000_000, bytes(32_000_000)), "text": png(1, 1, bytes(4), *text)}
    for name, data in files.items():
        path = tmp_path / "image"
        path.write_bytes(data)
        outcome = decode_isolated(path, max_pixels=SMALL_PIXELS, heap_bytes=128 * 2**20)
        assert outcome.result == ("image_too_large" if name in BOMBS else "224x224x3"), name


HOSTILE = {
    "crit.png": "224x224x3",
    "textcrit.png": "224x224x3",
    "dupihdr.png": "224x224x3",
    "jpgext.jpg": "224x224x3",
    "soi2.jpg": "224x224x3",
    "groups.webp": "invalid_image",  # 65,536 prefix groups, 400 MB: its pixels would fit
}
HOSTILE_HEIC = ("ext2.heic", "golomb.heic", "grid_1000x4M.heic", "hvcc_1.heic", "sps3_11776_1x1.heic")


@linux
@pytest.mark.parametrize("name", [*HOSTILE, *HOSTILE_HEIC])
def test_files_that_cost_much_are_cheap(name: str) -> None:
    path = TESTDATA / "hostile" / name
    if not path.is_file():
        pytest.skip(f"no test data at {path}")
    if name in HOSTILE_HEIC:
        pytest.importorskip("pillow_heif", reason="needs the extra `heic`")
    outcome = decode_isolated(path, max_pixels=SMALL_PIXELS, heap_bytes=128 * 2**20)
    assert outcome.result == HOSTILE.get(name, "invalid_image")
    assert outcome.cpu_seconds < 10


@linux
def test_a_photo_of_48_megapixels_of_a_phone_is_decoded_within_400_megabytes() -> None:
    pytest.importorskip("pillow_heif", reason="needs the extra `heic`")
    path = TESTDATA / "reports" / "heic_8064x6048.heic"
    if not path.is_file():
        pytest.skip(f"no test data at {path}")
    for side in (224, 1024):
        outcome = decode_isolated(path, max_pixels=DEFAULT_MAX_PIXELS, heap_bytes=400_000_000, side=side)
        assert outcome.result == f"{side}x{side}x3"
    assert decode_isolated(path, max_pixels=SMALL_PIXELS, heap_bytes=128 * 2**20).result == "image_too_large"


def test_decoding_does_not_depend_on_pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # it warns from here and raises from twice as many
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (13, 13), (9, 200, 30)).save(buffer, kind)
        assert decode_image(buffer.getvalue(), Target(8, 8)).any()
