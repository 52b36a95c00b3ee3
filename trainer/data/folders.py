"""List the photos of a data set by class and split.

A split is a folder with the name of a split that contains folders and no photos. So `DATA/train/cat/1.jpg` belongs to
the split `train`, but `DATA/train/1.jpg` next to `DATA/bus/1.jpg` belongs to the class `train`. Folders that all have
the names of splits are never classes.
"""

import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from trainer.data.label_table import find_table, read_table
from trainer.data.photos import content_key
from trainer.errors import TrainerError

Split = Literal["train", "valid", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "valid", "test")
SPLIT_FOLDERS: Final[dict[str, Split]] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}

NOT_PHOTOS: Final = frozenset(
    ("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "thumbs.db", "desktop.ini")
)
"""What macOS, Windows and Synology leave among photos; as hidden files, it is passed over."""

ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")


@dataclass
class Listing:
    """The files of a data set, and warnings about its layout.

    `files` are (split, class folder, path) in a fixed order. The split is None if the data set has no splits. From a
    table of a multi-label data set, a file comes once for each of its labels, and with an empty folder if it has none.
    """

    files: list[tuple[Split | None, str, Path]]
    warnings: list[str] = field(default_factory=list)


def list_data_set(data: Path, limit: int = 0, *, multi_label: bool = False) -> Listing:
    """Returns every file of a data set, from `data/<class>/`, `data/{train,valid,test}/<class>/` or a table of labels.

    Args:
        data: The folder.
        limit: Maximum number of files of each class folder; 0: no limit.
        multi_label: Whether a file can have several labels or none.

    Raises:
        TrainerError: The folder does not exist, or has no classes; the message suggests another folder if it can.
    """
    _check_folder(data)
    splits = _splits(data)
    if splits and "train" not in splits:
        raise TrainerError(f"{data} is divided into {', '.join(sorted(splits))} but has no train folder")
    if (table := classes_table(data, multi_label=multi_label)) is not None:
        rows, warnings = read_table(table, list_files(data), multi_label=multi_label)
        single = [(label, path) for labels, path in rows for label in labels or ("",)]
        return Listing([(None, label, path) for label, path in _limited(single, limit)], warnings)
    _check_names(data, splits)
    listing = Listing([])
    classes: list[tuple[Split | None, Path]] = [(None, folder) for folder in _folders(data)]
    if splits:
        classes = [(split, folder) for split, root in splits.items() for folder in _folders(root)]
        used = {data / root.relative_to(data).parts[0] for root in splits.values()}
        spare = [one.name for one in _folders(data) if one not in used]
        if spare:
            listing.warnings.append(f"{data} is divided into splits; ignoring the other folders: {_some(spare)}")
    names = _one_spelling(classes, listing.warnings)
    for (split, folder), name in zip(classes, names, strict=True):
        files = list_files(folder)
        if not files:
            listing.warnings.append(f"ignoring the empty class folder {folder}")
        listing.files += [(split, name, path) for path in files[: limit or None]]
    if len({name for _, name, _ in listing.files}) < 2:
        raise TrainerError(_too_few(data, {name for _, name, _ in listing.files}))
    return listing


def classes_table(data: Path, *, multi_label: bool = False) -> Path | None:
    """Returns the table that has the classes of a data set; None if its folders have them."""
    return find_table(data, multi_label=multi_label) if not _splits(data) and _looks_flat(data) else None


def list_classes(data: Path, split: str | None = None) -> dict[str, list[Path]]:
    """Lists the files of each class folder of `data/<class>/` or `data/<split>/<class>/`, sorted.

    Args:
        data: The folder.
        split: `train`, `valid` or `test`; None for the first that exists of test, valid and train.

    Returns:
        The files in and below each folder, by its name, without hidden files.

    Raises:
        TrainerError: The folder or the split does not exist or is empty.
    """
    _check_folder(data)
    if (table := classes_table(data)) is not None:
        labelled: dict[str, list[Path]] = {}
        for [label], path in read_table(table, list_files(data))[0]:
            labelled.setdefault(label, []).append(path)
        return labelled
    _check_names(data, _splits(data))
    root = _split_folder(data, split)
    folders = {folder.name: list_files(folder) for folder in _folders(root)}
    found = {name: files for name, files in folders.items() if files}
    if not found:
        raise TrainerError(f"{root} has no class folders with photos; expected DATA/<class>/ or DATA/test/<class>/")
    return found


def list_labelled(data: Path, split: str | None = None) -> list[tuple[Path, tuple[str, ...]]]:
    """Lists the photos of a multi-label data set with their labels; a photo may have none.

    Args:
        data: The folder; the same photo may be in several class folders, as links or copies.
        split: As for `list_classes`.

    Raises:
        TrainerError: The folder or the split does not exist or is empty, or a file cannot be read.
    """
    _check_folder(data)
    if (table := classes_table(data, multi_label=True)) is not None:
        return [(path, labels) for labels, path in read_table(table, list_files(data), multi_label=True)[0]]
    found: dict[bytes, tuple[Path, tuple[str, ...]]] = {}
    for label, paths in list_classes(data, split).items():
        for path in paths:
            key = content_key(path.read_bytes())
            first, labels = found.get(key, (path, ()))
            found[key] = first, tuple(dict.fromkeys((*labels, label)))
    return list(found.values())


def list_files(folder: Path) -> list[Path]:
    """Returns the files in and below a folder, sorted, without hidden files."""
    if not folder.is_dir():
        raise TrainerError(f"the folder {folder} does not exist{_meant(folder)}")
    return sorted(_walk(folder, set()))


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    # Not rglob, which does not follow links to folders. Each folder is visited once, because links can form cycles.
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in folder.iterdir():
        if _is_hidden(entry):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen)
        elif entry.is_file():
            yield entry


