"""Read the classes of photos from a CSV file, such as Kaggle's `labels.csv`."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from trainer.errors import TrainerError

FILE_COLUMNS: Final = (
    "file",
    "filename",
    "file_name",
    "image",
    "image_id",
    "image_name",
    "img",
    "path",
    "filepath",
    "id",
)
LABEL_COLUMNS: Final = ("label", "labels", "class", "class_name", "category", "breed", "species", "target", "tag")


def find_table(data: Path) -> Path | None:
    """Returns the CSV file in a folder that has a column of files and one of labels; None if there is none.

    Raises:
        TrainerError: There are several such files.
    """
    found = [path for path in sorted(data.glob("*.csv")) if _columns(path) is not None]
    if len(found) > 1:
        raise TrainerError(f"{data} has several label files: {', '.join(path.name for path in found)}; keep one")
    return found[0] if found else None


def read_table(table: Path, files: Sequence[Path]) -> tuple[list[tuple[str, Path]], list[str]]:
    """Reads the label of each file.

    The table refers to a file by its path relative to the table, or by its name, with or without the extension. Kaggle
    refers to `train/000bec.jpg` as `000bec`.

    Args:
        table: The CSV file.
        files: All files of the data set.

    Returns:
        (label, file) for each row whose file exists, in the order of the files, and warnings.

    Raises:
        TrainerError: The table cannot be read, or refers to none of the files.
    """
    columns = _columns(table)
    if columns is None:
        raise TrainerError(f"{table} has no column of files ({', '.join(FILE_COLUMNS)}) or no column of labels")
    by_name: dict[str, list[Path]] = {}
    for path in files:
        inside = path.relative_to(table.parent)
        for name in {inside.as_posix(), inside.with_suffix("").as_posix(), inside.name, inside.stem}:
            by_name.setdefault(name, []).append(path)
    labels: dict[Path, str] = {}
    missing: list[str] = []
    for name, label in _rows(table, *columns):
        matches = by_name.get(name.removeprefix("./"), [])
        if len(matches) > 1:
            raise TrainerError(f"{table}: {name!r} matches several files: {matches[0]} and {matches[1]}")
        if not matches:
            missing.append(name)
        elif labels.setdefault(matches[0], label) != label:
            raise TrainerError(f"{table}: {name!r} has the labels {labels[matches[0]]!r} and {label!r}")
    if not labels:
        raise TrainerError(
            f"{table} lists only files that do not exist, such as {missing[0]!r}" if missing else f"{table} has no rows"
        )
    warnings = [f"reading classes from {table}, columns {columns[0]!r} and {columns[1]!r}"]
    if missing:
        warnings.append(f"{table} lists {len(missing)} files that do not exist, such as {missing[0]!r}")
    others = len(files) - len(labels) - (table in files)
    if others:
        warnings.append(f"ignoring {others} files that are not in {table.name}")
    return sorted(((label, path) for path, label in labels.items()), key=lambda row: row[1]), warnings


def _columns(table: Path) -> tuple[str, str] | None:
    """The names of the columns of files and labels, as spelled in the table."""
    with table.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header = next(csv.reader(file), [])
    found = {name.strip().lower(): name for name in header}
    names = [next((found[one] for one in known if one in found), None) for known in (FILE_COLUMNS, LABEL_COLUMNS)]
    return (names[0], names[1]) if names[0] is not None and names[1] is not None else None


def _rows(table: Path, file_column: str, label_column: str) -> list[tuple[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [(row.get(file_column) or "", row.get(label_column) or "") for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainerError(f"{table} cannot be read as CSV in UTF-8: {error}") from error
    for number, (name, label) in enumerate(rows, start=2):
        if not name.strip() or not label.strip():
            raise TrainerError(f"{table}, row {number}: the file or the label is missing")
    return [(name.strip(), label.strip()) for name, label in rows]
