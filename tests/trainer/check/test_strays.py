"""Files in the folder of a data set that `train` does not read."""

from pathlib import Path

import pytest

from trainer.check.strays import unread_files
from trainer.data import label_table


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
    [warning] = unread_files(data)
    assert f"the labels in {data}/labels.csv are not read, because the folders name the classes" in warning


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (
            {"a.csv": "file,label\n1.jpg,cat\n", "b.tsv": "file\tlabel\n1.jpg\tcat\n"},
            "several label files: a.csv, b.tsv",
        ),
        ({"a.csv": f"file,label\n1.jpg,{'0' * 200_000}\n"}, "a.csv cannot be read as CSV"),
    ],
)
def test_why_none_of_the_tables_could_be_read_is_told(data: Path, tables: dict[str, str], words: str) -> None:
    for name, text in tables.items():
        (data / name).write_text(text)
    [warning] = unread_files(data)
    assert words in warning
    assert warning.endswith("; no table is read, because the folders name the classes")


def test_a_large_table_beside_class_folders_is_not_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_table, "MAX_BESIDE_BYTES", 10)
    (data / "labels.csv").write_text("file,label\n1.jpg,cat\n")
    [warning] = unread_files(data)
    assert "labels.csv is larger than" in warning


def test_labels_that_are_read_are_no_stray(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("x")
    (tmp_path / "labels.csv").write_text("file,label\n1.jpg,cat\n")
    assert unread_files(tmp_path) == []


def test_photos_outside_class_folders_are_named(data: Path) -> None:
    (data / "lost.jpg").write_text("x")
    assert unread_files(data) == [f"{data}/lost.jpg is a file, which is not read; move photos into a class folder"]
