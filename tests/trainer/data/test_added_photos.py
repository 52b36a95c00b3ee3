"""Collected photos are added to the training photos, and change nothing else of a data set."""

import csv
import io
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from tests.trainer.conftest import WriteFolder
from trainer.data.added_photos import add_photos, list_added
from trainer.data.collect import MANIFEST, Collected
from trainer.data.data_set import DataSet, list_labels, open_folder
from trainer.data.photos import Photo
from trainer.data.splits import Split
from trainer.errors import TrainerError


@pytest.fixture
def photos(tmp_path: Path, write_photos: WriteFolder) -> Path:
    return write_photos(tmp_path / "photos", {"red": 12, "green": 12})


def opened(photos: Path, *folders: Path) -> DataSet:
    cache = photos.parent / "cache"
    data = open_folder(photos, cache, valid_share=0.25, test_share=0.25, seed=0, workers=2)
    if folders:
        add_photos(data, list_added(folders, list_labels(photos)), cache, duplicates="near", workers=2)
    return data


def keys(data: DataSet, split: Split) -> set[tuple[str, bytes]]:
    return {(data.labels[photo.label], photo.key) for photo in data.photos[split]}


def smaller_copy(photo: Photo, to: Path) -> Path:
    """The same picture as the prediction log keeps it: another size, another file."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(photo.path) as image:
        image.resize((40, 40)).save(to, "JPEG", quality=90)
    return to


def write_manifest(folder: Path, labels: dict[str, str]) -> None:
    names = [field.name for field in fields(Collected)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for file, label in labels.items():
        writer.writerow(dict.fromkeys(names, "x") | {"file": file, "label": label, "version": 1})
    (folder / MANIFEST).write_text(text.getvalue())


def test_added_photos_are_for_training_and_the_split_of_the_others_stays(
    photos: Path, tmp_path: Path, write_photos: WriteFolder
) -> None:
    before = opened(photos)
    data = opened(photos, write_photos(tmp_path / "more", {"red": 4}, first=50))
    assert data.labels == ("green", "red")
    for split in ("valid", "test"):
        assert keys(data, split) == keys(before, split)
    assert len(data.photos["train"]) == len(before.photos["train"]) + 4
    assert keys(data, "train") > keys(before, "train")
    assert data.counts()["train"]["red"] == before.counts()["train"]["red"] + 4


def test_a_new_label_becomes_the_last_class(photos: Path, tmp_path: Path, write_photos: WriteFolder) -> None:
    data = opened(photos, write_photos(tmp_path / "more", {"blue": 3, "red": 1}, first=50))
    assert data.labels == ("green", "red", "blue")
    assert data.counts()["train"]["blue"] == 3
    assert "the new class 'blue' has only 3 photos to train on" in data.warnings


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("label", ["red", "green"])
def test_a_copy_of_a_photo_that_is_held_out_is_not_trained_on(
    split: Split, label: str, photos: Path, tmp_path: Path, write_photos: WriteFolder
) -> None:
    more = write_photos(tmp_path / "more", {"blue": 1}, first=50)
    held_out = opened(photos).photos[split][0]
    copy = smaller_copy(held_out, more / label / "copy.jpg")
    data = opened(photos, more)
    assert [photo.folder for photo in data.added] == ["blue"]
    assert any(line.startswith(f"{copy} is a duplicate of {held_out.path}") for line in data.duplicates)
    wrong = label != held_out.folder
    assert any("is that label right?" in line for line in data.warnings) == wrong


def test_a_copy_of_a_training_photo_counts_once(photos: Path, tmp_path: Path, write_photos: WriteFolder) -> None:
    more = write_photos(tmp_path / "more", {"blue": 1}, first=50)
    trained = opened(photos).photos["train"][0]
    for name in ("one.jpg", "two.jpg"):
        smaller_copy(trained, more / trained.folder / name)
    data = opened(photos, more)
    assert [photo.folder for photo in data.added] == ["blue"]
    assert len(data.duplicates) == 2


def test_the_manifest_says_which_label_a_folder_stands_for(photos: Path, tmp_path: Path) -> None:
    for name in ("a_b", "red"):
        smaller_copy(opened(photos).photos["train"][0], tmp_path / "more" / name / "1.jpg")
    write_manifest(tmp_path / "more", {"a_b/1.jpg": "a/b", "red/gone.jpg": "red"})
    added = list_added([tmp_path / "more"], list_labels(photos))
    assert added.new_labels == ("a/b",)
    assert sorted(label for label, _ in added.files) == ["a/b", "red"]


def test_a_label_in_another_spelling_is_the_same_class(photos: Path, tmp_path: Path, write_photos: WriteFolder) -> None:
    more = write_photos(tmp_path / "more", {"Red": 2, "greem": 1, "Blue ": 1, "blue": 1}, first=50)
    added = list_added([more], list_labels(photos))
    assert added.new_labels == ("Blue ", "greem")
    assert {label for label, _ in added.files} == {"red", "greem", "Blue "}
    assert f"'Red' in {more} is taken for 'red'" in added.warnings
    assert "the new class 'greem' has nearly the name of 'green'; is it another one?" in added.warnings


def test_labels_that_differ_in_a_number_are_different_classes(tmp_path: Path, write_photos: WriteFolder) -> None:
    more = write_photos(tmp_path / "more", {"3 euro": 1})
    assert list_added([more], ["1 euro", "2 euro"]).new_labels == ("3 euro",)


def test_a_folder_without_photos_by_class_is_refused(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match="has no photos in folders by class"):
        list_added([tmp_path / "empty"], list_labels(photos))
    with pytest.raises(TrainerError, match=r"does not exist \(did you mean .*photos\?\)"):
        list_added([tmp_path / "photo"], list_labels(photos))


def test_a_new_class_of_which_nothing_can_be_read_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "more" / "blue").mkdir(parents=True)
    (tmp_path / "more" / "blue" / "1.jpg").write_bytes(b"not a photo")
    with pytest.raises(TrainerError, match="the new class 'blue' has no photo to train on"):
        opened(photos, tmp_path / "more")
