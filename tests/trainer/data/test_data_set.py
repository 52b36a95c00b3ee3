"""Folder data sets: splits, labels, duplicates, unreadable photos."""

import shutil
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image

from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import Split, label_of
from trainer.data.record_store import RecordStore
from trainer.errors import TrainerError


class WriteFolder(Protocol):
    def __call__(self, folder: Path, classes: dict[str, int], *, first: int = 0) -> Path: ...


def opened(data: Path, *, seed: int = 0, valid: float = 0.2, test: float = 0.1) -> DataSet:
    cache = data.parent / "cache"
    return open_folder(data, cache, valid_share=valid, test_share=test, seed=seed, workers=2)


def names(data: DataSet, split: Split) -> set[str]:
    return {f"{photo.folder}/{photo.path.name}" for photo in data.photos[split]}


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("001.Affenpinscher", "Affenpinscher"),
        ("12_Alaskan_malamute", "Alaskan_malamute"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("saint_bernard", "saint_bernard"),
        ("2001", "2001"),
        ("3d_prints", "3d_prints"),
    ],
)
def test_a_label_is_its_folder_without_the_number_in_front(folder: str, label: str) -> None:
    assert label_of(folder) == label


def test_plain_class_folders_are_split_class_by_class_and_the_same_way_each_time(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data", {"cat": 20, "dog": 10})
    first = opened(data)
    assert first.counts() == {
        "train": {"cat": 14, "dog": 7},
        "valid": {"cat": 4, "dog": 2},
        "test": {"cat": 2, "dog": 1},
    }
    moved = tmp_path / "elsewhere" / "data"
    shutil.copytree(data, moved)
    again = opened(moved)
    assert again.fingerprint == first.fingerprint
    assert all(names(first, split) == names(again, split) for split in ("train", "valid", "test"))
    assert names(opened(data, seed=1), "valid") != names(first, "valid")


def test_split_folders_are_taken_as_they_are(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = tmp_path / "data"
    for first, (split, count) in enumerate({"train": 5, "Validation": 2, "test": 1}.items()):
        write_photos(data / split, {"001.cat": count, "002.dog": count}, first=100 * first)
    (data / "train" / ".DS_Store").write_bytes(b"x")
    found = opened(data)
    assert found.labels == ("cat", "dog")
    assert {split: len(photos) for split, photos in found.photos.items()} == {"train": 10, "valid": 4, "test": 2}


def test_validation_photos_are_taken_from_training_where_there_is_no_folder_of_them(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data" / "test", {"cat": 3, "dog": 3}, first=500)
    found = opened(tmp_path / "data")
    assert {split: len(photos) for split, photos in found.photos.items()} == {"train": 16, "valid": 4, "test": 6}


def test_unreadable_photos_are_listed_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 12, "dog": 12})
    (data / "cat" / "notes.txt").write_text("not a photo")
    whole = (data / "dog" / "0.png").read_bytes()
    (data / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "dog" / "empty.jpg").touch()
    found = opened(data)
    assert sorted(line.split(":")[0].rsplit("/", 1)[1] for line in found.unreadable) == [
        "cut.png",
        "empty.jpg",
        "notes.txt",
    ]
    assert sum(len(photos) for photos in found.photos.values()) == 24


def test_a_class_without_a_readable_photo_is_an_error(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 12})
    (data / "dog").mkdir()
    (data / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(TrainerError, match="class 'dog' has no readable photo to train on"):
        opened(data)


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
    found = opened(data)
    left_out = {line.split(" is the same picture")[0].rsplit("/", 1)[1] for line in found.duplicates}
    assert left_out == {"same.png", "larger.jpg", "of-valid.png", "mislabelled.png"}
    assert {split: len(photos) for split, photos in found.photos.items()} == {"train": 24, "valid": 6, "test": 6}
    assert any("mislabelled.png is in 'dog' and" in line for line in found.warnings)


def test_classes_with_few_photos_are_named(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 30, "dog": 4})
    assert "class 'dog' has only 3 photos to train on" in opened(data, test=0.0).warnings


@pytest.mark.parametrize("classes", [{}, {"cat": 3}])
def test_fewer_than_two_classes_are_an_error_that_says_what_is_needed(
    classes: dict[str, int], tmp_path: Path, write_photos: WriteFolder
) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(TrainerError, match="at least 2 are needed"):
        opened(write_photos(tmp_path / "data", classes))


def test_records_survive_a_write_that_was_cut_off(tmp_path: Path) -> None:
    import numpy as np

    keys = [bytes([at]) * 16 for at in range(3)]
    with RecordStore[np.float32](tmp_path / "store", np.float32, (4,)) as store:
        store.add(keys[:2], np.arange(8, dtype=np.float32).reshape(2, 4))
        with pytest.raises(TrainerError, match="in use by another run"):
            RecordStore[np.float32](tmp_path / "store", np.float32, (4,))
    with (tmp_path / "store").open("ab") as file:
        file.write(b"half a record")
    with RecordStore[np.float32](tmp_path / "store", np.float32, (4,)) as store:
        assert keys[2] not in store
        store.add(keys[1:], np.ones((2, 4), np.float32))
        assert store.rows(keys[::-1]).tolist() == [[1, 1, 1, 1], [4, 5, 6, 7], [0, 1, 2, 3]]
