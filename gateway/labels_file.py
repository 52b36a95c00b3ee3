"""Files of class names, in the forms in which people have them."""

from __future__ import annotations

import ast
import codecs
import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

MAX_BYTES = 16 * 2**20
"""Maximum size of a file. The 21,841 names of ImageNet-21k take 0.5 MB."""

FORMS = 'one name per line, a JSON list, or a JSON object such as {"cat": 0} or {"0": "cat"}'

_NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]")
_CODE = re.compile(r"(?:[\[{]|[=(]\s*\()['\"]|\S\s*[\[{(]$")
"""A line of a list in a program: ``(['cat',``, ``= ('cat',`` or ``names: list[str] = [``."""

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_INDEX_AND_NAME = re.compile(r"(?P<index>\d+)(?:\s*[:,;.)=_-]\s*|\s+)(?P<name>\S.*)")
_NAME_AND_INDEX = re.compile(r"(?P<name>.*\S)(?:\s*[:,;=]\s*|\t+)(?P<index>\d+)")
_QUOTED = re.compile(r"\"(.+)\"|'(.+)'")
_NAME_COLUMNS = ("label", "labels", "name", "names", "class", "classname", "classnames", "category", "breed", "species")
_INDEX_COLUMNS = ("", "index", "idx", "id", "classid", "classindex", "labelid", "categoryid")
"""Headers of CSV files in lower case, without spaces and underscores. That of pandas' own index is empty."""

_HOLDERS = ("labels", "names", "class_names", "classes", "id2label")
"""Keys of the names in larger JSON files: Teachable Machine's `metadata.json`, `config.json` of Transformers."""


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names in the order of a model's outputs.

    Accepted are lines of one name, or of a name and its index in either order, with or without a header, quotes and
    commas at their ends; CSV files with a column of names; a JSON list (or a list as Python prints it); and JSON
    objects that map names to indexes, indexes to names, or indexes to lists that end in a name, as Keras'
    ``imagenet_class_index.json``. UTF-8, UTF-16 and Windows-1252 are recognised.

    Raises:
        ValueError: The file cannot be read, or contains something else. The message names the file without its folder.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the labels file {path.name!r} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"the labels file {path.name!r} has more than {MAX_BYTES:,} bytes")
    try:
        return parse_labels(_text(data))
    except ValueError as error:
        raise ValueError(f"the labels file {path.name!r} {error}") from error


def parse_labels(text: str) -> tuple[str, ...]:
    """Class names in the text of a labels file; see `read_labels`.

    Raises:
        ValueError: The text has another form. The message continues after "the labels file".
    """
    if _NOT_TEXT.search(text):
        raise ValueError(f"is not text: write {FORMS}, as UTF-8")
    stripped = text.strip().removesuffix(";")
    if re.match(r"item\s*\{", stripped):
        raise ValueError(f"is a label map of the Object Detection API (.pbtxt): write {FORMS}")
    if re.match(r"(?i)<!doctype|<html|version https://git-lfs", stripped) or re.search(r"(?m)^names:", stripped):
        raise ValueError(f"is a web page, a Git LFS pointer or YAML: write {FORMS}")
    # Without the name of an assignment in a program.
    literal = re.sub(r"\A(?:\w+\s+)?\w+\s*=\s*(?=[\[{(])", "", stripped)
    if literal.startswith(("[", "{")) or literal != stripped:
        value = _literal(literal)
        if isinstance(value, dict):
            value = next((value[key] for key in _HOLDERS if isinstance(value.get(key), list | dict)), value)
        elif isinstance(value, set):
            raise ValueError(f"is a set, which has no order: write {FORMS}")
        elif not isinstance(value, list | tuple):
            raise ValueError(f"must contain {FORMS}")
        names = _ordered(value) if isinstance(value, dict) else _checked_names(value)
    else:
        lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
        names = _column(lines) or _plain(lines)
    if len(names) == 1:
        raise ValueError(f"contains only one name: write {FORMS}")
    return names


def _plain(lines: list[str]) -> tuple[str, ...]:
    """The names in lines without a header of columns."""
    if any(map(_CODE.search, lines)):
        raise ValueError(f"is code: write {FORMS}")
    if len(lines) == 1:
        lines = [name.strip() for name in re.split(r"[,;\t]", lines[0]) if name.strip()]
    # Of a list in a program, of one in YAML, and with ImageNet's identifiers.
    for pattern in (r"(.*\S)\s*,", r"-\s+(\S.*)", r"n\d{8}[\s,]+(\S.*)"):
        inner = [re.fullmatch(pattern, line) for line in lines]
        if all(inner[:-1]) and lines[1:]:
            lines = [match[1] if match else line for line, match in zip(lines, inner, strict=True)]
    names = _checked_names(_by_index(lines))
    quoted = [_QUOTED.fullmatch(name) for name in names]
    return tuple(match[1] or match[2] for match in quoted if match) if all(quoted) else names


