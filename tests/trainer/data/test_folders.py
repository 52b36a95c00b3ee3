"""Which files of a folder belong to which class and split, by their names alone."""

from pathlib import Path

import pytest

from trainer.data import label_table
from trainer.data.folders import list_classes, list_data_set, list_labelled
from trainer.data.table_columns import NamedFiles
from trainer.errors import TrainerError


def tree(data: Path, *files: str, **tables: str) -> Path:
    """Writes empty files, and tables in `data` by their names without `.csv`."""
    for name in files:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    for name, text in tables.items():
        (data / f"{name}.csv").write_text(text)
    return data


def classes(data: Path, *, multi_label: bool = False) -> dict[str, list[str]]:
    """The files of each class in training, and those of each split as `split/class`."""
    values: dict[str, list[str]] = {}
    for split, name, path in list_data_set(data, multi_label=multi_label).files:
        values.setdefault(f"{split}/{name}" if split else name, []).append(path.relative_to(data).as_posix())
    return values


def warned(data: Path) -> str:
    return "\n".join(list_data_set(data).warnings)


def test_a_table_of_other_things_beside_class_folders_does_not_replace_them(tmp_path: Path) -> None:
    data = tree(tmp_path, "bus/a.jpg", "train/b.jpg", meta="file,camera\na.jpg,canon\nb.jpg,nikon\n")
    assert classes(data) == {"bus": ["bus/a.jpg"], "train": ["train/b.jpg"]}
    assert sorted(list_classes(data)) == ["bus", "train"]
    assert "meta.csv gives 2 photos other labels than their folders" in warned(data)


def test_a_table_with_the_usual_columns_is_read_beside_photos_and_unlabelled_test_photos(tmp_path: Path) -> None:
    data = tree(tmp_path, "images/a.jpg", "images/b.jpg", "test/c.jpg", labels="id,breed\na,pug\nb,boxer\n")
    assert classes(data) == {"pug": ["images/a.jpg"], "boxer": ["images/b.jpg"]}


@pytest.mark.parametrize("beside", [["test/cat/3.jpg", "test/dog/3.jpg"], ["annotations/a.json"]])
@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (("train", "val", "dev"), "valid: dev and val"),
        (("train", "training", "val"), "train: train and training"),
        (("train_1", "train_2", "valid_1"), "train: train_1 and train_2"),
    ],
)
def test_two_folders_of_one_split_are_refused(
    tmp_path: Path, folders: tuple[str, ...], words: str, beside: list[str]
) -> None:
    files = [f"{folder}/{name}/{folder}.jpg" for folder in folders for name in ("cat", "dog")]
    data = tree(tmp_path, *files, *beside)
    for read in (classes, list_classes):
        with pytest.raises(TrainerError, match=f"two folders for the split {words}; keep one"):
            read(data)


def test_a_photo_that_is_named_like_a_column_does_not_make_the_header_a_row(tmp_path: Path) -> None:
    data = tree(tmp_path, "photos/image.jpg", "photos/b.jpg", labels="image,label\nimage,pug\nb,boxer\n")
    assert classes(data) == {"boxer": ["photos/b.jpg"], "pug": ["photos/image.jpg"]}


def test_a_first_row_with_a_photo_is_no_header_whatever_its_label_is(tmp_path: Path) -> None:
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", labels="a.jpg,tag\nb.jpg,image\n")
    assert classes(data) == {"tag": ["photos/a.jpg"], "image": ["photos/b.jpg"]}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("image", "image,label\nimage,pug\nb,boxer\n"),
        ("train", "split,photo,kind\ntrain,image,pug\ntrain,b,boxer\n"),
    ],
)
def test_a_table_is_none_of_the_photos_that_it_names(tmp_path: Path, name: str, text: str) -> None:
    data = tree(tmp_path, "photos/image.jpg", "photos/b.jpg", **{name: text})
    assert classes(data) == {"boxer": ["photos/b.jpg"], "pug": ["photos/image.jpg"]}


