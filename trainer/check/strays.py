"""Find files in the folder of a data set that nobody reads: hidden files, labels in a table, photos without a class."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.data.folders import NOT_PHOTOS, classes_table
from trainer.data.label_table import find_table
from trainer.errors import TrainerError


def unread_files(data: Path) -> list[str]:
    """Returns a sentence for each kind of file that `train` does not read."""
    found = []
    hidden = set(_hidden(data))
    if hidden:
        found.append(f"{_count(sorted(hidden), 'hidden or system file')} not read, and can stay")
    if classes_table(data) is None:
        loose = sorted(one for one in data.iterdir() if one.is_file() and one not in hidden)
        try:
            table = find_table(data)
        except TrainerError:  # there are several
            table = next((one for one in loose if one.suffix.lower() in {".csv", ".tsv"}), None)
        if table is not None:
            found.append(
                f"the labels in {table} are not read, because the folders name the classes; if the table is right, "
                "move the photos out of the class folders"
            )
        loose = [one for one in loose if one != table]
        if loose:
            found.append(f"{_count(loose, 'file')} not read; move photos into a class folder")
    return found


def _hidden(data: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(data):
        for name in (*folders, *files):
            if name.startswith(".") or name.lower() in NOT_PHOTOS:
                yield Path(folder, name)
        folders[:] = [name for name in folders if not name.startswith(".") and name.lower() not in NOT_PHOTOS]


def _count(paths: Sequence[Path], what: str) -> str:
    return f"{paths[0]} is a {what}, which is" if len(paths) == 1 else f"{len(paths)} {what}s, such as {paths[0]}, are"
