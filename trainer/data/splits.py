"""Find the splits of a data set: folders with the photos for training, validation and test.

A split is a folder with the name of a split that contains folders and no photos; other files do not count. So
`DATA/train/cat/1.jpg` belongs to the split `train`, but `DATA/train/1.jpg` next to `DATA/bus/1.jpg` belongs to the
class `train`. Folders that all have the names of splits are never classes.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from gateway.images.formats import is_image
from trainer.data.table_columns import IMAGE_NAME
from trainer.errors import TrainerError

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
EVALUATION_ORDER: Final[tuple[Split, ...]] = ("test", "valid", "train")
SPLIT_NAMES: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

WORD: Final = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_NAMES)})(?:[\s_-]?(?:set|data|images?|imgs?))?(?![a-z])")
"""The name of a split within a longer name, such as `training_set`, `train2017`, `seg_test` and `test1`."""

NOT_PHOTOS: Final = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
)
"""What macOS, Windows and Synology leave among photos; as hidden files, it is passed over."""


def find_splits(data: Path) -> dict[Split, Path]:
    """Returns the split folders of a data set; empty if it is not divided.

    Raises:
        TrainerError: There are two folders for one split, such as `dev` and `val`.
    """
    splits: dict[Split, Path] = {}
    for folder, split in divided_into(data).items():
        if (other := splits.setdefault(split, folder)) != folder:
            raise TrainerError(
                f"{data} has two folders for the split {split}: {other.name} and {folder.name}; keep one"
            )
    return {split: _unwrapped(folder) for split, folder in splits.items()}


def divided_into(data: Path) -> dict[Path, Split]:
    """Returns the split of each folder that is one; there may be two for one split.

    Exact names of splits go before longer ones: beside `train`, `train_old` is none.
    """
    folders = subfolders(data)
    exact, longer = (
        {one: split for one, split in splits.items() if has_class_folders(one)}
        for splits in (named_exactly(folders), split_names(folders))
    )
    if "train" in exact.values() or 0 < len(exact) == len(folders):
        return exact
    if "train" in longer.values() and (len(set(longer.values())) > 1 or _are_named(folders)):
        return longer
    return {}


def split_names(folders: Sequence[Path]) -> dict[Path, Split]:
    """Returns the split that the name of each folder means; without folders whose names mean none.

    A longer name such as `training_set` counts only if there are names for training and for another split, and if they
    are the same without the names of splits and numbers. A single `train_station` means none, and `toy_train` and
    `crash_test` are classes.
    """
    words = {one: set(WORD.findall(one.name.lower())) for one in folders}
    splits = {one: SPLIT_NAMES[names.pop()] for one, names in words.items() if len(names) == 1}
    remaining = {re.sub(r"[\W\d_]+", "", WORD.sub("", one.name.lower())) for one in splits}
    are_splits = "train" in splits.values() and len(set(splits.values())) > 1 and len(remaining) == 1
    return splits if are_splits else named_exactly(folders)


def check_names(data: Path, splits: dict[Split, Path]) -> None:
    """Refuses folders that are all named like splits and hold photos: nobody has a class `train` and a class `test`.

    Raises:
        TrainerError: They are.
    """
    holding = [one for one in subfolders(data) if holds_files(one)]
    if not splits and len(holding) > 1 and len(split_names(holding)) == len(holding):
        divided = f"{data} is divided into {', '.join(one.name for one in holding)}"
        if mixed := [one.name for one in holding if subfolders(one) and has_photos(one)]:
            raise TrainerError(
                f"{divided}, but photos are beside the class folders of {' and '.join(mixed)}; move these photos into "
                "class folders, or out of the data set"
            )
        raise TrainerError(
            f"{divided}, which hold photos and no class folders; "
            "at least train must have class folders, as DATA/train/<class>/, or DATA a CSV file with a column of files "
            "and one of labels"
        )


def evaluated(split: str | None) -> list[Split]:
    """Returns the splits to evaluate, of which the first that exists is used: the one that is asked for, or all."""
    return [one for one in EVALUATION_ORDER if split in (None, one)]


def split_folder(data: Path, split: str | None) -> Path:
    """Returns the folder of a split, or of the first that exists of test, valid and train.

    Raises:
        TrainerError: There is no such split, or two folders for one.
    """
    splits = find_splits(data)
    if not splits and split is None:
        return data
    for name in evaluated(split):
        if name in splits:
            return splits[name]
    raise TrainerError(f"{data} has no split {split!r}; splits: {', '.join(sorted(splits)) or 'none'}")


def subfolders(path: Path) -> list[Path]:
    """Returns the folders in a folder, sorted, without hidden ones."""
    return sorted(one for one in path.iterdir() if one.is_dir() and not is_hidden(one))


def has_class_folders(folder: Path) -> bool:
    """Whether folders and no photos are in a folder."""
    return bool(subfolders(folder)) and not has_photos(folder)


def has_photos(folder: Path) -> bool:
    """Whether photos are in a folder itself, by their extensions or contents."""
    return any(one.is_file() and not is_hidden(one) and _is_photo(one) for one in folder.iterdir())


def holds_files(folder: Path) -> bool:
    """Whether files are in or below a folder."""
    return next(walk(folder), None) is not None


def holds_photos(folder: Path) -> bool:
    """Whether photos are in or below a folder, by their extensions or contents."""
    return any(_is_photo(one) for one in walk(folder))


def walk(folder: Path) -> Iterator[Path]:
    """Yields the files in and below a folder, without hidden files and folders.

    Unlike `Path.rglob`, it follows links to folders. Each folder is visited once, because links can form cycles.
    """
    return _walk(folder, set())


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is hidden, or one that a system left."""
    return path.name.startswith(".") or path.name.lower() in NOT_PHOTOS


def named_exactly(folders: Sequence[Path]) -> dict[Path, Split]:
    """Returns the split of each folder with the name of one."""
    return {one: SPLIT_NAMES[one.name.lower()] for one in folders if one.name.lower() in SPLIT_NAMES}


def _is_photo(path: Path) -> bool:
    if IMAGE_NAME.fullmatch(path.name):
        return True
    try:
        with path.open("rb") as file:
            return is_image(file.read(16))
    except OSError:
        return False


def _are_named(folders: Sequence[Path]) -> bool:
    holding = [one for one in folders if holds_files(one)]
    return set(holding) <= set(split_names(folders))


def _walk(folder: Path, visited: set[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in folder.iterdir():
        if is_hidden(entry):
            continue
        if entry.is_dir():
            yield from _walk(entry, visited)
        elif entry.is_file():
            yield entry


def _unwrapped(folder: Path) -> Path:
    """`train/train` for `train`, as archives of Kaggle hold it."""
    inside = subfolders(folder)
    return inside[0] if len(inside) == 1 and inside[0].name.lower() == folder.name.lower() else folder
