"""Folder data sets: splits, labels, unreadable photos."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import WriteFolder
from trainer.data.class_names import match_folders
from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import list_classes
from trainer.data.record_store import RecordStore
from trainer.data.splits import Split
from trainer.errors import TrainerError


def opened(data: Path, *, seed: int = 0, valid: float = 0.2, test: float = 0.1) -> DataSet:
    cache = data.parent / "cache"
    return open_folder(data, cache, valid_share=valid, test_share=test, seed=seed, workers=2, duplicates="near")


def names(data: DataSet, split: Split) -> set[str]:
    return {f"{photo.folder}/{photo.path.name}" for photo in data.photos[split]}


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
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert {split: len(photos) for split, photos in data_set.photos.items()} == {"train": 10, "valid": 4, "test": 2}
    assert "'001.cat' becomes 'cat'; --class-numbers keep keeps them" in data_set.warnings[0]


def test_validation_photos_are_taken_from_training_where_there_is_no_folder_of_them(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data" / "test", {"cat": 3, "dog": 3}, first=500)
    data_set = opened(tmp_path / "data")
    assert {split: len(photos) for split, photos in data_set.photos.items()} == {"train": 16, "valid": 4, "test": 6}


def test_unreadable_photos_are_listed_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 12, "dog": 12})
    (data / "cat" / "notes.txt").write_text("not a photo")
    complete_bytes = (data / "dog" / "0.png").read_bytes()
    (data / "dog" / "cut.png").write_bytes(complete_bytes[: len(complete_bytes) // 2])
    (data / "dog" / "empty.jpg").touch()
    data_set = opened(data)
    assert sorted(line.split(":")[0].rsplit("/", 1)[1] for line in data_set.unreadable) == [
        "cut.png",
        "empty.jpg",
        "notes.txt",
    ]
    assert sum(len(photos) for photos in data_set.photos.values()) == 24


def test_a_class_without_a_readable_photo_is_an_error(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 12})
    (data / "dog").mkdir()
    (data / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(TrainerError, match="class 'dog' has no readable photo to train on"):
        opened(data)


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


def test_names_that_unicode_or_case_spells_two_ways_in_two_splits_are_one_class(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {unicodedata.normalize("NFC", "café"): 10, "Pug": 10})
    write_photos(tmp_path / "data" / "valid", {unicodedata.normalize("NFD", "café"): 3, "pug": 3}, first=100)
    data_set = opened(tmp_path / "data")
    assert data_set.labels == ("Pug", unicodedata.normalize("NFC", "café"))
    assert len(data_set.photos["valid"]) == 6
    assert any("belongs to 'Pug'" in line for line in data_set.warnings)
    assert set(match_folders(list(list_classes(tmp_path / "data")), data_set.labels, {}).values()) == {0, 1}


def test_a_class_that_only_another_split_has_is_told_with_the_name_that_it_may_have_in_training(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {"red fox": 10, "dog": 10})
    write_photos(tmp_path / "data" / "valid", {"red_fox": 3, "dog": 3}, first=100)
    with pytest.raises(
        TrainerError,
        match=r"'red_fox' has no readable photo to train on, only some in valid; .* same class as 'red fox'",
    ):
        opened(tmp_path / "data")


def test_a_class_that_is_not_in_training_either_is_not_said_to_be_the_one_that_is_meant(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data" / "valid", {"cat": 3, "dog": 3, "red_fox": 3}, first=100)
    write_photos(tmp_path / "data" / "test", {"cat": 3, "dog": 3, "red fox": 3}, first=200)
    with pytest.raises(TrainerError, match=r"no readable photo to train on, only some in (valid|test); breed check"):
        opened(tmp_path / "data")


def test_an_empty_class_folder_is_named_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 10, "dog": 10})
    (data / "fox").mkdir()
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert f"ignoring the empty class folder {data / 'fox'}" in data_set.warnings


def test_a_folder_too_high_or_too_deep_or_misspelled_is_told_which_was_meant(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data" / "dogs", {"pug": 3, "boxer": 3})
    with pytest.raises(TrainerError, match="contains one folder of photos, 'dogs', with 2 folders in it; use that one"):
        opened(tmp_path / "data")
    with pytest.raises(
        TrainerError, match=r"contains one folder of photos, 'data/dogs', with 2 folders in it; use that one"
    ):
        opened(tmp_path)
    with pytest.raises(TrainerError, match=r"contains photos but no class folders; did you mean .*dogs, which has 2"):
        opened(data / "pug")
    with pytest.raises(TrainerError, match=r"did you mean .*dogs\?"):
        opened(tmp_path / "data" / "dgos")


def test_what_systems_leave_among_photos_is_passed_over(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 10, "dog": 10, "__MACOSX": 2, "@eaDir": 2})
    write_photos(data / "cat", {"__MACOSX": 1, ".ipynb_checkpoints": 1})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
        (data / "dog" / name).write_bytes(b"x")
    data_set = opened(data)
    assert (data_set.labels, data_set.unreadable, data_set.duplicates) == (("cat", "dog"), [], [])


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(b"PK")
    with pytest.raises(TrainerError, match=r"contains archives; unpack archive\.zip first"):
        opened(tmp_path / "data")


def test_classes_that_differ_in_case_only_are_told(tmp_path: Path, write_photos: WriteFolder) -> None:
    data_set = opened(write_photos(tmp_path / "data", {"Cat": 10, "cat": 10}))
    assert data_set.labels == ("Cat", "cat")
    assert any("Cat and cat differ in case only" in line for line in data_set.warnings)
