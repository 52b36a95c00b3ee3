"""Find files in the folder of a data set that nobody reads: hidden files, labels in a table, photos without a class."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.data.class_tables import class_tables
from trainer.data.label_table import find_table
from trainer.data.splits import NOT_PHOTOS
from trainer.data.table_columns import TABLE_SUFFIXES
from trainer.errors import TrainerError


def unread_files(data: Path) -> list[str]:
    """Returns a sentence for each kind of file that `train` does not read."""
    warnings = []
    hidden = set(_hidden(data))
    if hidden:
        warnings.append(f"{_count(sorted(hidden), 'hidden or system file')} not read, and can stay")
    if not class_tables(data):
        loose = sorted(one for one in data.iterdir() if one.is_file() and one not in hidden)
        try:
            table = find_table(data, beside_folders=True)
        except TrainerError as error:
            warnings.append(f"{error}; no table is read, because the folders name the classes")
            loose = [one for one in loose if one.suffix.lower() not in TABLE_SUFFIXES]
        else:
            if table is not None:
                warnings.append(
                    f"the labels in {table} are not read, because the folders name the classes; if the table is right, "
                    "move the photos out of the class folders"
                )
            loose = [one for one in loose if one != table]
        if loose:
            warnings.append(f"{_count(loose, 'file')} not read; move photos into a class folder")
    return warnings


def _hidden(data: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(data):
        for name in (*folders, *files):
            if name.startswith(".") or name.lower() in NOT_PHOTOS:
                yield Path(folder, name)
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in NOT_PHOTOS]


def _count(paths: Sequence[Path], what: str) -> str:
    return f"{paths[0]} is a {what}, which is" if len(paths) == 1 else f"{len(paths)} {what}s, such as {paths[0]}, are"
