"""Derive class labels from folder names, and match folders to the labels of a model."""

import difflib
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from trainer.errors import TrainerError
from trainer.network.imagenet_classes import OTHER_NAMES

Numbers = Literal["auto", "keep", "strip"]
"""Whether to remove numbers in front of the names of class folders; `auto` removes them if they count the folders."""

_NUMBERED = re.compile(r"(\d+)[._\- ]+(?=\S)")
_WORDNET = re.compile(r"n\d{8}-(?=\S)")


def class_labels(folders: Sequence[str], numbers: Numbers = "auto") -> tuple[dict[str, str], str]:
    """Returns the label of each class folder.

    With `auto`, numbers are removed if they count all folders from 0 or 1, and the remaining names are unique and begin
    with a letter, as in `001.Affenpinscher`, `002.Afghan_hound`. WordNet identifiers such as in `n02085620-Chihuahua`
    are removed as well. `0-2`, `4-6` and `2012 BMW` are not changed.

    Args:
        folders: Names of the folders.
        numbers: `keep` removes no numbers, `strip` removes all of them.

    Returns:
        The label of each folder, and a message if numbers were removed, otherwise an empty string.

    Raises:
        TrainerError: Two folders would get the same label.
    """
    labels = {folder: folder for folder in folders}
    if numbers == "strip" or (numbers == "auto" and _are_counted(folders)):
        labels = {folder: without_number(folder) for folder in folders}
    shortened = [folder for folder, label in labels.items() if folder != label]
    folder_of: dict[str, str] = {}
    for folder, label in labels.items():
        if label in folder_of:
            raise TrainerError(
                f"the class folders {folder_of[label]!r} and {folder!r} are both called {label!r} without their "
                "numbers; --class-numbers keep keeps the numbers"
            )
        folder_of[label] = folder
    if not shortened:
        return labels, ""
    return labels, (
        f"removed the numbers of {len(shortened)} class folders: {shortened[0]!r} becomes {labels[shortened[0]]!r}; "
        "--class-numbers keep keeps them"
    )


def without_number(folder: str) -> str:
    """Returns the name of a folder without its leading number or WordNet identifier."""
    return (_WORDNET if _WORDNET.match(folder) else _NUMBERED).sub("", folder, count=1)


def _are_counted(folders: Sequence[str]) -> bool:
    """Whether the leading numbers only count the folders."""
    names = [without_number(folder) for folder in folders]
    if len(set(names)) < len(names) or not all(name[0].isalpha() for name in names):
        return False
    if all(_WORDNET.match(folder) for folder in folders):
        return True
    matches = [_NUMBERED.match(folder) for folder in folders]
    counted = sorted(int(match[1]) for match in matches if match)
    return len(counted) == len(folders) and counted in (
        list(range(len(folders))),
        list(range(1, len(folders) + 1)),
    )


def match_folders(folders: Iterable[str], labels: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Returns the index of the label of each folder.

    The mapping takes precedence. Otherwise the name of the folder is compared with the labels, first exactly, then
    without case, punctuation and a leading number: `001.Affenpinscher` matches `affenpinscher`, `saint_bernard` matches
    `Saint Bernard`. ImageNet's names of breeds match as well: `japanese_spaniel` matches `Japanese Chin`.

    Raises:
        TrainerError: Some folders match no label or several; the message names all of them.
    """
    loose: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        loose.setdefault(_plain(label), []).append(index)
    indexes: dict[str, int] = {}
    unmatched = []
    for folder in folders:
        name = unicodedata.normalize("NFC", mapping.get(folder, folder))
        candidates = [labels.index(name)] if name in labels else loose.get(_plain(name), [])
        candidates = candidates or loose.get(_usual(name), [])
        if len(candidates) == 1:
            indexes[folder] = candidates[0]
        else:
            mapped = "" if name == folder else f" (mapped to {name})"
            near = [] if candidates else difflib.get_close_matches(name.replace("_", " "), labels, 1)
            unmatched.append(folder + mapped + "".join(f" ({label}?)" for label in near))
    if unmatched:
        some = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
        raise TrainerError(
            f"no class of the model matches {', '.join(unmatched)}; its classes are {some}. "
            "Assign a label to each in a file for --map: folder = label"
        )
    return indexes


def read_mapping(path: Path) -> dict[str, str]:
    """Reads a TOML or JSON file that maps folder names to labels.

    Raises:
        TrainerError: The file cannot be read, or is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mapping = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise TrainerError(f"cannot read the map {path}: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(label, str) for label in mapping.values()):
        raise TrainerError(f"{path} is not a table of folder = label")
    return mapping


def _usual(name: str) -> str:
    usual = {_plain(other): one for other, one in OTHER_NAMES.items()}
    return _plain(usual.get(_plain(name), name))


def _plain(name: str) -> str:
    return folded(without_number(unicodedata.normalize("NFC", name)))


def folded(name: str) -> str:
    """Returns a name without what the names of one class may differ in: case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", name)).casefold()
