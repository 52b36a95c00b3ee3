"""Random views of photos for fine-tuning."""

import numpy as np
import pytest

from trainer.data.augment import Augmentation

STILL = {"rotation": 0.0, "shift": 0.0, "shear": 0.0, "zoom": 0.0, "flip": False}
COUNT = 400


def maps(**limits: float) -> np.ndarray:
    """The linear part (count, 2, 2) and the shift (count, 2) of many transforms, as (count, 2, 3)."""
    transforms = Augmentation(**(STILL | limits)).transforms(COUNT, 21, 21, np.random.default_rng(0))  # type: ignore[arg-type]
    return transforms[:, :6].reshape(COUNT, 2, 3).astype(np.float64)


def test_without_limits_a_photo_stays_as_it_is() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3)).astype(np.uint8)
    augmented = Augmentation(**STILL).apply(images, np.random.default_rng(0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(augmented, images)


def test_half_of_the_photos_are_mirrored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 9, 9, 3)).astype(np.uint8)
    augmented = Augmentation(**(STILL | {"flip": True})).apply(images, np.random.default_rng(0))  # type: ignore[arg-type]
    mirrored = [np.array_equal(one, other[:, ::-1]) for one, other in zip(augmented, images, strict=True)]
    assert 15 < sum(mirrored) < 45
    assert sum(np.array_equal(one, other) for one, other in zip(augmented, images, strict=True)) == 60 - sum(mirrored)


def test_rotation_goes_up_to_its_limit_and_keeps_the_centre() -> None:
    transforms = maps(rotation=40.0)
    angles = np.rad2deg(np.arctan2(transforms[:, 1, 0], transforms[:, 0, 0]))
    assert angles.min() == pytest.approx(-40, abs=2)
    assert angles.max() == pytest.approx(40, abs=2)
    np.testing.assert_allclose(transforms @ [10, 10, 1], np.full((COUNT, 2), 10), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(transforms[:, :, :2]), 1, atol=1e-5)


def test_zoom_shift_and_shear_go_up_to_their_limits() -> None:
    zoomed = maps(zoom=0.2)
    for axis in (0, 1):
        assert (zoomed[:, axis, axis].min(), zoomed[:, axis, axis].max()) == pytest.approx((0.8, 1.2), abs=0.01)
    moved = maps(shift=0.2)
    assert (moved[:, :, 2].min(), moved[:, :, 2].max()) == pytest.approx((-4.2, 4.2), abs=0.1)
    slanted = maps(shear=0.2)
    assert np.abs(slanted[:, 0, 1]).max() == pytest.approx(np.sin(0.2), abs=0.01)
    assert not slanted[:, 1, 0].any()


def test_the_same_random_numbers_give_the_same_view() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3)).astype(np.uint8)
    limits = Augmentation(40.0, 0.2, 0.2, 0.2, flip=True)
    first, second, other = (limits.apply(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
