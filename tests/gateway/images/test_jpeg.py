import struct
import warnings

import pytest

from gateway.images import (
    ImageTooLarge,
    InvalidImage,
    Target,
    UnsupportedImage,
    decode_image,
)
from testing import TESTDATA
from tests.gateway.images.samples import (
    ORDINARY,
    difference,
    encoded,
    photo,
)


def test_broken_exif_inside_a_reserved_jpeg_segment_does_not_reach_pillow() -> None:
    exif = b"\xff\xe1\0\x18Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x1a\0\x05"
    data = ORDINARY["jpeg"]
    hidden = data[:2] + b"\xff\xf0" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert (decode_image(hidden, Target(32, 32)) == decode_image(data, Target(32, 32))).all()
    assert not caught


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    data = encoded(photo(640, 480), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(ImageTooLarge, match="scans"):
        decode_image(data[:-2] + data[last:-2] * 5_000 + data[-2:], Target(8, 8), max_pixels=640 * 480)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
def test_only_baseline_and_progressive_frames_with_huffman_coding_are_accepted(marker: int) -> None:
    data = ORDINARY["jpeg"].replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(UnsupportedImage, match="arithmetic coding, lossless or hierarchical"):
        decode_image(data, Target(8, 8))


@pytest.mark.parametrize("name", [name for name in ORDINARY if name.startswith("jpeg")])
@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (240, 320)])
def test_a_jpeg_that_lacks_only_its_end_marker_is_decoded(name: str, cut: int, size: tuple[int, int]) -> None:
    target = Target(*size, "squash")
    pixels = decode_image(ORDINARY[name][:-cut], target)
    assert difference(pixels, decode_image(ORDINARY[name], target)) < 1.5  # it is decoded at its full size


@pytest.mark.parametrize("name", [name for name in ORDINARY if name.startswith("jpeg")])
def test_a_jpeg_that_is_cut_within_its_data_is_refused_with_an_end_marker_too(name: str) -> None:
    data = ORDINARY[name]
    start = data.rindex(b"\xff\xda")
    for cut in range(start + 40, len(data) - 24, max(1, (len(data) - start) // 12)):
        with pytest.raises(InvalidImage, match="truncated"):
            decode_image(data[:cut], Target(32, 32))


def test_a_small_cameras_photo_without_end_marker_is_decoded() -> None:
    path = TESTDATA / "reports" / "jpeg_no_eoi.jpg"
    if not path.is_file():
        pytest.skip(f"no test data at {path}")
    assert decode_image(path.read_bytes(), Target(224, 224)).std() > 10
