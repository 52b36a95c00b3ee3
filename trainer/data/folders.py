"""List the photos of a data set by class and split."""

import difflib
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trainer.data.class_tables import class_tables, split_table
from trainer.data.label_table import (
    find_table,
    has_tables,
    other_tables,
    read_table,
    tables_beside_folders,
    unread_tables,
)
from trainer.data.photos import content_key
from trainer.data.splits import (
    SPLIT_NAMES,
    SPLITS,
    Split,
    check_names,
    divided_into,
    find_splits,
    has_class_folders,
    has_photos,
    holds_files,
    holds_photos,
    named_exactly,
    split_folder,
    subfolders,
    walk,
)
from trainer.errors import TrainerError

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
    splits = find_splits(data)
    if splits and "train" not in splits:
        raise TrainerError(f"{data} is divided into {', '.join(sorted(splits))} but has no train folder")
    listing = Listing([])
    if tables := class_tables(data, multi_label=multi_label):
        for split, table in tables.items():
            rows, warnings = read_table(table, list_files(table.parent), multi_label=multi_label)
            single = [(label, path) for labels, path in rows for label in labels or ("",)]
            listing.files += [(split, label, path) for label, path in _limited(single, limit)]
            listing.warnings += warnings
        if None not in tables:
            used = {table.parent for table in tables.values()}
            if spare := [one.name for one in subfolders(data) if one not in used and holds_files(one)]:
                listing.warnings.append(f"ignoring the folders of {data} without a table of labels: {_some(spare)}")
        labels = {label for _, label, _ in listing.files}
        if not multi_label and len(labels) == 1:
            read = _some([str(table) for table in tables.values()])
            raise TrainerError(f"the only label in {read} is {labels.pop()!r}; at least 2 are needed")
        return listing
    check_names(data, splits)
    with_tables = {data}
    classes: list[tuple[Split | None, Path]] = [(None, folder) for folder in subfolders(data)]
    if not splits:
        _check_divided(data)
    else:
        classes = [(split, folder) for split in SPLITS if split in splits for folder in subfolders(splits[split])]
        listing.warnings += [
            f"reading {folder} as the split {split}"
            for split, folder in splits.items()
            if folder.name.lower() not in SPLIT_NAMES
        ]
        used = {data / root.relative_to(data).parts[0] for root in splits.values()}
        with_tables |= {*used, *splits.values()}
        spare = [one.name for one in subfolders(data) if one not in used]
        if spare:
            listing.warnings.append(f"{data} is divided into splits; ignoring the other folders: {_some(spare)}")
    names = _one_spelling(classes, listing.warnings)
    for (split, folder), name in zip(classes, names, strict=True):
        files = list_files(folder)
        if not files:
            listing.warnings.append(f"ignoring the empty class folder {folder}")
        if inside := [one.name for one in subfolders(folder) if holds_files(one)]:
            listing.warnings.append(
                f"the photos in the subfolders of {folder} ({_some(inside)}) belong to {name!r}; if the subfolders are "
                "classes, use this folder"
            )
        listing.files += [(split, name, path) for path in files[: limit or None]]
    if len({name for _, name, _ in listing.files}) < 2:
        raise TrainerError(_too_few(data, {name for _, name, _ in listing.files}))
    labelled = {path: name for _, name, path in listing.files}
    for folder in sorted(with_tables):
        listing.warnings += tables_beside_folders(folder, labelled)
    return listing


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
    if (table := split_table(data, split)) is not None:
        labelled: dict[str, list[Path]] = {}
        for [label], path in read_table(table, list_files(table.parent))[0]:
            labelled.setdefault(label, []).append(path)
        return labelled
    check_names(data, find_splits(data))
    root = split_folder(data, split)
    folders = {folder.name: list_files(folder) for folder in subfolders(root)}
    classes = {name: files for name, files in folders.items() if files}
    if not classes:
        raise TrainerError(f"{root} has no class folders with photos; expected DATA/<class>/ or DATA/test/<class>/")
    return classes


def list_labelled(data: Path, split: str | None = None) -> list[tuple[Path, tuple[str, ...]]]:
    """Lists the photos of a multi-label data set with their labels; a photo may have none.

    Args:
        data: The folder; the same photo may be in several class folders, as links or copies.
        split: As for `list_classes`.

    Raises:
        TrainerError: The folder or the split does not exist or is empty, or a file cannot be read.
    """
    _check_folder(data)
    if (table := split_table(data, split, multi_label=True)) is not None:
        return [(path, labels) for labels, path in read_table(table, list_files(table.parent), multi_label=True)[0]]
    by_key: dict[bytes, tuple[Path, tuple[str, ...]]] = {}
    for label, paths in list_classes(data, split).items():
        for path in paths:
            key = content_key(path.read_bytes())
            first, labels = by_key.get(key, (path, ()))
            by_key[key] = first, tuple(dict.fromkeys((*labels, label)))
    return list(by_key.values())


