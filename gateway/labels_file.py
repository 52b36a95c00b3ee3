"""Files of class names, in the forms in which people have them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 16 * 2**20
"""Largest file that is read; the 21,841 names of ImageNet-21k take 0.5 MB."""

FORMS = 'one name a line, a JSON list, or a JSON object such as {"cat": 0} or {"0": "cat"}'

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NUMBERED = re.compile(r"(\d+)(?:\s*[:,;]\s*|\s+)(\S.*)")


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names in the order of a model's outputs.

    Accepted are one name a line (blank lines are left out; a number before each name that counts from 0, as Teachable
    Machine writes it, is taken off), a JSON list of names, and JSON objects that map names to indexes, indexes to
    names, or indexes to lists that end in a name, as Keras' ``imagenet_class_index.json``. UTF-8, UTF-16 and
    Windows-1252 are told apart.

    Raises:
        ValueError: The file cannot be read, or holds something else; the message names the file without its folder.
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
    """Class names of the text of a labels file; see `read_labels`.

    Raises:
        ValueError: It is none; the message goes on after "the labels file".
    """
    if "\0" in text:
        raise ValueError(f"holds NUL characters: write {FORMS}, as UTF-8")
    stripped = text.strip()
    if re.match(r"item\s*\{", stripped):
        raise ValueError(f"is a label map of the Object Detection API (.pbtxt): write {FORMS}")
    if stripped.startswith(("[", "{")):
        try:
            value = json.loads(stripped)
        except ValueError as error:
            raise ValueError("starts like JSON, and is not JSON") from error
        return _ordered(value) if isinstance(value, dict) else _named(value)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _named(_without_numbers(lines))


def _text(data: bytes) -> str:
    encoding = "utf-8-sig"
    if data.startswith(_UTF_16):
        encoding = "utf-16"
    elif b"\0" in data[:64]:  # UTF-16 without a byte order mark: every second byte of Latin text is zero
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ValueError("is not valid UTF-16: save it as UTF-8") from error
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError as error:
        raise ValueError("is neither UTF-8 nor Windows-1252: save it as UTF-8") from error


def _ordered(value: Mapping[str, object]) -> tuple[str, ...]:
    """The names of an object, in the order of its indexes."""
    if value and all(key.isdecimal() for key in value) and not all(type(one) is int for one in value.values()):
        by_index = {int(key): one[-1] if isinstance(one, list) and one else one for key, one in value.items()}
    elif all(type(one) is int for one in value.values()):
        by_index = {}
        for name, index in value.items():
            assert isinstance(index, int)
            if index in by_index:
                raise ValueError(f"gives the index {index} to {by_index[index]!r} and to {name!r}")
            by_index[index] = name
    else:
        raise ValueError(f"must hold {FORMS}")
    missing = next((index for index in range(len(by_index)) if index not in by_index), None)
    if missing is not None:
        raise ValueError(f"has {len(by_index)} names and none for the index {missing}; indexes count from 0")
    return _named([by_index[index] for index in range(len(by_index))])


def _named(values: list[object] | list[str]) -> tuple[str, ...]:
    if not values:
        raise ValueError(f"holds no names: write {FORMS}")
    names = []
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            shown = json.dumps(value)[:40]
            raise ValueError(f"has {shown} in place of the name with the index {index}")
        names.append(value.strip())
    return tuple(names)


def _without_numbers(lines: list[str]) -> list[str]:
    """The names alone where each follows its own index: ``0 Class A``."""
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    names = [match[2] for match in matches if match and int(match[1]) < len(lines)]
    counted = len(names) == len(lines) and all(int(match[1]) == index for index, match in enumerate(matches) if match)
    return names if counted and len(lines) > 1 else lines
