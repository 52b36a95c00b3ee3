"""Which class of a model a folder of photos belongs to, however its name is spelled."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from trainer.data import SPLIT_FOLDERS, label_of
from trainer.errors import TrainerError


def list_classes(data: Path, split: str | None = None) -> dict[str, list[Path]]:
    """Lists the files of each class folder of `data/<class>/` or `data/<split>/<class>/`, sorted.

    Args:
        data: The folder.
        split: `train`, `valid` or `test`; with None the test split of a divided folder, else its validation split.

    Returns:
        For each folder's name the files in it and below, hidden ones left out.

    Raises:
        TrainerError: There is no such folder or split, or no photo in it.
    """
    root = _split_folder(data, split)
    folders = {folder.name: list_files(folder) for folder in _folders(root)}
    found = {name: files for name, files in folders.items() if files}
    if not found:
        raise TrainerError(f"{root} has no class folders with photos in them: DATA/<class>/ or DATA/test/<class>/")
    return found


def list_files(folder: Path) -> list[Path]:
    """Returns the files in a folder and below, sorted; hidden ones are left out."""
    if not folder.is_dir():
        raise TrainerError(f"there is no folder {folder}")
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def match_folders(folders: Iterable[str], labels: Sequence[str], mapping: Mapping[str, str]) -> dict[str, int]:
    """Finds the label of each folder.

    A folder named in the mapping has the label that it says. Otherwise the name is compared as it is, then without
    regard to case, punctuation and a number in front: `001.Affenpinscher` is `affenpinscher`, `saint_bernard` is
    `Saint Bernard`.

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
        wanted = mapping.get(folder, folder)
        candidates = [labels.index(wanted)] if wanted in labels else loose.get(_plain(wanted), [])
        if len(candidates) == 1:
            found[folder] = candidates[0]
        else:
            strangers.append(folder if wanted == folder else f"{folder} (mapped to {wanted})")
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


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", label_of(name)).casefold()


def _split_folder(data: Path, split: str | None) -> Path:
    if not data.is_dir():
        raise TrainerError(f"there is no folder {data}")
    splits = {SPLIT_FOLDERS[one.name.lower()]: one for one in _folders(data) if one.name.lower() in SPLIT_FOLDERS}
    if not splits and split is None:
        return data
    for wanted in [split] if split else ["test", "valid", "train"]:
        if wanted in splits:
            return splits[wanted]
    raise TrainerError(f"{data} has no split {split!r}; there: {', '.join(sorted(splits)) or 'none'}")


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