@pytest.mark.parametrize("folders", [("cat", "dog"), ("cat", "train")])
def test_a_table_that_cannot_be_read_does_not_stop_training_on_class_folders(
    tmp_path: Path, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tree(tmp_path, *(f"{name}/1.jpg" for name in folders), stray=f"file,embedding\n1.jpg,{'0' * 200_000}\n")
    assert sorted(classes(data)) == sorted(folders)
    assert "stray.csv cannot be read as CSV" in warned(data)
    monkeypatch.setattr(label_table, "MAX_BESIDE_BYTES", 1000)
    assert sorted(classes(data)) == sorted(folders)
    assert "stray.csv is larger than 0 MB; it is ignored, because the folders name the classes" in warned(data)


def test_a_large_table_is_not_read_beside_folders_that_may_be_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_table, "MAX_BESIDE_BYTES", 10)
    data = tree(tmp_path, "images/a.jpg", "images/b.jpg", "test/c.jpg", labels="id,breed\na,pug\nb,boxer\n")
    assert sorted(classes(data)) == ["images", "test"]
    assert "labels.csv is larger than" in warned(data)
    (data / "test" / "c.jpg").unlink()
    assert sorted(classes(data)) == ["boxer", "pug"]


def test_a_table_that_cannot_be_read_is_an_error_if_no_other_has_the_labels(tmp_path: Path) -> None:
    stray = f"file,embedding\na.jpg,{'0' * 200_000}\n"
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", stray=stray)
    with pytest.raises(TrainerError, match=r"stray\.csv cannot be read as CSV"):
        classes(data)
    tree(data, labels="file,label\na.jpg,pug\nb.jpg,boxer\n")
    assert classes(data) == {"pug": ["photos/a.jpg"], "boxer": ["photos/b.jpg"]}


def test_a_cell_of_base64_is_no_path(tmp_path: Path) -> None:
    files = NamedFiles([tmp_path / "a.jpg"], tmp_path)
    assert files.find("x/" * 10 + "a.jpg") == [tmp_path / "a.jpg"]
    assert files.find("x/" * 3000 + "a.jpg") == []


TABLE = "file,label\na.jpg,pug\nb.jpg,boxer\n"


def test_two_tables_of_one_split_are_refused(tmp_path: Path) -> None:
    folders = ("train_1", "train_2", "valid_1")
    data = tree(tmp_path, *(f"{folder}/{name}.jpg" for folder in folders for name in "ab"))
    for folder in folders:
        tree(data / folder, labels=TABLE)
    with pytest.raises(TrainerError, match=r"two tables for the split train: .*train_1.labels.csv and .*train_2"):
        classes(data)


def test_a_split_with_a_table_that_cannot_be_used_is_refused_and_one_without_a_table_named(tmp_path: Path) -> None:
    data = tree(tmp_path, *(f"{folder}/{name}.jpg" for folder in ("train", "valid") for name in "ab"))
    tree(data / "train", labels=TABLE)
    assert sorted(classes(data)) == ["train/boxer", "train/pug"]
    assert "without a table of labels: valid" in warned(data)
    for read in (list_classes, list_labelled):
        with pytest.raises(TrainerError, match=r"has no split 'valid'; splits: train$"):
            read(data, "valid")
    tree(data / "valid", labels="file,width,height\na.jpg,3,4\n")
    with pytest.raises(
        TrainerError, match=r"that of valid is unclear; labels\.csv \(columns 'file', 'width', 'height'"
    ):
        classes(data)


@pytest.mark.parametrize(
    "header", ["image,labeled_by,diagnosis", "image,label_source,diagnosis", "image,class_confidence,diagnosis"]
)
def test_a_column_whose_name_only_contains_label_has_no_labels(tmp_path: Path, header: str) -> None:
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", labels=f"{header}\na,anna,flu\nb,ben,cold\n")
    with pytest.raises(TrainerError, match="cannot be used: a table needs a column") as error:
        classes(data)
    assert all(repr(name) in str(error.value) for name in header.split(","))
    tree(data, labels="image,labeled_by,Finding Labels\na,anna,flu\nb,ben,cold\n")
    assert sorted(classes(data)) == ["cold", "flu"]


@pytest.mark.parametrize(
    "name",
    [
        *("breed_name", "label_name", "class_id", "category_id", "ClassID"),
        *("DogBreed", "imageLabel", "label 1", "labels (en)"),
    ],
)
def test_a_column_of_labels_may_be_called_so_in_several_words(tmp_path: Path, name: str) -> None:
    table = f"image,{name},label_source\na,pug,3\nb,boxer,4\n"
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", labels=table)
    assert sorted(classes(data)) == ["boxer", "pug"]


