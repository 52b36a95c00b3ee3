"""Read the labels of photos from a CSV file, such as Kaggle's `labels.csv`."""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.errors import TrainerError

FILE_COLUMNS: Final = (
    "file",
    "filename",
    "image",
    "imageid",
    "imagename",
    "img",
    "path",
    "filepath",
    "imagepath",
    "id",
)
LABEL_COLUMNS: Final = (
    *("label", "labels", "class", "classname", "classlabel", "category", "breed", "species", "target", "tag"),
    "choice",  # of Label Studio
)
"""Names of columns, in lower case without spaces and underscores."""

IMAGE_NAME: Final = re.compile(r".+\.(?:jpe?g|png|gif|bmp|webp|hei[cf])", re.IGNORECASE)


Labelled = tuple[tuple[str, ...], Path]
"""Labels of a file, and the file."""


@dataclass(frozen=True)
class _Table:
    """What a table says: the name of a file and its labels in each row, with the number of the row in the file.

    `ignored` are cells that would be labels with `multi_label`.
    """

    columns: str
    rows: list[tuple[int, str, tuple[str, ...]]]
    ignored: list[str]


def find_table(data: Path, *, multi_label: bool = False) -> Path | None:
    """Returns the table of labels in a folder; None if there is none.

    That is a CSV or TSV file whose first line names a column of files and one of labels, or that has just the two
    columns. Kaggle's `sample_submission.csv` has made-up labels and is ignored.

    Args:
        data: The folder.
        multi_label: Whether a table without column names may have more columns, with further labels.

    Raises:
        TrainerError: There are several.
    """
    tables = sorted(path for kind in ("*.csv", "*.tsv") for path in data.glob(kind))
    usable = [path for path in tables if not path.name.lower().startswith("sample")]
    found = [path for path in usable if _read(path, multi_label=multi_label) is not None]
    if len(found) > 1:
        raise TrainerError(f"{data} has several label files: {', '.join(path.name for path in found)}; keep one")
    return found[0] if found else None


def read_table(table: Path, files: Sequence[Path], *, multi_label: bool = False) -> tuple[list[Labelled], list[str]]:
    """Reads the labels of each file.

    Every file has one label. With `multi_label`, it can have any number: in further columns of the same name, in
    columns without a name and cells beyond the header that follow them, and in further rows of the same file.

    The table refers to a file by its path relative to the table, or by its name, with or without the extension. Kaggle
    refers to `train/000bec.jpg` as `000bec`. Leading folders that do not exist here, backslashes and case are ignored.

    Args:
        table: The CSV file.
        files: All files of the data set.
        multi_label: Whether a file can have several labels or none.

    Returns:
        Labels and file for each file in the table that exists, in the order of the files, and warnings.

    Raises:
        TrainerError: The table cannot be read, or refers to none of the files.
    """
    read = _read(table, multi_label=multi_label)
    if read is None:
        raise TrainerError(f"{table} has no column of files ({', '.join(FILE_COLUMNS)}) or no column of labels")
    by_name: dict[str, list[Path]] = {}
    for path in files:
        inside = path.relative_to(table.parent)
        for name in {inside.as_posix(), inside.with_suffix("").as_posix(), inside.name, inside.stem}:
            by_name.setdefault(name.casefold(), []).append(path)
    labels: dict[Path, tuple[str, ...]] = {}
    missing: list[str] = []
    for number, name, found in read.rows:
        if not name or not (found or multi_label):
            hint = "; only train --multi-label takes photos without labels" if name else ""
            raise TrainerError(f"{table}, row {number}: the file or the label is missing{hint}")
        parts = name.replace("\\", "/").casefold().split("/")
        matches = next((by_name[end] for at in range(len(parts)) if (end := "/".join(parts[at:])) in by_name), [])
        if len(matches) > 1:
            raise TrainerError(f"{table}: {name!r} matches several files: {matches[0]} and {matches[1]}")
        if not matches:
            missing.append(name)
        else:
            path = matches[0]
            labels[path] = tuple(dict.fromkeys((*labels.get(path, ()), *found)))
            if len(labels[path]) > 1 and not multi_label:
                several = " and ".join(map(repr, labels[path]))
                raise TrainerError(
                    f"{table}: {name!r} has the labels {several}; only train --multi-label takes photos with several"
                )
    if not labels:
        raise TrainerError(
            f"{table} lists only files that do not exist, such as {missing[0]!r}" if missing else f"{table} has no rows"
        )
    warnings = [f"reading classes from {table}, {read.columns}"]
    if read.ignored:
        warnings.append(
            f"{table} has {len(read.ignored)} cells after the label in columns without a name, such as "
            f"{read.ignored[0]!r}; they are ignored, and are labels only with train --multi-label"
        )
    if missing:
        warnings.append(f"{table} lists {len(missing)} files that do not exist, such as {missing[0]!r}")
    others = len(files) - len(labels) - (table in files)
    if others:
        warnings.append(f"ignoring {others} files that are not in {table.name}")
    return sorted(((found, path) for path, found in labels.items()), key=lambda row: row[1]), warnings


def _read(table: Path, *, multi_label: bool) -> _Table | None:
    """What a CSV file says; None where it has no columns of files and labels."""
    text = _text(table)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        rows = [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        ]
    except csv.Error as error:
        raise TrainerError(f"{table} cannot be read as CSV: {error}") from error
    if not rows:
        return None
    names = [re.sub(r"[\s_-]+", "", name).lower() for name in rows[0]]
    at = [next((names.index(one) for one in known if one in names), None) for known in (FILE_COLUMNS, LABEL_COLUMNS)]
    first, columns = 1, ""
    if at[0] is not None and at[1] is not None:
        columns = f"columns {rows[0][at[0]]!r} and {rows[0][at[1]]!r}"
    elif len(names) == 2 or (multi_label and len(names) > 2):
        images = [bool(IMAGE_NAME.fullmatch(cell)) for cell in rows[0]]
        if sum(images) == 1:
            first, at, columns = 0, [images.index(True), images.index(False)], "which has no header"
    file, label = at
    if not columns or file is None or label is None:
        return None
    if first:
        named, unnamed, beyond = _label_columns(names, label)
    else:
        named, unnamed, beyond = [column for column in range(len(names)) if column != file], [], True
    found: list[tuple[int, str, tuple[str, ...]]] = []
    ignored: list[str] = []
    for number, row in enumerate(rows[first:], start=first + 1):
        if any(row):
            labels = [_cell(row, column) for column in named]
            further = [_cell(row, column) for column in unnamed] + (row[len(names) :] if beyond else [])
            if multi_label:
                labels += further
            else:
                ignored += filter(None, further)
            found.append((number, _cell(row, file), tuple(filter(None, labels))))
    return _Table(columns, found, ignored)


def _label_columns(names: list[str], label: int) -> tuple[list[int], list[int], bool]:
    """The columns of labels, those without a name that follow them, and whether cells beyond the header do, too."""
    named: list[int] = []
    unnamed: list[int] = []
    inside = False
    for column, name in enumerate(names):
        inside = name == names[label] or (inside and not name)
        if inside:
            (named if name else unnamed).append(column)
    return named, unnamed, inside


def _cell(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _text(table: Path) -> str:
    try:
        data = table.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("cp1252")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"{table} cannot be read as text: {error}") from error
