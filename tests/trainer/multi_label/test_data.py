"""Data sets whose photos have several labels: tables, and folders with links."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.multi_label.squares import COLOURS, draw, write_links, write_table
from trainer.check.check import summary
from trainer.check.findings import Findings, PhotoFinding
from trainer.check.page import render
from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import list_labelled
from trainer.errors import TrainerError

LABELS = tuple(COLOURS)


def read(folder: Path, *, multi_label: bool = True, limit: int = 0) -> DataSet:
    return open_folder(
        folder,
        folder.parent / "cache",
        valid_share=0.25,
        test_share=0.0,
        seed=0,
        workers=2,
        limit=limit,
        multi_label=multi_label,
    )


def labels_by_name(data: DataSet) -> dict[str, tuple[str, ...]]:
    photos = (photo for split in data.photos.values() for photo in split)
    return {photo.path.name: tuple(data.labels[at] for at in photo.labels) for photo in photos}


def test_a_table_gives_each_file_all_labels_of_its_row(tmp_path: Path) -> None:
    data = read(write_table(tmp_path / "photos", 40))
    assert data.labels == LABELS
    labels_of_file = labels_by_name(data)
    assert len(labels_of_file) == 40
    assert labels_of_file["000.png"] == ()
    assert labels_of_file["001.png"] == ("blue",)
    assert labels_of_file["006.png"] == ("green", "red")
    assert labels_of_file["007.png"] == LABELS
    assert not any("several labels" in line or "has a label" in line for line in data.warnings)


@pytest.mark.parametrize(
    "table",
    [
        "file,label,label\na.png,red,blue\nb.png,green,\n",
        "file;label\na.png;blue;red\nb.png;green\n",
        "file,label,,\na.png,red,blue,\nb.png,green,,\n",
        "a.png,red,blue\nb.png,green,\n",
        "file,label\na.png,red\na.png,blue\nb.png,green\n",
        ",file,label\n0,a.png,red,blue\n1,b.png,green\n",
        "file,label,notes\na.png,red,nice, but dark\na.png,blue,,\nb.png,green\n",
        "file,label,,notes,\na.png,red,blue,nice,checked\nb.png,green,,,checked\n",
    ],
)
def test_tables_in_many_forms_say_the_same(table: str, tmp_path: Path) -> None:
    draw(tmp_path / "a.png", ("red", "blue"), 1)
    draw(tmp_path / "b.png", ("green",), 2)
    (tmp_path / "labels.csv").write_text(table)
    labels_of_file = {path.name: set(labels) for path, labels in list_labelled(tmp_path)}
    assert labels_of_file == {"a.png": {"red", "blue"}, "b.png": {"green"}}


def test_a_photo_in_several_class_folders_is_one_photo_with_all_their_labels(tmp_path: Path) -> None:
    folder = write_links(tmp_path / "photos", 40)
    link = folder / "red" / "006.png"
    copied = link.resolve().read_bytes()
    link.unlink()
    link.write_bytes(copied)  # a copy is as good as a link
    data = read(folder)
    labels_of_file = labels_by_name(data)
    assert len(labels_of_file) == 35  # photos without labels have no folder
    assert labels_of_file["006.png"] == ("green", "red")
    assert labels_of_file["007.png"] == LABELS
    assert not data.duplicates
    listed = {path.name: labels for path, labels in list_labelled(folder)}
    assert listed["006.png"] == ("green", "red")


def test_a_photo_that_is_twice_in_a_class_folder_has_its_label_once(tmp_path: Path) -> None:
    photo = draw(tmp_path / "red" / "1.png", ("red",), 1)
    shutil.copy(photo, tmp_path / "red" / "copy.png")
    draw(tmp_path / "blue" / "2.png", ("blue",), 2)
    assert sorted(list_labelled(tmp_path)) == [(tmp_path / "blue" / "2.png", ("blue",)), (photo, ("red",))]


def test_every_label_has_its_share_of_the_validation_photos(tmp_path: Path) -> None:
    data = read(write_table(tmp_path / "photos", 80))
    shares = Counter(label for photo in data.photos["valid"] for label in photo.labels)
    for at in range(len(LABELS)):
        assert shares[at] == pytest.approx(10, abs=3)
    assert any(not photo.labels for photo in data.photos["valid"])
    assert data.counts()["train"]["red"] + data.counts()["valid"]["red"] == 40
    assert data.targets("valid").sum() == shares.total()


def test_a_copy_of_a_validation_photo_is_left_out_of_training_whatever_its_labels(tmp_path: Path) -> None:
    write_links(tmp_path / "photos" / "train", 24)
    write_links(tmp_path / "photos" / "valid", 8, first=100)
    shutil.copy(tmp_path / "photos/train/blue/001.png", tmp_path / "photos/valid/red/other.png")
    data = read(tmp_path / "photos")
    assert [line for line in data.duplicates if "other.png" in line]
    assert "other.png" not in {photo.path.name for photo in data.photos["valid"]}


def test_a_resized_copy_of_a_training_photo_is_left_out_if_one_of_its_labels_is_the_same(tmp_path: Path) -> None:
    folder = write_links(tmp_path / "photos" / "train", 24).parent
    write_links(folder / "valid", 8, first=100)
    for name, label, size in (("some.png", "red", 96), ("other.png", "blue", 150)):  # of a photo of green and red
        with Image.open(folder / "train" / "green" / "006.png") as photo:
            photo.resize((size, size), Image.Resampling.BILINEAR).save(folder / "valid" / label / name)
    data = read(folder)
    assert [line for line in data.duplicates if "some.png" in line]
    assert any("some.png is in 'red' and, as" in line for line in data.warnings)
    assert {"some.png", "other.png"} & labels_by_name(data).keys() == {"other.png"}
    assert any("other.png in 'blue' and" in line and "both are kept" in line for line in data.warnings)


def test_a_label_that_all_photos_have_is_mentioned(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "photos" / f"{number}.png", ("red", "blue") if number % 2 else ("red",), number)
    rows = [f"{number}.png,red,{'blue' if number % 2 else ''}" for number in range(12)]
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    assert any("all training photos are in 'red'" in line for line in read(tmp_path / "photos").warnings)


def test_without_the_option_a_photo_with_several_labels_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "photos", 16)
    table = folder / "labels.csv"
    rows = [row for row in table.read_text().splitlines()[1:] if "," in row]  # those with labels
    table.write_text("\n".join(["file,label,label,label", *rows]))
    with pytest.raises(TrainerError, match=r"'004.png' has the labels 'blue' and 'green'; only train --multi-label"):
        read(folder, multi_label=False)


def test_one_label_for_each_photo_is_said_to_need_no_option(tmp_path: Path) -> None:
    for at, label in enumerate(("red", "blue")):
        for number in range(6):
            draw(tmp_path / "photos" / label / f"{number}.png", (label,), 10 * at + number)
    warnings = read(tmp_path / "photos").warnings
    assert any("no photo has several labels" in line for line in warnings)
    assert any("every photo has a label" in line for line in warnings)


def test_a_limit_leaves_out_photos_and_no_labels_of_a_photo(tmp_path: Path) -> None:
    for folder in (write_table(tmp_path / "table", 40), write_links(tmp_path / "links", 40)):
        full, few = labels_by_name(read(folder)), labels_by_name(read(folder, limit=6))
        assert len(few) < 20
        assert few.items() <= full.items()
        assert all(sum(label in labels for labels in few.values()) >= 6 for label in LABELS)


def test_a_check_that_finds_a_picture_in_two_classes_names_the_option() -> None:
    finding = PhotoFinding("two_classes", Path("cat/1.jpg"), "cat", "the same file is in 'cat' and in 'dark'")
    for photos in ([finding], []):
        findings = Findings("photos", {"cat": 9, "dark": 9}, accuracy=None, photos=photos, classes=[], warnings=[])
        for text in (summary(findings), render(findings)):
            assert text.count("train with --multi-label") == len(photos)
            assert "`" not in text
