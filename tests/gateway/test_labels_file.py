from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.labels_file import read_labels
from gateway.model_options import ModelOptions
from gateway.settings import Settings

READ: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "one a line": (b"cat\ndog\n", ("cat", "dog")),
    "Windows line ends, a byte order mark and blank lines": ("\ufeffcat\r\n\r\ndog\r\n\r\n".encode(), ("cat", "dog")),
    "names in brackets": (b"(background)\ncat\n", ("(background)", "cat")),
    "names with others in brackets": (b'Cat ("Felis"), Dog ("Canis")', ('Cat ("Felis")', 'Dog ("Canis")')),
    "brackets": (b"(\n)\n[\n]\n", ("(", ")", "[", "]")),
    "names like assignments": (b'["size = (small)", "size = (large)"]', ("size = (small)", "size = (large)")),
    "a JSON list": (b'["cat", "dog"]', ("cat", "dog")),
    "Keras' class_indices": (b'{"dog": 1, "cat": 0}', ("cat", "dog")),
    "indexes to names": (b'{"1": "dog", "0": "cat"}', ("cat", "dog")),
    "names that are numbers": (b'{"7": 1, "3": 0}', ("3", "7")),
    "imagenet_class_index.json": (
        b'{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}',
        ("tench", "goldfish"),
    ),
    "UTF-16 of Windows' Notepad": ("café\r\nthé\r\n".encode("utf-16"), ("café", "thé")),
    "UTF-16 without a byte order mark": ("cat\ndog".encode("utf-16-le"), ("cat", "dog")),
    "UTF-16, high byte first": ("cat\ndog".encode("utf-16-be"), ("cat", "dog")),
    "Latin-1": ("café\nthé\n".encode("latin-1"), ("café", "thé")),
    "Teachable Machine": (b"0 Class A\n1 Class B\n2 background noise\n", ("Class A", "Class B", "background noise")),
    "indexes with a colon": (b"0: cat\n1: dog", ("cat", "dog")),
    "indexes from 1": (b"1 cat\n2 dog\n", ("cat", "dog")),
    "indexes with points, in another order": (b"1. dog\n0. cat\n", ("cat", "dog")),
    "CSV with a header": (b"index,label\r\n0,cat\r\n1,dog\r\n", ("cat", "dog")),
    "CSV with the names first": (b"name;id\ndog;1\ncat;0\n", ("cat", "dog")),
    "CSV with a header and more columns": (b"id,class_name,photos\n1,dog,12\n0,cat,30\n", ("cat", "dog")),
    "CSV whose names are quoted where they need it": (
        b'class_id,name\n1,cat\n2,"tench, Tinca tinca"\n',
        ("cat", "tench, Tinca tinca"),
    ),
    "CSV without an index": (b"wnid,name\nn2,cat\nn1,dog\n", ("cat", "dog")),
    "a column of pandas": (b"label\ncat\ndog\n", ("cat", "dog")),
    "a list of pandas": (b",0\n0,cat\n1,dog\n", ("cat", "dog")),
    "ImageNet's identifiers": (
        b"n01440764 tench, Tinca tinca\nn01443537 goldfish\n",
        ("tench, Tinca tinca", "goldfish"),
    ),
    "a list in YAML": (b"- cat\n- dog\n", ("cat", "dog")),
    "a line of a program": (b"class_names = ['cat', 'dog']\n", ("cat", "dog")),
    "a line of JavaScript": (b"const labels = ['cat', 'dog'];\n", ("cat", "dog")),
    "tabs": (b"cat\t0\ndog\t1\n", ("cat", "dog")),
    "quotes and commas at the ends": (b"'cat',\n'hot dog',\n", ("cat", "hot dog")),
    "one line": (b"cat, dog, bird\n", ("cat", "dog", "bird")),
    "a list as Python prints it": (b"['cat', 'dog']", ("cat", "dog")),
    "a dict as Python prints it": (b"{0: 'cat', 1: 'dog'}", ("cat", "dog")),
    "Teachable Machine's metadata.json": (
        b'{"tmVersion": "2.4", "labels": ["Class 1", "Class 2"]}',
        ("Class 1", "Class 2"),
    ),
    "config.json of Transformers": (b'{"id2label": {"1": "dog", "0": "cat"}, "x": 1}', ("cat", "dog")),
    "indexes that are strings": (b'{"dog": "1", "cat": "0"}', ("cat", "dog")),
    "names twice, as in ImageNet": (b"crane\nmaillot\ncrane\n", ("crane", "maillot", "crane")),
    "commas in names": (b"tench, Tinca tinca\ngoldfish, Carassius\n", ("tench, Tinca tinca", "goldfish, Carassius")),
    "names that begin with numbers": (b"1 euro\n2 euro", ("1 euro", "2 euro")),
    "digits": (b"0\n1\n2", ("0", "1", "2")),
}

REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"\n \n", "contains no names"),
    "a null": (b'["cat", null]', "has None in place of the name with the index 1"),
    "a number": (b'["cat", 3]', "has 3 in place of the name with the index 1"),
    "an empty name": (b'["cat", ""]', "has '' in place of the name with the index 1"),
    "broken JSON": (b'["cat"', "starts like JSON"),
    "an index twice": (b'{"cat": 0, "dog": 0}', "gives the index 0 to 'cat' and to 'dog'"),
    "an index left out": (b'{"cat": 0, "dog": 2}', "2 names, but none for the index 1"),
    "indexes from 1": (b'{"cat": 1, "dog": 2}', "none for the index 0"),
    "another object": (b'{"animals": ["cat", "dog"]}', "must contain one name per line"),
    "NUL characters": (b"cat" * 30 + b"\0\n", "is not text"),
    "an odd number of bytes of UTF-16": ("cat".encode("utf-16") + b"x", "is not valid UTF-16"),
    "bytes of no encoding": (b"cat\x81\xff", "neither UTF-8 nor Windows-1252"),
    "Chinese of Windows": ("狗\n猫\n".encode("gbk"), "neither UTF-8 nor Windows-1252"),
    "one name": (b"cat\n", "contains only one name"),
    "one name in a list": (b"['cat' 'dog']", "contains only one name"),
    "indexes with gaps in CSV": (b"id,name\n1,person\n2,bicycle\n4,car\n", "3 names, but none for the index 2"),
    "a NumPy file": (b"\x93NUMPY\1\0v\0{'descr': '|O'}", "is a file of NumPy or pickle"),
    "a pickle": (b"\x80\x04\x95\x13\0\0\0\0\0\0\0]\x94(\x8c\x03cat\x94e.", "is a file of NumPy or pickle"),
    "an archive": (b"PK\3\4" + bytes(30), "is not text"),
    "an image": (b"\x89PNG\r\n\x1a\nIHDR\n", "is not text"),
    "a set of Python": (b"{'cat', 'dog'}", "is a set, which has no order"),
    "an array of NumPy, printed": (b"array(['cat', 'dog'], dtype='<U3')", "is code"),
    "a call of NumPy in lines": (b"np.array(['cat',\n 'dog'])", "is code"),
    "a set in lines": (b"set([\n'cat',\n'dog'\n])", "is code"),
    "an export of JavaScript": (b"export const labels = [\n 'cat',\n 'dog'\n]", "is code"),
    "a list with a type": (b"class_names: list[str] = [\n 'cat',\n 'dog'\n]", "is code"),
    "more lines of a program": (b"import os\nlabels = ['cat', 'dog']", "is code"),
    "a tuple among lines of a program": (b"import os\nlabels = ('cat', 'dog')", "is code"),
    "a text in brackets": (b"labels = ('cat')", "must contain one name per line"),
    "a number in brackets": (b"x = (5)", "must contain one name per line"),
    "bytes of Python": (b"[b'cat', b'dog']", "has b'cat' in place of the name with the index 0"),
    "a set in a list": (b"[{'a'}, 'b']", "has {'a'} in place of the name with the index 0"),
    "a list in a set": (b"{[1], 'b'}", "is not valid JSON"),
    "deeply nested JSON": (b"[" * 5000, "is not valid JSON"),
    "YAML of a data set": (b"train: images\nnc: 2\nnames: ['cat', 'dog']\n", "or YAML"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n",
        "a Git LFS pointer or YAML",
    ),
    "a page instead of the file": (b"<!DOCTYPE html>\n<html>", "is a web page"),
    "YAML": (b"names: [cat, dog]\nnc: 2\n", "or YAML"),
    "a label map": (b"item {\n  id: 1\n  name: 'cat'\n}\n", "Object Detection API"),
}


@pytest.mark.parametrize("form", READ)
def test_the_forms_in_which_people_have_class_names_are_read(tmp_path: Path, form: str) -> None:
    data, names = READ[form]
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    assert read_labels(path) == names


@pytest.mark.parametrize("form", REFUSED)
def test_what_are_no_class_names_is_one_clear_error(tmp_path: Path, form: str) -> None:
    data, words = REFUSED[form]
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="the labels file") as raised:
        read_labels(path)
    assert words in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_the_thousand_names_of_imagenet_are_read_from_keras_own_file(testdata: Path) -> None:
    labels = read_labels(testdata / "weights" / "imagenet_class_index.json")
    assert len(labels) == 1000
    assert labels[207] == "golden_retriever"


def test_a_labels_file_inside_a_saved_model_is_read_by_its_path(tmp_path: Path) -> None:
    assets = tmp_path / "flowers" / "1" / "assets"
    assets.mkdir(parents=True)
    (assets / "labels.txt").write_text("daisy\nrose\n")
    assert ModelOptions.model_validate({"labels": str(assets / "labels.txt")}).labels == ("daisy", "rose")


def test_labels_may_be_given_as_a_list() -> None:
    assert ModelOptions.model_validate({"labels": ["cat", "dog"]}).labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dog_breed": {"labels": "/nowhere/labels.txt"}}, "'labels.txt' cannot be read: No such file"),
        ({"dog_breeds": {"height": 96}}, "did you mean 'dog_breed'?"),
        ({"dog_breed": {"normalize": "caffe", "pixel_range": [0, 1]}}, "normalize or pixel_range, not both"),
        ({"dog_breed": {"normalize": "torch", "channels": "grey"}}, "needs colour"),
        ({"dog_breed": {"normalize": "imagenet"}}, "'caffe', 'torch' or 'tf'"),
    ],
)
def test_options_that_cannot_be_right_are_an_error_at_start(options: object, words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Settings.model_validate({"model_options": json.dumps(options)})
    assert words in str(raised.value)
