"""Which class of a model a folder of photos belongs to, however its name is spelled."""

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
"""Whether numbers in front of the names of class folders are taken off: where they count the folders, or as told."""

_NUMBERED = re.compile(r"(\d+)[._\- ]+(?=\S)")
_WORDNET = re.compile(r"n\d{8}-(?=\S)")


def class_labels(folders: Sequence[str], numbers: Numbers = "auto") -> tuple[dict[str, str], str]:
    """Names the classes of folders.

    A number in front is taken off where all folders are numbered in sequence from 0 or 1 and names remain that begin
    with a letter and differ from each other, as in `001.Affenpinscher`, `002.Afghan_hound`; so are the identifiers of
    WordNet in `n02085620-Chihuahua`. `0-2`, `4-6` and `2012 BMW` stay as they are.

    Args:
        folders: Their names.
        numbers: `keep` leaves all names as they are, `strip` takes off every number.

    Returns:
        The label of each folder, and a sentence for people where names were shortened, else nothing.

    Raises:
        TrainerError: Two folders would be called the same.
    """
    labels = {folder: folder for folder in folders}
    if numbers == "strip" or (numbers == "auto" and _are_counted(folders)):
        labels = {folder: without_number(folder) for folder in folders}
    shortened = [folder for folder, label in labels.items() if folder != label]
    named: dict[str, str] = {}
    for folder, label in labels.items():
        if label in named:
            raise TrainerError(
                f"the class folders {named[label]!r} and {folder!r} are both called {label!r} without their numbers: "
                "--class-numbers keep leaves them as they are"
            )
        named[label] = folder
    if not shortened:
        return labels, ""
    return labels, (
        f"the numbers in front of {len(shortened)} class folders are left out: {shortened[0]!r} is called "
        f"{labels[shortened[0]]!r}; --class-numbers keep leaves them"
    )


def without_number(folder: str) -> str:
    """Returns a folder's name without the number or the identifier of WordNet in front of it."""
    return (_WORDNET if _WORDNET.match(folder) else _NUMBERED).sub("", folder, count=1)


def _are_counted(folders: Sequence[str]) -> bool:
    """Whether the numbers in front of all names count the folders, and say nothing of what is in them."""
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
    """Finds the label of each folder.

    A folder named in the mapping has the label that it says. Otherwise the name is compared as it is, then without
    regard to case, punctuation and a number in front: `001.Affenpinscher` is `affenpinscher`, `saint_bernard` is
    `Saint Bernard`. A breed goes by the name that ImageNet has for it, too: `japanese_spaniel` is `Japanese Chin`.

    Returns:
        For each folder the index of its label.

    Raises:
        TrainerError: Folders match no label, or more than one; all of them are named.
    """
    loose: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        loose.setdefault(_plain(label), []).append(index)
    found: dict[str, int] = {}
    strangers = []
    for folder in folders:
        wanted = unicodedata.normalize("NFC", mapping.get(folder, folder))
        candidates = [labels.index(wanted)] if wanted in labels else loose.get(_plain(wanted), [])
        candidates = candidates or loose.get(_usual(wanted), [])
        if len(candidates) == 1:
            found[folder] = candidates[0]
        else:
            mapped = "" if wanted == folder else f" (mapped to {wanted})"
            near = [] if candidates else difflib.get_close_matches(wanted.replace("_", " "), labels, 1)
            strangers.append(folder + mapped + "".join(f" ({label}?)" for label in near))
    if strangers:
        some = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
        raise TrainerError(
            f"no class of the model goes with {', '.join(strangers)}; it knows {some}. "
            "Name a label for each in a file for --map: folder = label"
        )
    return found


def read_mapping(path: Path) -> dict[str, str]:
    """Reads a TOML or JSON file of one table, folder = label.

    Raises:
        TrainerError: It cannot be read, or is not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise TrainerError(f"cannot read the map {path}: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(label, str) for label in found.values()):
        raise TrainerError(f"{path} is not a table of folder = label")
    return found


def _usual(name: str) -> str:
    usual = {_plain(other): one for other, one in OTHER_NAMES.items()}
    return _plain(usual.get(_plain(name), name))


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", without_number(unicodedata.normalize("NFC", name))).casefold()
