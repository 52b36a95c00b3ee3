"""Folder data sets: splits, labels, unreadable photos."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.conftest import WriteFolder
from trainer.data.class_names import match_folders
from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import Split, list_classes
from trainer.data.record_store import RecordStore
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
    found = opened(data)
    assert found.labels == ("cat", "dog")
    assert {split: len(photos) for split, photos in found.photos.items()} == {"train": 10, "valid": 4, "test": 2}
    assert "'001.cat' becomes 'cat'; --class-numbers keep keeps them" in found.warnings[0]


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


def test_a_folder_beside_the_splits_is_named_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data", {"extra": 3})
    found = opened(tmp_path / "data")
    assert found.labels == ("cat", "dog")
    assert any("ignoring the other folders: extra" in line for line in found.warnings)


def test_names_that_unicode_or_case_spells_two_ways_in_two_splits_are_one_class(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    write_photos(tmp_path / "data" / "train", {unicodedata.normalize("NFC", "café"): 10, "Pug": 10})
    write_photos(tmp_path / "data" / "valid", {unicodedata.normalize("NFD", "café"): 3, "pug": 3}, first=100)
    found = opened(tmp_path / "data")
    assert found.labels == ("Pug", unicodedata.normalize("NFC", "café"))
    assert len(found.photos["valid"]) == 6
    assert any("belongs to 'Pug'" in line for line in found.warnings)
    assert set(match_folders(list(list_classes(tmp_path / "data")), found.labels, {}).values()) == {0, 1}


def test_an_empty_class_folder_is_named_and_left_out(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 10, "dog": 10})
    (data / "fox").mkdir()
    found = opened(data)
    assert found.labels == ("cat", "dog")
    assert f"ignoring the empty class folder {data / 'fox'}" in found.warnings


def test_a_folder_too_high_or_too_deep_or_misspelled_is_told_which_was_meant(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data" / "dogs", {"pug": 3, "boxer": 3})
    with pytest.raises(TrainerError, match="contains one folder 'dogs' with 2 folders in it; use that one"):
        opened(tmp_path / "data")
    with pytest.raises(TrainerError, match=r"contains photos but no class folders; did you mean .*dogs, which has 2"):
        opened(data / "pug")
    with pytest.raises(TrainerError, match=r"did you mean .*dogs\?"):
        opened(tmp_path / "data" / "dgos")


@pytest.mark.parametrize(
    ("table", "header", "row"),
    [
        ("labels.csv", "id,breed", "{stem},{label}"),
        ("train.csv", "\ufeffFilename,Label", "train/{stem}.png,{label}"),
        ("anything.csv", "label,source,image", '{label},web,"{stem}.png"'),
        ("excel.csv", "File Path;Class Name", "train\\{stem}.PNG;{label}"),
        ("labels.tsv", "image_id\tspecies", "{stem}\t{label}"),
        ("colab.csv", "path,label", "/content/drive/MyDrive/pets/train/{stem}.png,{label}"),
        ("label-studio.csv", "id,image,choice", "7,/data/upload/1/{stem}.png,{label}"),
    ],
)
def test_photos_in_one_folder_are_read_with_a_table_of_labels(
    tmp_path: Path, write_photos: WriteFolder, table: str, header: str, row: str
) -> None:
    written = write_photos(tmp_path / "written", {"cat": 10, "dog": 10})
    data = tmp_path / "data"
    (data / "train").mkdir(parents=True)
    (data / "test").mkdir()
    rows = [header]
    for path in sorted(written.rglob("*.png")):
        stem = f"{path.parent.name}{path.stem}"
        shutil.copy(path, data / "train" / f"{stem}.png")
        rows.append(row.format(stem=stem, label=path.parent.name))
    shutil.copy(written / "cat" / "0.png", data / "test" / "unlabelled.png")
    (data / table).write_text("\n".join([*rows, row.format(stem="gone", label="cat")]), encoding="utf-8")
    found = opened(data)
    assert found.labels == ("cat", "dog")
    assert sum(len(photos) for photos in found.photos.values()) == 20
    assert any(f"reading classes from {data / table}" in line for line in found.warnings)
    assert any("lists 1 files that do not exist" in line for line in found.warnings)
    assert any("ignoring 1 files that are not in" in line for line in found.warnings)
    assert {name: len(files) for name, files in list_classes(data).items()} == {"cat": 10, "dog": 10}


@pytest.mark.parametrize(
    ("header", "rest", "warned"), [("file,label,notes", "nice, but dark", False), ("file,label,", "checked", True)]
)
def test_cells_that_are_not_in_the_column_of_labels_are_no_labels(
    tmp_path: Path, write_photos: WriteFolder, header: str, rest: str, *, warned: bool
) -> None:
    data = write_photos(tmp_path / "data", {"photos": 20})
    rows = [f"{number}.png,{'dog' if number % 2 else 'cat'},{rest}" for number in range(20)]
    (data / "labels.csv").write_text("\n".join([header, *rows]))
    found = opened(data)
    assert found.labels == ("cat", "dog")
    assert list_classes(data).keys() == {"cat", "dog"}
    assert (
        any(f"20 cells after the label in columns without a name, such as {rest!r}" in line for line in found.warnings)
        == warned
    )


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_table_without_a_header_is_read_in_the_encodings_of_excel(
    tmp_path: Path, write_photos: WriteFolder, encoding: str
) -> None:
    data = write_photos(tmp_path / "data", {"photos": 20})
    rows = [f"{number}.png,{'café' if number % 2 else 'cat'}" for number in range(20)]
    (data / "labels.csv").write_bytes("\r\n".join(rows).encode(encoding))
    (data / "sample_submission.csv").write_text("id,label\n0,dog\n")
    found = opened(data)
    assert found.labels == ("café", "cat")
    assert any("labels.csv, which has no header" in line for line in found.warnings)


def test_what_systems_leave_among_photos_is_passed_over(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"cat": 10, "dog": 10, "__MACOSX": 2, "@eaDir": 2})
    write_photos(data / "cat", {"__MACOSX": 1, ".ipynb_checkpoints": 1})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
        (data / "dog" / name).write_bytes(b"x")
    found = opened(data)
    assert (found.labels, found.unreadable, found.duplicates) == (("cat", "dog"), [], [])


def test_a_split_without_class_folders_is_left_out_and_named(tmp_path: Path, write_photos: WriteFolder) -> None:
    write_photos(tmp_path / "data" / "train" / "train", {"cat": 10, "dog": 10})
    write_photos(tmp_path / "data", {"test": 4}, first=100)
    found = opened(tmp_path / "data")
    assert found.labels == ("cat", "dog")
    assert any("ignoring the other folders: test" in line for line in found.warnings)


def test_splits_of_photos_without_classes_are_no_classes(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"train": 10, "valid": 4, "test": 4})
    for read in (opened, list_classes):
        with pytest.raises(
            TrainerError, match="divided into test, train, valid, which hold photos and no class folders"
        ):
            read(data)


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(b"PK")
    with pytest.raises(TrainerError, match=r"contains archives; unpack archive\.zip first"):
        opened(tmp_path / "data")


def test_classes_that_differ_in_case_only_are_told(tmp_path: Path, write_photos: WriteFolder) -> None:
    found = opened(write_photos(tmp_path / "data", {"Cat": 10, "cat": 10}))
    assert found.labels == ("Cat", "cat")
    assert any("Cat and cat differ in case only" in line for line in found.warnings)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("id,breed\nx,cat", "lists only files that do not exist, such as 'x'"),
        ("id,breed\n0,cat\n0,dog", "has the labels 'cat' and 'dog'"),
        ("id,breed\n0,", "row 2: the file or the label is missing"),
        ("id,breed\n", "has no rows"),
    ],
)
def test_a_table_that_cannot_be_right_is_told(tmp_path: Path, write_photos: WriteFolder, rows: str, words: str) -> None:
    data = write_photos(tmp_path / "data", {"photos": 3})
    (data / "labels.csv").write_text(rows)
    with pytest.raises(TrainerError, match=words):
        opened(data)