def list_files(folder: Path) -> list[Path]:
    """Returns the files in and below a folder, sorted, without hidden files."""
    if not folder.is_dir():
        raise TrainerError(f"the folder {folder} does not exist{_suggestion(folder)}")
    return sorted(walk(folder))


def _one_spelling(classes: list[tuple[Split | None, Path]], warnings: list[str]) -> list[str]:
    """The name of each class folder, equal in all splits: in NFC, with the case of the first split.

    Folders of one split whose names differ only in case remain different classes.
    """
    names = [unicodedata.normalize("NFC", folder.name) for _, folder in classes]
    first: dict[str, str] = {}
    twice = set()
    for (split, _), name in zip(classes, names, strict=True):
        key = name.casefold()
        alike = {other for (class_split, _), other in zip(classes, names, strict=True) if class_split == split}
        if len({one for one in alike if one.casefold() == key}) > 1:
            twice.add(key)
        first.setdefault(key, name)
    warnings += [
        f"the class folders {' and '.join(sorted(one for one in set(names) if one.casefold() == key))} differ in case "
        "only; they are classes of their own"
        for key in sorted(twice)
    ]
    spellings = [name if name.casefold() in twice else first[name.casefold()] for name in names]
    for (_, folder), name, spelling in zip(classes, names, spellings, strict=True):
        if name != spelling:
            warnings.append(f"the class folder {folder} belongs to {spelling!r}, the spelling of the other splits")
    return spellings


def _check_divided(data: Path) -> None:
    """Refuses a data set whose only class folder is divided into splits: that folder is the data set.

    Raises:
        TrainerError: It is, and has only empty folders and splits without class folders beside it.
    """
    folders = [folder for folder in subfolders(data) if holds_files(folder)]
    splits = [one for one in named_exactly(folders) if has_class_folders(one)]
    classes = [one for one in folders if one not in splits]
    if len(classes) != 1 or len(subfolders(data)) == 1:
        return
    inside = _innermost(classes[0])
    if divided := set(divided_into(inside).values()):
        raise TrainerError(f"{inside} is divided into {', '.join(sorted(divided))}; use that folder, not {data}")


def _limited(rows: list[tuple[str, Path]], limit: int) -> Iterator[tuple[str, Path]]:
    counts: dict[str, int] = {}
    for label, path in rows:
        counts[label] = counts.get(label, 0) + 1
        if not limit or counts[label] <= limit:
            yield label, path


def _check_folder(data: Path) -> None:
    if not data.is_dir():
        raise TrainerError(
            f"{data} is not a folder{_suggestion(data)}; expected photos in DATA/<class>/ or DATA/train/<class>/"
        )


def _suggestion(path: Path) -> str:
    siblings = [one.name for one in subfolders(path.parent)] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, 1)
    return f" (did you mean {path.parent / near[0]}?)" if near else ""


def _too_few(data: Path, labels: set[str]) -> str:
    """The error message for a folder with fewer than two classes."""
    splits = find_splits(data)
    below = _innermost(data)
    contains = f"{data} contains one folder of photos, {str(below.relative_to(data))!r}, with"
    inside = subfolders(below)
    if below != data and _has_labels(below):
        return f"{contains} a table in it; use that one"
    # Tables beside the folders of splits have been looked at.
    tables = "".join(("" if splits else unread_tables(one)) + other_tables(one) for one in dict.fromkeys((data, below)))
    if below != data and len(inside) >= 2:
        return f"{contains} {len(inside)} folders in it; use that one{tables}"
    packed = sorted(one.name for one in data.iterdir() if one.suffix.lower() in ARCHIVES)
    if packed:
        return f"{data} contains archives; unpack {_some(packed)} first{tables}"
    if not tables and not subfolders(data) and has_photos(data) and (parent := data.resolve().parent) != Path("/"):
        siblings = _folders_of_photos(parent)
        if has_tables(parent) or siblings >= 2:
            has = "a table" if has_tables(parent) else f"{siblings} folders of photos"
            return f"{data} contains photos but no class folders; did you mean {parent}, which has {has}?"
    where = f" in its splits ({', '.join(str(one.relative_to(data)) for one in splits.values())})" if splits else ""
    return (
        f"{data} has {len(labels)} class folder{'s' * (len(labels) != 1)} with files{where}; at least 2 are needed, as "
        "DATA/<class>/ or DATA/{train,valid,test}/<class>/, or a CSV file in DATA with columns for files and labels"
        f"{tables}"
    )


def _has_labels(folder: Path) -> bool:
    try:
        return find_table(folder) is not None
    except TrainerError:
        return False


def _folders_of_photos(parent: Path) -> int:
    number = 0
    with suppress(OSError):  # other people's folders may be here
        for one in subfolders(parent):
            with suppress(OSError):
                number += has_photos(one)
    return number


def _innermost(folder: Path) -> Path:
    """The only folder with photos in a folder without, and so on; at most the first one with a table."""
    inside = [] if has_photos(folder) else [one for one in subfolders(folder) if holds_photos(one)]
    if len(inside) != 1:
        return folder
    return inside[0] if has_tables(inside[0]) else _innermost(inside[0])


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
