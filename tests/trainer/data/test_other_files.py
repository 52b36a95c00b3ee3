"""Files that are no photos, in all places of a data set, and the folder that was meant."""

import os
import unicodedata
from pathlib import Path

import pytest

from trainer.data.folders import list_classes, list_data_set
from trainer.errors import TrainerError

TABLE = "file,label\n1.jpg,cat\n2.jpg,dog\n"
SPLITS = ("train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg")


def tree(data: Path, *names: str, **texts: str) -> Path:
    """Writes empty files, and tables by their names without `.csv`."""
    for name, text in (dict.fromkeys(names, "") | {f"{name}.csv": text for name, text in texts.items()}).items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text)
    return data


def classes(data: Path) -> list[str]:
    return sorted({f"{split}/{name}" if split else name for split, name, _ in list_data_set(data).files})


@pytest.mark.parametrize("name", ["readme.txt", "_annotations.coco.json", "cat.zip", "labels.csv"])
def test_other_files_beside_the_class_folders_of_a_split_do_not_count(tmp_path: Path, name: str) -> None:
    data = tree(tmp_path, *SPLITS)
    for split in ("train", "test"):
        (data / split / name).write_text("file,label\n1.jpg,dog\n")
    assert classes(data) == ["test/cat", "test/dog", "train/cat", "train/dog"]
    assert sorted(list_classes(data)) == ["cat", "dog"]


def test_photos_beside_the_class_folders_of_a_split_are_told(tmp_path: Path) -> None:
    data = tree(tmp_path, *SPLITS)
    (data / "train" / "without_extension").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(TrainerError, match="photos are beside the class folders of train; move these photos"):
        list_data_set(data)


def test_a_folder_of_photos_beside_the_table_of_its_split_is_no_class(tmp_path: Path) -> None:
    data = tree(tmp_path, "train/images/1.jpg", "train/images/2.jpg", "test/3.jpg")
    tree(data / "train", metadata=TABLE)
    assert classes(data) == ["train/cat", "train/dog"]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("folders", [("images", "masks"), ("00", "01"), ("pet", "animal")])
def test_a_table_in_a_split_has_the_classes_if_no_folder_is_called_like_one(
    tmp_path: Path, folders: tuple[str, str], multi_label: bool
) -> None:
    for split in ("train", "valid"):
        tree(tmp_path / split, *(f"{folder}/{at}.jpg" for at, folder in enumerate(folders, 1)), labels=TABLE)
    listing = list_data_set(tmp_path, multi_label=multi_label)
    assert {(split, label) for split, label, _ in listing.files} == {
        (split, label) for split in ("train", "valid") for label in ("cat", "dog")
    }
    assert sorted(list_classes(tmp_path)) == ["cat", "dog"]


@pytest.mark.parametrize("inside", ["train", "train/train"])
def test_a_table_in_a_split_that_differs_from_its_class_folders_is_told(tmp_path: Path, inside: str) -> None:
    data = tree(tmp_path, *(f"{inside}/{one}" for one in ("cat/1.jpg", "dog/2.jpg")))
    tree(data / inside, labels="file,label\n1.jpg,dog\n2.jpg,dog\n")
    [warning] = list_data_set(data).warnings
    assert f"{data / inside}/labels.csv gives 1 photos other labels than their folders, such as '1.jpg'" in warning
    assert classes(data) == ["train/cat", "train/dog"]


