"""Divide photos into slices by where they come from: folders, what `collect` has noted, or the columns of a table."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from trainer.data.collect import read_manifest
from trainer.data.table_columns import FILE_COLUMNS
from trainer.errors import TrainerError

MAX_VALUES: Final = 30
"""A column with more different values does not divide photos into slices that anyone would read."""


def find_slices(photos: Sequence[tuple[Path, str, Path]], table: Path | None = None) -> dict[Path, dict[str, str]]:
    """Returns the slices of each photo.

    Slices are `folder`, which is the data set and the folder inside the class folder; for photos from `collect`,
    `verdict`, `answered by` and `month`; and the columns of the table. Times are cut to the month.

    Args:
        photos: Data set, class folder and path of each photo.
        table: CSV file with a column of files (paths as in the data set, or names) and further columns.

    Raises:
        TrainerError: The table cannot be read, or has no column of files.
    """
    slices = {path: {"folder": _folder(data, folder, path)} for data, folder, path in photos}
    for data in {data for data, *_ in photos}:
        for row in read_manifest(data):
            if data / row.file in slices:
                slices[data / row.file] |= {
                    "verdict": row.verdict,
                    "answered by": f"{row.model} {row.version}",
                    "month": _short(row.time),
                }
    if table is not None:
        rows = _read(table)
        for data, _, path in photos:
            inside = path.relative_to(data).as_posix()
            slices[path] |= rows.get(inside) or rows.get(path.name) or {}
    return slices


def _folder(data: Path, folder: str, path: Path) -> str:
    parts = path.relative_to(data).parts[:-1]
    inside = parts[parts.index(folder) + 1 :] if folder in parts else parts
    return "/".join((data.resolve().name, *inside))


def _read(table: Path) -> dict[str, dict[str, str]]:
    """The values of the useful columns, by file and by file name."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{table} cannot be read as CSV: {error}") from error
    columns = [one for one in rows[0] if one is not None] if rows else []  # None: cells beyond the header
    files = next((one for one in columns if one.lower().replace(" ", "").replace("_", "") in FILE_COLUMNS), None)
    if files is None:
        raise TrainerError(f"{table} has no rows, or no column of files; it may be called {', '.join(FILE_COLUMNS)}")
    values = {name: [_short(row[name] or "") for row in rows] for name in columns if name != files}
    useful = {name: column for name, column in values.items() if _divides(column)}
    rows_by_name: dict[str, dict[str, str]] = {}
    for at, row in enumerate(rows):
        if row[files] is None:  # the row is too short
            continue
        row_values = {name: column[at] for name, column in useful.items() if column[at]}
        rows_by_name[row[files]] = row_values
        rows_by_name.setdefault(Path(row[files]).name, row_values)
    return rows_by_name


def _divides(column: Sequence[str]) -> bool:
    counts: Mapping[str, int] = Counter(value for value in column if value)
    return 1 < len(counts) <= MAX_VALUES and max(counts.values()) > 1


def _short(value: str) -> str:
    """A time as its month, anything else as it is."""
    if len(value) < len("2026-01-31"):
        return value
    try:
        return datetime.fromisoformat(value).strftime("%Y-%m")
    except ValueError:
        return value