def _splits(data: Path) -> dict[Split, Path]:
    """The split folders of a data set; empty if it is not divided."""
    folders = _folders(data)
    named = [one for one in folders if one.name.lower() in SPLIT_FOLDERS]
    holding = [one for one in named if _folders(one) and not _has_files(one)]
    splits = {SPLIT_FOLDERS[one.name.lower()]: _unwrapped(one) for one in holding}
    return splits if "train" in splits or len(holding) == len(folders) else {}


def _unwrapped(folder: Path) -> Path:
    """`train/train` for `train`, as archives of Kaggle hold it."""
    inside = _folders(folder)
    return inside[0] if len(inside) == 1 and inside[0].name.lower() == folder.name.lower() else folder


def _check_names(data: Path, splits: dict[Split, Path]) -> None:
    """Refuse folders that are all named like splits and hold photos: nobody has a class `train` and a class `test`."""
    named = [one.name for one in _folders(data) if _holds_files(one)]
    if not splits and len(named) > 1 and all(name.lower() in SPLIT_FOLDERS for name in named):
        raise TrainerError(
            f"{data} is divided into {', '.join(named)}, which hold photos and no class folders; at least train must "
            "have class folders, as DATA/train/<class>/, or DATA a CSV file with a column of files and one of labels"
        )


def _split_folder(data: Path, split: str | None) -> Path:
    splits = _splits(data)
    if not splits and split is None:
        return data
    for wanted in [split] if split else ["test", "valid", "train"]:
        for found, folder in splits.items():
            if found == wanted:
                return folder
    raise TrainerError(f"{data} has no split {split!r}; splits: {', '.join(sorted(splits)) or 'none'}")


def _one_spelling(classes: list[tuple[Split | None, Path]], warnings: list[str]) -> list[str]:
    """The name of each class folder, equal in all splits: in NFC, with the case of the first split.

    Folders of one split whose names differ only in case remain different classes.
    """
    names = [unicodedata.normalize("NFC", folder.name) for _, folder in classes]
    first: dict[str, str] = {}
    twice = set()
    for (split, _), name in zip(classes, names, strict=True):
        key = name.casefold()
        alike = {other for (beside, _), other in zip(classes, names, strict=True) if beside == split}
        if len({one for one in alike if one.casefold() == key}) > 1:
            twice.add(key)
        first.setdefault(key, name)
    warnings += [
        f"the class folders {' and '.join(sorted(one for one in set(names) if one.casefold() == key))} differ in case "
        "only; they are classes of their own"
        for key in sorted(twice)
    ]
    chosen = [name if name.casefold() in twice else first[name.casefold()] for name in names]
    for (_, folder), name, one in zip(classes, names, chosen, strict=True):
        if name != one:
            warnings.append(f"the class folder {folder} belongs to {one!r}, the spelling of the other splits")
    return chosen


def _limited(rows: list[tuple[str, Path]], limit: int) -> Iterator[tuple[str, Path]]:
    taken: dict[str, int] = {}
    for label, path in rows:
        taken[label] = taken.get(label, 0) + 1
        if not limit or taken[label] <= limit:
            yield label, path


def _looks_flat(data: Path) -> bool:
    """Whether there are no class folders: at most one folder with files is not named like a split."""
    folders = [one for one in _folders(data) if _holds_files(one)]
    return len([one for one in folders if one.name.lower() not in SPLIT_FOLDERS]) < 2


def _check_folder(data: Path) -> None:
    if not data.is_dir():
        raise TrainerError(
            f"{data} is not a folder{_meant(data)}; expected photos in DATA/<class>/ or DATA/train/<class>/"
        )


def _meant(path: Path) -> str:
    beside = [one.name for one in _folders(path.parent)] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, 1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""


def _too_few(data: Path, found: set[str]) -> str:
    """The error message for a folder with fewer than two classes."""
    folders = _folders(data)
    if len(folders) == 1 and len(inside := _folders(folders[0])) >= 2:
        return f"{data} contains one folder {folders[0].name!r} with {len(inside)} folders in it; use that one"
    packed = sorted(one.name for one in data.iterdir() if one.suffix.lower() in ARCHIVES)
    if packed:
        return f"{data} contains archives; unpack {_some(packed)} first"
    beside = [one for one in _folders(data.resolve().parent) if _holds_files(one)]
    if not folders and _has_files(data) and len(beside) >= 2:
        return (
            f"{data} contains photos but no class folders; did you mean {data.resolve().parent}, which has "
            f"{len(beside)} folders of photos?"
        )
    return (
        f"{data} has {len(found)} class folders with files; at least 2 are needed, as DATA/<class>/ or "
        "DATA/{train,valid,test}/<class>/, or a CSV file in DATA with columns for files and labels"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _holds_files(folder: Path) -> bool:
    return next(_walk(folder, set()), None) is not None


def _has_files(folder: Path) -> bool:
    return any(one.is_file() and not _is_hidden(one) for one in folder.iterdir())


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not _is_hidden(one))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in NOT_PHOTOS