def test_a_table_of_another_split_may_have_a_single_label(tmp_path: Path) -> None:
    data = tree(tmp_path, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    tree(data / "train", labels=TABLE)
    tree(data / "test", labels="file,label\n3.jpg,cat\n")
    assert classes(data) == ["test/cat", "train/cat", "train/dog"]


@pytest.mark.parametrize("beside", ["readme.txt", "PetImages.zip", "docs/index.html", "PetImages/LICENSE"])
def test_the_only_folder_with_photos_is_the_one_to_use_whatever_is_beside_it(tmp_path: Path, beside: str) -> None:
    tree(tmp_path / "archive", "PetImages/cat/1.jpg", "PetImages/dog/2.jpg", beside)
    words = "contains one folder of photos, 'archive/PetImages', with 2 folders in it; use that one"
    with pytest.raises(TrainerError, match=words):
        list_data_set(tmp_path)


def test_a_table_that_is_one_folder_away_is_told(tmp_path: Path) -> None:
    data = tree(tmp_path / "set", "photos/1.jpg", "photos/2.jpg", labels=TABLE)
    with pytest.raises(TrainerError, match="contains one folder of photos, 'set', with a table in it; use that one"):
        list_data_set(tmp_path)
    with pytest.raises(TrainerError, match=rf"no class folders; did you mean {data}, which has a table\?"):
        list_data_set(data / "photos")


def test_the_folder_above_is_not_suggested_where_an_unread_table_is_beside_the_photos(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "labels.xlsx").touch()
    with pytest.raises(TrainerError, match=r"has 0 class folders .*; save labels\.xlsx as CSV if it has the labels"):
        list_data_set(tmp_path / "a")
    (tmp_path / "a" / "more.json").touch()
    with pytest.raises(TrainerError, match=r"; save the one with the labels as CSV: labels\.xlsx, more\.json$"):
        list_data_set(tmp_path / "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_the_folder_above_is_suggested_if_other_folders_in_it_cannot_be_read(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "c").mkdir(mode=0)
    with pytest.raises(TrainerError, match=f"did you mean {tmp_path}, which has 2 folders of photos"):
        list_data_set(tmp_path / "a")


def test_only_photos_right_in_the_folders_beside_count_for_a_suggestion(tmp_path: Path) -> None:
    data = tree(tmp_path, "a/1.jpg", "b/deep/2.jpg") / "a"
    with pytest.raises(TrainerError, match="has 0 class folders"):
        list_data_set(data)


def test_an_empty_table_beside_the_only_photos_is_told_and_no_reason_to_use_their_folder(tmp_path: Path) -> None:
    tree(tmp_path / "photos", "1.jpg", "2.jpg", labels="")
    with pytest.raises(TrainerError, match=r"has 1 class folder with files; .*; labels\.csv \(empty\) cannot be used"):
        list_data_set(tmp_path)


def test_folders_that_were_read_as_splits_are_named_where_classes_are_missing(tmp_path: Path) -> None:
    tree(tmp_path, "bus/1.jpg", "car/2.jpg", "train/steam/3.jpg", "train/README.md")
    with pytest.raises(TrainerError, match=r"has 1 class folder with files in its splits \(train\); at least 2"):
        list_data_set(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.csv", "", r"labels\.csv \(empty\) cannot be used"),
        ("labels.xlsx", "PK", r"save labels\.xlsx as CSV if it has the labels"),
        (
            "labels.csv",
            "file,label\n1.jpg,cat\n2.jpg,cat\n",
            r"the only label in .*labels\.csv is 'cat'; at least 2 are needed",
        ),
    ],
)
def test_a_table_without_two_labels_is_told(tmp_path: Path, name: str, content: str, words: str) -> None:
    data = tree(tmp_path, "photos/1.jpg", "photos/2.jpg")
    (data / name).write_text(content)
    with pytest.raises(TrainerError, match=words):
        list_data_set(data)


def test_a_table_finds_files_whose_names_have_another_form_of_unicode(tmp_path: Path) -> None:
    names = [unicodedata.normalize(form, "café.jpg") for form in ("NFC", "NFD")]
    for cell, file in (names, names[::-1]):
        data = tree(tmp_path / repr(cell), file, "2.jpg", labels=f"file,label\n{cell},cat\n2.jpg,dog\n")
        assert {name: path.name for _, name, path in list_data_set(data).files} == {"cat": file, "dog": "2.jpg"}


def test_the_line_in_which_excel_names_the_separator_is_no_header(tmp_path: Path) -> None:
    data = tree(tmp_path, "1.jpg", "2.jpg", labels="sep=;\n" + TABLE.replace(",", ";"))
    assert classes(data) == ["cat", "dog"]


def test_a_class_is_spelled_as_in_training(tmp_path: Path) -> None:
    data = tree(tmp_path, "train/pug/1.jpg", "train/fox/2.jpg", "test/PUG/3.jpg", "test/fox/4.jpg")
    assert classes(data) == ["test/fox", "test/pug", "train/fox", "train/pug"]