def test_a_first_row_with_the_name_of_a_photo_without_extension_is_no_header(tmp_path: Path) -> None:
    data = tree(tmp_path, "photos/img_1.jpg", "photos/img_2.jpg", labels="img_1,target\nimg_2,bird\n")
    assert classes(data) == {"target": ["photos/img_1.jpg"], "bird": ["photos/img_2.jpg"]}
    tree(data, "photos/bird.jpg", labels="filename,bird,cat\nimg_1,1,0\nimg_2,0,1\n")
    assert classes(data) == {"bird": ["photos/img_1.jpg"], "cat": ["photos/img_2.jpg"]}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("id,breed\na,pug\nb,boxer\n", "id,filename\n7,a.jpg\n"),
        ("id,breed\na,pug\nb,boxer\n", "photo,kind\na,x\n"),
        ("photo,dog breed,age\na,pug,3\nb,boxer,3\n", "photo,kind\na,x\n"),
    ],
)
def test_of_several_tables_the_one_with_a_column_of_labels_is_read(tmp_path: Path, train: str, test: str) -> None:
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", train=train, test=test)
    assert sorted(classes(data)) == ["boxer", "pug"]


def test_a_label_may_contain_a_bar(tmp_path: Path) -> None:
    data = tree(tmp_path, "photos/a.jpg", "photos/b.jpg", labels="file,label\na.jpg,cat|big\nb.jpg,dog\n")
    assert sorted(classes(data)) == ["cat|big", "dog"]
    assert sorted(classes(data, multi_label=True)) == ["big", "cat", "dog"]
    tree(data, labels="file,cat|big,path\na.jpg,1,1\nb.jpg,0,1\n")
    assert sorted(classes(data, multi_label=True)) == ["cat|big", "path"]


@pytest.mark.parametrize(
    "names", [("toy_train", "crash_test"), ("train", "crash_test"), ("cats_train", "cats_test", "dogs_train")]
)
def test_folders_named_after_different_things_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert sorted(classes(tree(tmp_path, *(f"{name}/{name}.jpg" for name in names)))) == sorted(names)


def test_one_longer_name_of_a_split_with_folders_inside_is_a_class_beside_others(tmp_path: Path) -> None:
    data = tree(tmp_path, "photos/1.jpg", "train/2.jpg", "val/3.jpg", "train_1/u/4.jpg")
    assert sorted(classes(data)) == ["photos", "train", "train_1", "val"]


def test_class_folders_that_are_divided_are_classes(tmp_path: Path) -> None:
    data = tree(tmp_path, *(f"{name}/{split}/x/1.jpg" for name in ("dogs", "cats") for split in ("train", "test")))
    assert sorted(classes(data)) == ["cats", "dogs"]
    about_dogs = [line for line in warned(data).splitlines() if "'dogs'" in line]
    assert len(about_dogs) == 1
    assert f"the photos in the subfolders of {data / 'dogs'} (test, train) belong to 'dogs'" in about_dogs[0]


def test_a_class_folder_with_two_folders_of_one_split_is_a_class(tmp_path: Path) -> None:
    inside = [f"{name}/{split}/x/1.jpg" for name in ("dogs", "cats") for split in ("train", "val", "dev")]
    assert sorted(classes(tree(tmp_path, *inside))) == ["cats", "dogs"]


def test_one_divided_class_folder_beside_others_is_a_class(tmp_path: Path) -> None:
    data = tree(tmp_path, "dogs/train/x/1.jpg", "dogs/test/x/2.jpg", "cats/3.jpg")
    assert sorted(classes(data)) == ["cats", "dogs"]
    tree(data, "birds/test/4.jpg")
    assert sorted(classes(data)) == ["birds", "cats", "dogs"]


def test_a_table_beside_splits_with_one_class_is_not_said_to_lack_columns(tmp_path: Path) -> None:
    data = tree(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", labels="file,label\n1.jpg,cat\n2.jpg,dog\n")
    with pytest.raises(TrainerError, match="has 1 class folder with files") as error:
        classes(data)
    assert "labels.csv" not in str(error.value)


def test_a_divided_folder_beside_empty_ones_is_the_one_to_use(tmp_path: Path) -> None:
    data = tree(tmp_path, "dogs/train/x/1.jpg", "dogs/test/x/2.jpg")
    (data / "notes").mkdir()
    with pytest.raises(TrainerError, match=r"dogs is divided into test, train; use that folder, not"):
        classes(data)