def _column(lines: list[str]) -> tuple[str, ...] | None:
    """The names in a CSV file whose header names their column; None for other lines."""
    if len(lines) < 2:
        return None
    try:
        header, *rows = csv.reader(lines, delimiter=max(",;\t", key=lines[0].count))
    except csv.Error:
        return None
    columns = [re.sub(r"[\s_-]+", "", cell).casefold() for cell in header]
    name = next((columns.index(one) for one in _NAME_COLUMNS if one in columns), None)
    if name is None or any(len(row) != len(header) for row in rows):
        return None
    index = next((columns.index(one) for one in _INDEX_COLUMNS if one in columns), None)
    if index is None or not all(row[index].strip().isdecimal() for row in rows):
        return _checked_names([row[name] for row in rows])
    first = min(int(row[index]) for row in rows)
    return _in_order((int(row[index]) - min(first, 1), row[name]) for row in rows)


def _literal(text: str) -> Any:
    """A value as JSON or as Python prints it."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            return ast.literal_eval(text)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            raise ValueError("starts like JSON, but is not valid JSON") from error


def _text(data: bytes) -> str:
    if re.match(rb"\x93NUMPY|\x80[\x02-\x05]", data):
        raise ValueError(f"is a file of NumPy or pickle: write {FORMS}")
    if data.startswith(_UTF_16):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError("is not valid UTF-16: save it as UTF-8") from error
    encodings = ["utf-8-sig", "cp1252"]
    if b"\0" in data[:64]:  # UTF-16 without a byte order mark: every second byte of Latin text is zero
        encodings = ["utf-16-be" if data[:1] == b"\0" else "utf-16-le", "latin-1"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = sum(not character.isascii() for character in text)
        if encoding == "cp1252" and 2 * foreign > len("".join(text.split())):
            break  # Windows-1252 has a character for almost every byte, but few of its texts are mostly accents
        return text
    raise ValueError("is neither UTF-8 nor Windows-1252: save it as UTF-8")


def _ordered(value: Mapping[object, object]) -> tuple[str, ...]:
    """The names of an object, in the order of its indexes."""
    keys, values = list(map(str, value)), list(value.values())
    if keys and all(key.isdecimal() for key in keys) and not all(type(one) is int for one in values):
        pairs = [
            (int(key), one[-1] if isinstance(one, list) and one else one) for key, one in zip(keys, values, strict=True)
        ]
    elif all(type(one) is int or (isinstance(one, str) and one.isdecimal()) for one in values):
        pairs = [(int(str(one)), key) for key, one in zip(keys, values, strict=True)]
    else:
        raise ValueError(f"must contain {FORMS}")
    return _in_order(pairs)


def _in_order(pairs: Iterable[tuple[int, object]]) -> tuple[str, ...]:
    """The names of pairs of index and name, which count from 0."""
    by_index: dict[int, object] = {}
    for index, name in pairs:
        if index in by_index:
            raise ValueError(f"gives the index {index} to {by_index[index]!r} and to {name!r}")
        by_index[index] = name
    missing = next((index for index in range(len(by_index)) if index not in by_index), None)
    if missing is not None:
        raise ValueError(f"has {len(by_index)} names, but none for the index {missing}; indexes count from 0")
    return _checked_names([by_index[index] for index in range(len(by_index))])


def _checked_names(values: Sequence[object]) -> tuple[str, ...]:
    if not values:
        raise ValueError(f"contains no names: write {FORMS}")
    names = []
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"has {repr(value)[:40]} in place of the name with the index {index}")
        names.append(value.strip())
    return tuple(names)


def _by_index(lines: list[str]) -> list[str]:
    """The names without their indexes, if each line has both and all names differ: ``0 Class A``, ``cat,1``.

    Indexes count from 0 or 1. The first line may be a header, such as ``,0`` of pandas.
    """
    bodies = [lines, lines[1:]] if lines and re.search(r"[,;\t]", lines[0]) else [lines]
    for body, pattern in product(bodies, (_INDEX_AND_NAME, _NAME_AND_INDEX)):
        by_index = {int(match["index"]): match["name"] for match in map(pattern.fullmatch, body) if match}
        names = [by_index[index] for index in sorted(by_index)]
        counted = [list(range(first, first + len(body))) for first in (0, 1)]
        if len(body) > 1 and sorted(by_index) in counted and len(set(names)) == len(names) and _are_words(names):
            return names
    return lines


def _are_words(names: list[str]) -> bool:
    return all(name.lstrip("\"'")[:1].isalpha() for name in names)
