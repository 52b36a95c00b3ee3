"""Folders of photos: the ways in which classes and splits are laid out in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from trainer.errors import TrainerError

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
SPLIT_FOLDERS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

_NUMBERED = re.compile(r"(?:\d+[._\- ]+|n\d{8}-)(?=\S)")


def label_of(folder: str) -> str:
    """Returns the label of a class folder: its name, without the number that some data sets put in front.

    `001.Affenpinscher` is `Affenpinscher`, `n02085620-Chihuahua` is `Chihuahua`, `saint_bernard` stays as it is.
    """
    return _NUMBERED.sub("", folder, count=1) if _NUMBERED.match(folder) else folder


def list_data_set(data: Path, limit: int = 0) -> list[tuple[Split | None, str, Path]]:
    """Returns every file of a data set as (split, class folder, path), in a fixed order.

    The split is None for all when the folder is not divided. With a limit, only so many files of each class folder.

    Raises:
        TrainerError: There is no such folder.
    """
    if not data.is_dir():
        raise TrainerError(f"{data} is not a folder: give one with photos in DATA/<class>/ or DATA/train/<class>/")
    folders = _folders(data)
    splits = [(SPLIT_FOLDERS[one.name.lower()], one) for one in folders if one.name.lower() in SPLIT_FOLDERS]
    classes: list[tuple[Split | None, Path]]
    if "train" in {split for split, _ in splits}:
        classes = [(split, one) for split, folder in splits for one in _folders(folder)]
    else:
        classes = [(None, one) for one in folders]
    return [(split, folder.name, path) for split, folder in classes for path in list_files(folder)[: limit or None]]


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
    return sorted(_walk(folder, set()))


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    # Not rglob, which does not enter linked folders; each is entered once, for links can go round in circles.
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif entry.is_file():
            yield entry


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
