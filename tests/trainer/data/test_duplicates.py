"""Photos that are copies of others are left out, and photos that only look alike are kept."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.trainer.conftest import WriteFolder
from trainer.data.data_set import DataSet, open_folder
from trainer.data.duplicates import Duplicates
from trainer.errors import TrainerError

MODES: tuple[Duplicates, ...] = ("near", "exact", "off")


def opened(data: Path, *, seed: int = 0, test: float = 0.1, duplicates: Duplicates = "near") -> DataSet:
    cache = data.parent / "cache"
    return open_folder(data, cache, valid_share=0.2, test_share=test, seed=seed, workers=2, duplicates=duplicates)


def test_duplicates_are_kept_out_of_validation_and_test(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = tmp_path / "data"
    write_photos(data / "train", {"cat": 12, "dog": 12})
    write_photos(data / "valid", {"cat": 3, "dog": 3}, first=100)
    write_photos(data / "test", {"cat": 3, "dog": 3}, first=200)
    shutil.copy(data / "train" / "cat" / "0.png", data / "valid" / "cat" / "same.png")
    with Image.open(data / "train" / "dog" / "1.png") as photo:
        photo.resize((150, 150), Image.Resampling.BICUBIC).save(data / "test" / "dog" / "larger.jpg", quality=80)
    shutil.copy(data / "valid" / "dog" / "100.png", data / "test" / "dog" / "of-valid.png")
    shutil.copy(data / "train" / "cat" / "2.png", data / "train" / "dog" / "mislabelled.png")
    data_set = opened(data)
    left_out = {line.split(" is a duplicate of")[0].rsplit("/", 1)[1] for line in data_set.duplicates}
    assert left_out == {"same.png", "larger.jpg", "of-valid.png", "mislabelled.png"}
    assert {split: len(photos) for split, photos in data_set.photos.items()} == {"train": 24, "valid": 6, "test": 6}
    assert any("mislabelled.png is in 'dog' and" in line for line in data_set.warnings)


def test_copies_are_left_out_before_the_split_so_that_validation_keeps_its_share(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data", {"cat": 10, "dog": 10})
    for number in range(4):
        with Image.open(data / "dog" / f"{number}.png") as photo:
            photo.resize((150, 150), Image.Resampling.BICUBIC).save(data / "dog" / f"{number}-larger.jpg", quality=80)
    shutil.copy(data / "cat" / "3.png", data / "cat" / "same.png")
    for seed in range(20):
        data_set = opened(data, test=0.0, seed=seed)
        assert len(data_set.duplicates) == 5
        assert data_set.counts() == {"train": {"cat": 8, "dog": 8}, "valid": {"cat": 2, "dog": 2}}


def series(folder: Path, count: int, *, negative: bool = False) -> None:
    """Frames that look alike: one picture, a little brighter each time."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = np.asarray(Image.effect_mandelbrot((96, 96), (-2, -1.5, 1, 1.5), 40).convert("RGB")) // 2
    frame = 127 - frame if negative else frame
    for number in range(count):
        Image.fromarray((frame + number).astype(np.uint8)).save(folder / f"{number}.png")


def test_a_validation_that_near_duplicates_empty_is_explained_and_an_option_keeps_it(tmp_path: Path) -> None:
    series(tmp_path / "data" / "cat", 8)
    series(tmp_path / "data" / "dog", 8, negative=True)
    with pytest.raises(TrainerError, match=r"no photo is left for validation; \d+ are copies .* --duplicates exact"):
        opened(tmp_path / "data", test=0.0)
    data_set = opened(tmp_path / "data", test=0.0, duplicates="off")
    assert len(data_set.photos["valid"]) == 4
    assert data_set.duplicates == []


def test_exact_leaves_out_equal_contents_only(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    valid = write_photos(tmp_path / "data" / "valid", {"cat": 3, "dog": 3}, first=100)
    shutil.copy(tmp_path / "data" / "train" / "cat" / "0.png", valid / "cat" / "same.png")
    with Image.open(tmp_path / "data" / "train" / "dog" / "1.png") as photo:
        photo.resize((150, 150), Image.Resampling.BICUBIC).save(valid / "dog" / "larger.jpg", quality=80)
    left_out = [len(opened(tmp_path / "data", duplicates=one).duplicates) for one in MODES]
    assert left_out == [2, 1, 0]


def test_photos_that_differ_in_one_place_are_no_duplicates(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train", {"good": 10, "scratched": 10})
    valid = write_photos(tmp_path / "data" / "valid", {"good": 3, "scratched": 3}, first=100)
    with Image.open(tmp_path / "data" / "train" / "good" / "3.png") as photo:
        photo.paste((255, 255, 255), (20, 20, 26, 26))
        photo.save(valid / "good" / "other.png")
    assert opened(tmp_path / "data").duplicates == []


def test_parts_of_low_contrast_that_differ_by_a_scratch_are_no_duplicates(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    """Photos of an inspection: the same grey part each time, with noise, and a faint scratch somewhere."""
    random = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(512), np.arange(512))
    part = 128 + 15 * np.sin(x / 37) * np.cos(y / 53)

    def photo(path: Path, at: int) -> None:
        pixels = part + random.normal(0, 3, part.shape)
        pixels[40 * at : 40 * at + 8, 100:180] -= 25
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=92)

    write_photos(tmp_path / "data" / "train", {"good": 10})
    write_photos(tmp_path / "data" / "valid", {"good": 3}, first=100)
    for at in range(1, 11):
        photo(tmp_path / "data" / ("train" if at < 8 else "valid") / "scratched" / f"{at}.jpg", at)
    with Image.open(tmp_path / "data" / "train" / "scratched" / "2.jpg") as copied:
        copied.resize((384, 384)).save(tmp_path / "data" / "valid" / "scratched" / "copy.jpg", quality=70)
    data_set = opened(tmp_path / "data")
    [line] = data_set.duplicates
    assert "/copy.jpg" in line
    assert "/2.jpg" in line


def test_photos_of_two_classes_that_look_alike_are_both_kept_and_named(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {"good": 10, "scratched": 10})
    valid = write_photos(tmp_path / "data" / "valid", {"good": 3, "scratched": 3}, first=100)
    with Image.open(tmp_path / "data" / "train" / "good" / "3.png") as photo:
        photo.save(valid / "scratched" / "alike.jpg", quality=85)
    data_set = opened(tmp_path / "data")
    assert data_set.duplicates == []
    assert len(data_set.photos["valid"]) == 7
    [line] = [line for line in data_set.warnings if "look alike" in line]
    assert "alike.jpg in 'scratched' and" in line
    assert "3.png in 'good' look alike; both are kept" in line
