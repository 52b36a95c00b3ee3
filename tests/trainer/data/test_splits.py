"""Which folders are splits, and which are classes."""

from pathlib import Path

import pytest

from tests.trainer.conftest import WriteFolder
from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import list_classes
from trainer.errors import TrainerError


def opened(data: Path) -> DataSet:
    cache = data.parent / "cache"
    return open_folder(data, cache, valid_share=0.2, test_share=0.1, seed=0, workers=2, duplicates="near")


def test_classes_that_are_named_like_splits_are_classes_in_training_and_in_evaluation(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data", {"train": 10, "test": 10, "valid": 10, "bus": 10})
    assert opened(data).labels == ("bus", "test", "train", "valid")
    assert sorted(list_classes(data)) == ["bus", "test", "train", "valid"]


def test_a_folder_divided_without_training_photos_is_refused_and_not_taken_for_classes(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    for split in ("valid", "test"):
        write_photos(tmp_path / "data" / split, {"cat": 3, "dog": 3})
    with pytest.raises(TrainerError, match="is divided into test, valid but has no train folder"):
        opened(tmp_path / "data")
    assert sorted(list_classes(tmp_path / "data")) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train2017", "val2017"),
        ("Training Images", "Testing Images"),
        ("trainset", "testset"),
    ],
)
def test_splits_are_recognised_within_longer_names(
    tmp_path: Path, write_photos: WriteFolder, train: str, test: str
) -> None:
    data = tmp_path / "data"
    write_photos(data / train, {"cat": 10, "dog": 10})
    write_photos(data / test, {"cat": 3, "dog": 3}, first=100)
    write_photos(data, {"seg_pred": 3}, first=200)
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert sum(len(photos) for photos in data_set.photos.values()) == 26
    assert any(f"reading {data / train} as the split train" in line for line in data_set.warnings)
    assert any("ignoring the other folders: seg_pred" in line for line in data_set.warnings)
    assert [len(files) for files in list_classes(data).values()] == [3, 3]


def test_a_single_name_that_only_contains_that_of_a_split_is_a_class(tmp_path: Path, write_photos: WriteFolder) -> None:
    assert opened(write_photos(tmp_path / "data", {"train_station": 10, "bus_stop": 10})).labels == (
        "bus_stop",
        "train_station",
    )


def test_the_name_of_a_split_goes_before_a_longer_one(tmp_path: Path, write_photos: WriteFolder) -> None:
    for number, split in enumerate(("train", "test", "train_old")):
        write_photos(tmp_path / "data" / split, {"cat": 10, "dog": 10}, first=100 * number)
    data_set = opened(tmp_path / "data")
    assert {split: len(photos) for split, photos in data_set.photos.items()} == {"train": 16, "valid": 4, "test": 20}
    assert any("ignoring the other folders: train_old" in line for line in data_set.warnings)


@pytest.mark.parametrize("names", [("train", "test1"), ("train_images", "test_images"), ("cats_train", "cats_test")])
def test_photos_divided_without_class_folders_are_refused_whatever_the_folders_are_called(
    tmp_path: Path, write_photos: WriteFolder, names: tuple[str, str]
) -> None:
    data = write_photos(tmp_path / "data", dict.fromkeys(names, 10))
    for read in (opened, list_classes):
        with pytest.raises(TrainerError, match=r"divided into .*, which hold photos and no class folders"):
            read(data)


def test_folders_inside_of_class_folders_are_told(tmp_path: Path, write_photos: WriteFolder) -> None:
    for number, name in enumerate(("cat", "dog")):
        write_photos(tmp_path / "data" / name, {"indoor": 6, "outdoor": 6}, first=100 * number)
    data_set = opened(tmp_path / "data")
    assert data_set.labels == ("cat", "dog")
    folder = tmp_path / "data" / "cat"
    sentence = (
        f"the photos in the subfolders of {folder} (indoor, outdoor) belong to 'cat'; if the subfolders are classes"
    )
    assert any(line.startswith(sentence) for line in data_set.warnings)


def test_a_folder_beside_the_splits_is_named_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data", {"extra": 3})
    data_set = opened(tmp_path / "data")
    assert data_set.labels == ("cat", "dog")
    assert any("ignoring the other folders: extra" in line for line in data_set.warnings)


def test_a_split_without_class_folders_is_left_out_and_named(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data", {"test": 4}, first=100)
    data_set = opened(tmp_path / "data")
    assert data_set.labels == ("cat", "dog")
    assert any("ignoring the other folders: test" in line for line in data_set.warnings)


def test_splits_of_photos_without_classes_are_no_classes(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"train": 10, "valid": 4, "test": 4})
    for read in (opened, list_classes):
        with pytest.raises(
            TrainerError, match="divided into test, train, valid, which hold photos and no class folders"
        ):
            read(data)


def test_a_divided_folder_beside_others_is_told_to_be_the_one_to_use(tmp_path: Path, write_photos: WriteFolder) -> None:
    divided = tmp_path / "data" / "augmented" / "augmented"
    for number, split in enumerate(("train", "valid")):
        write_photos(divided / split, {"cat": 3, "dog": 3}, first=100 * number)
    write_photos(tmp_path / "data" / "test", {"test": 3})
    with pytest.raises(TrainerError, match=rf"{divided} is divided into train, valid; use that folder, not"):
        opened(tmp_path / "data")
