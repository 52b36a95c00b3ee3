import io

import numpy as np
import pytest
from PIL import Image

from gateway.images import ImageError, Target, UnsupportedImage, decode_image, rewrite_image
from testing import TESTDATA
from tests.gateway.images.samples import ORDINARY, encoded, exif_of, photo, png, png_chunk

RED_ROW = b"\0\xff\0\0"
REFUSED_BY_TENSORFLOW = {
    "unknown critical chunk": png(1, 1, RED_ROW, png_chunk(b"ABCD", b"?")),
    "second header": png(1, 1, RED_ROW, png_chunk(b"IHDR", bytes.fromhex("00000001000000010802000000"))),
    "two starts": ORDINARY["jpeg"][:2] + ORDINARY["jpeg"],
}


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (640, 480)), ((3000, 1500), (1024, 512)), ((1, 9000), (1, 1024))]
)
def test_a_rewritten_image_is_an_upright_png_of_bounded_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    stored = Image.new("RGB", size[::-1], (200, 30, 60))
    data = encoded(stored, "WebP" if max(size) < 9000 else "PNG", exif=exif_of(6))
    with Image.open(io.BytesIO(rewrite_image(data))) as made:
        assert (made.format, made.mode, made.size) == ("PNG", "RGB", expected)
        assert not made.getexif()
        assert np.abs(np.asarray(made).reshape(-1, 3).mean(axis=0) - (200, 30, 60)).max() < 3


@pytest.mark.parametrize("name", ORDINARY)
def test_rewriting_loses_nothing(name: str) -> None:
    pixels = decode_image(ORDINARY[name], Target(240, 320))
    made = rewrite_image(ORDINARY[name])
    assert np.array_equal(decode_image(made, Target(240, 320)), pixels)
    assert rewrite_image(made) == made
    assert len(made) < pixels.nbytes * 1.01 + 200


def test_what_cannot_be_decoded_cannot_be_rewritten() -> None:
    with pytest.raises(UnsupportedImage):
        rewrite_image(b"no image")


def test_tensorflow_reads_the_same_pixels_of_every_rewritten_file() -> None:
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    files = ORDINARY | REFUSED_BY_TENSORFLOW | {"one pixel": png(1, 1, RED_ROW), "wide": encoded(photo(5000, 3), "PNG")}
    hostile = [*(TESTDATA / "hostile").glob("*.png"), *(TESTDATA / "hostile").glob("*.jpg")]
    files |= {path.name: path.read_bytes() for path in hostile}
    compared = 0
    for name, data in files.items():
        try:
            made = rewrite_image(data)
        except ImageError:
            continue  # what is refused is not sent
        with Image.open(io.BytesIO(made)) as image:
            pixels = np.asarray(image)
        for decode in (tf.io.decode_image, tf.io.decode_jpeg, tf.io.decode_png):
            assert np.array_equal(decode(made, channels=3).numpy(), pixels), name
        compared += 1
    assert compared >= len(ORDINARY) + len(hostile)
