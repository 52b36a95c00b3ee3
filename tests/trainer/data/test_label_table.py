"""Labels in a table beside the photos."""

import shutil
from pathlib import Path

import pytest

from tests.trainer.conftest import WriteFolder
from trainer.data.data_set import DataSet, open_folder
from trainer.data.folders import list_classes, list_labelled
from trainer.errors import TrainerError


def opened(data: Path) -> DataSet:
    cache = data.parent / "cache"
    return open_folder(data, cache, valid_share=0.2, test_share=0.1, seed=0, workers=2, duplicates="near")


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
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert sum(len(photos) for photos in data_set.photos.values()) == 20
    assert any(f"reading classes from {data / table}" in line for line in data_set.warnings)
    assert any("lists 1 files that do not exist" in line for line in data_set.warnings)
    assert any("ignoring 1 files that are not in" in line for line in data_set.warnings)
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
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert list_classes(data).keys() == {"cat", "dog"}
    assert (
        any(
            f"20 cells after the label in columns without a name, such as {rest!r}" in line
            for line in data_set.warnings
        )
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
    data_set = opened(data)
    assert data_set.labels == ("café", "cat")
    assert any("labels.csv, which has no header" in line for line in data_set.warnings)


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


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id_code,diagnosis", "{stem},{label}"),
        ("Image Index,Finding Labels,Age,Gender", "{stem}.png,{label},58,M"),
        (",image,label,split", "{number},{stem}.png,{label},train"),
        ("filename, cat, dog", "{stem}.png,{cat},{dog}"),
        ("image,cat,dog", "{stem},{cat}.0,{dog}.0"),
    ],
)
def test_columns_are_found_by_what_they_contain(
    tmp_path: Path, write_photos: WriteFolder, header: str, row: str
) -> None:
    data = write_photos(tmp_path / "data", {"train_images": 20, "test_images": 4})
    rows = [header]
    for number in range(20):
        label = "dog" if number % 2 else "cat"
        rows.append(
            row.format(number=number + 100, stem=number, label=label, cat=int(label == "cat"), dog=int(label == "dog"))
        )
    for path in (data / "test_images").iterdir():
        path.rename(path.with_stem(f"unlabelled{path.stem}"))
    (data / "train.csv").write_text("\n".join(rows))
    (data / "test.csv").write_text("id_code\nunlabelled0\n")
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert sum(len(photos) for photos in data_set.photos.values()) == 20
    split = [line for line in data_set.warnings if "the column 'split'" in line]
    assert len(split) == ("split" in header)


def test_a_table_with_a_column_for_each_label_has_several_labels_in_a_row(
    tmp_path: Path, write_photos: WriteFolder
) -> None:
    data = write_photos(tmp_path / "data", {"photos": 4})
    table = data / "_classes.csv"
    table.write_text("filename, night, rain\n0.png, 1, 1\n1.png, 0, 1\n2.png, 0, 0\n3.png, 1, 0\n")
    labels_of_file = {path.name: set(labels) for path, labels in list_labelled(data)}
    assert labels_of_file == {"0.png": {"night", "rain"}, "1.png": {"rain"}, "2.png": set(), "3.png": {"night"}}
    with pytest.raises(TrainerError, match="has the labels 'night' and 'rain'; only train --multi-label"):
        opened(data)
    table.write_text("file,label\n0.png,night|rain\n1.png,rain\n")
    labels_of_file = {path.name: set(labels) for path, labels in list_labelled(data)}
    assert labels_of_file == {"0.png": {"night", "rain"}, "1.png": {"rain"}}


def test_a_table_whose_columns_say_nothing_is_named(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"photos": 3})
    (data / "measures.csv").write_text("sample,width,height\n0,3,4\n1,5,6\n")
    with pytest.raises(TrainerError, match=r"measures.csv \(columns 'sample', 'width', 'height'\) cannot be used"):
        opened(data)


def test_a_table_beside_class_folders_is_told_if_it_says_otherwise(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = write_photos(tmp_path / "data", {"part_1": 10})
    write_photos(data, {"part_2": 10}, first=10)
    names = [f"{number}.png" for number in range(20)]
    for header, row, words in (
        ("image_id,dx,age", "{name},nv,50", "has the columns 'image_id', 'dx', 'age'; it is not read"),
        ("file,label", "{name},nv", "gives 20 photos other labels than their folders, such as '0.png'; it is not read"),
        ("file,label", "{folder}/{name},{folder}", None),
    ):
        rows = [
            row.format(name=name, folder="part_1" if number < 10 else "part_2") for number, name in enumerate(names)
        ]
        (data / "metadata.csv").write_text("\n".join([header, *rows]))
        data_set = opened(data)
        assert data_set.labels == ("part_1", "part_2")
        warnings = [line for line in data_set.warnings if "metadata.csv" in line]
        assert (words is None and warnings == []) or (words is not None and words in warnings[0])


def test_each_split_may_have_a_table_of_its_own(tmp_path: Path, write_photos: WriteFolder) -> None:
    data = tmp_path / "data"
    for number, (split, count) in enumerate({"train": 20, "valid": 6, "test": 4}.items()):
        write_photos(data, {split: count}, first=100 * number)
        rows = [f"{path.name}, {at % 2}, {1 - at % 2}" for at, path in enumerate(sorted((data / split).iterdir()))]
        (data / split / "_classes.csv").write_text("\n".join(["filename, cat, dog", *rows]))
    data_set = opened(data)
    assert data_set.labels == ("cat", "dog")
    assert {split: len(photos) for split, photos in data_set.photos.items()} == {"train": 20, "valid": 6, "test": 4}
    assert {label: len(files) for label, files in list_classes(data).items()} == {"cat": 2, "dog": 2}
    assert len(list_labelled(data, "valid")) == 6
