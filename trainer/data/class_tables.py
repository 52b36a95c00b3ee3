"""Decide whether tables have the classes of a data set, or its folders.

Class folders take precedence over tables. A table is used if at most one folder with files is not named like a split.
If there are other folders beside that one, as in `images`, `test` and `labels.csv`, the columns of the table must also
have the usual names. Splits with folders use their tables if that of `train` is beside a single folder, or if its
columns have the usual names and none of its labels is the name of a folder, as beside `train/images` and `train/masks`.
"""

from pathlib import Path

from trainer.data.label_table import find_table, has_tables, labels_of_photos, unread_tables
from trainer.data.splits import Split, evaluated, find_splits, holds_files, named_exactly, split_names, subfolders
from trainer.errors import TrainerError


def class_tables(data: Path, *, multi_label: bool = False) -> dict[Split | None, Path]:
    """Returns the tables that have the classes of a data set: one, or one in each split; none if folders have them.

    Raises:
        TrainerError: There are several for the data set or a split, or one of a split cannot be used.
    """
    folders = [folder for folder in subfolders(data) if holds_files(folder)]
    splits = split_names(folders)
    if find_splits(data):
        training = [folder for folder, split in splits.items() if split == "train"]
        by_table = any(_replaces_folders(folder, multi_label=multi_label) for folder in training)
        return _split_tables(data, splits, multi_label=multi_label) if by_table else {}
    if len(folders) > 1 and len(splits) < len(folders):
        if len(folders) - len(named_exactly(folders)) > 1:
            return {}
        table = find_table(data, multi_label=multi_label, exact=True, beside_folders=True)
        return {} if table is None else {None: table}
    if (table := find_table(data, multi_label=multi_label)) is not None:
        return {None: table}
    return _split_tables(data, splits, multi_label=multi_label)


def split_table(data: Path, split: str | None, *, multi_label: bool = False) -> Path | None:
    """Returns the table of the data set, of a split, or of the first split of test, valid and train that has one.

    Raises:
        TrainerError: There are tables for other splits only; or as for `class_tables`.
    """
    tables = class_tables(data, multi_label=multi_label)
    for name in (None, *evaluated(split)):
        if name in tables:
            return tables[name]
    if tables:
        raise TrainerError(f"{data} has no split {split!r}; splits: {', '.join(sorted(filter(None, tables)))}")
    return None


def _replaces_folders(split: Path, *, multi_label: bool) -> bool:
    """Whether a table in a split has the classes, and not the folders beside it."""
    folders = {folder.name for folder in subfolders(split)}
    several = len(folders) > 1
    table = find_table(split, multi_label=multi_label, exact=several, beside_folders=several)
    if table is None or not several:
        return table is not None
    labels = labels_of_photos(table)
    return bool(labels) and labels.isdisjoint(folders)


def _split_tables(data: Path, splits: dict[Path, Split], *, multi_label: bool) -> dict[Split | None, Path]:
    table_of_folder = {folder: find_table(folder, multi_label=multi_label) for folder in splits}
    tables: dict[Split | None, Path] = {}
    for folder, table in table_of_folder.items():
        if table is not None and (other := tables.setdefault(splits[folder], table)) != table:
            raise TrainerError(f"{data} has two tables for the split {splits[folder]}: {other} and {table}; keep one")
    if "train" not in tables:
        return {}
    for folder, table in table_of_folder.items():
        if table is None and has_tables(folder):
            raise TrainerError(
                f"{data} has a table in each split, but that of {folder.name} is unclear{unread_tables(folder)}"
            )
    return tables
