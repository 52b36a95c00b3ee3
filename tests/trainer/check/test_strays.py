"""Files in the folder of a data set that `train` does not read."""

from pathlib import Path

import pytest

from trainer.check.strays import unread_files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("train/cat/1.jpg", "train/dog/1.jpg", "valid/cat/2.jpg", "valid/dog/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_a_tidy_folder_has_none(data: Path) -> None:
    assert unread_files(data) == []


def test_hidden_files_of_any_system_are_counted(data: Path) -> None:
    (data / "train" / "cat" / ".DS_Store").write_text("x")
    assert unread_files(data) == [
        f"{data}/train/cat/.DS_Store is a hidden or system file, which is not read, and can stay"
    ]
    (data / "__MACOSX").mkdir()
    (data / "__MACOSX" / "._1.jpg").write_text("x")
    assert unread_files(data)[0].startswith("2 hidden or system files, such as")


def test_labels_beside_class_folders_are_named(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\n1.jpg,cat\n")
    [said] = unread_files(data)
    assert f"the labels in {data}/labels.csv are not read, because the folders name the classes" in said


def test_labels_that_are_read_are_no_stray(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("x")
    (tmp_path / "labels.csv").write_text("file,label\n1.jpg,cat\n")
    assert unread_files(tmp_path) == []


def test_photos_outside_class_folders_are_named(data: Path) -> None:
    (data / "lost.jpg").write_text("x")
    assert unread_files(data) == [f"{data}/lost.jpg is a file, which is not read; move photos into a class folder"]
