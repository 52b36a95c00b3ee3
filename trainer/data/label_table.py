"""Read the labels of photos from a CSV file, such as Kaggle's `labels.csv`."""

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trainer.data.splits import walk
from trainer.data.table_columns import OTHER_SUFFIXES, TABLE_SUFFIXES, YES, NamedFiles, find_columns
from trainer.errors import TrainerError

Labelled = tuple[tuple[str, ...], Path]
"""Labels of a file, and the file."""

MAX_BESIDE_BYTES: Final = 64 * 1024**2
"""Size of the largest table that is read beside class folders; its cells take far more memory."""


@dataclass(frozen=True)
class _Table:
    """What a table says: the name of a file and its labels in each row, with the number of the row in the file.

    `ignored` are cells that would be labels with `multi_label`, `split` is the name of a column of splits. `rank` is
    that of the columns.
    """

    columns: str
    rows: list[tuple[int, str, tuple[str, ...]]]
    ignored: list[str]
    split: str
    rank: int


def find_table(
    data: Path, *, multi_label: bool = False, exact: bool = False, beside_folders: bool = False
) -> Path | None:
    """Returns the table of labels in a folder; None if there is none.

    That is a CSV or TSV file with a column of files and one of labels, or one of 0 and 1 for each label. Of several, it
    is the one with the highest `Columns.rank`. Kaggle's `sample_submission.csv` has made-up labels and is ignored.

    Args:
        data: The folder.
        multi_label: Whether a table without column names may have more columns, with further labels.
        exact: Whether only the usual names of both columns count, or a photo in the first row.
        beside_folders: Whether the folders may have the classes, so that a table above MAX_BESIDE_BYTES is not read.

    Raises:
        TrainerError: There are several, or, unless `exact`, none of them can be read.
    """
    tables = _tables(data)
    files = NamedFiles(walk(data) if tables else (), data)
    ranks: dict[Path, int] = {}
    errors = []
    for path in tables:
        try:
            read = _interpreted(_rows(path, beside_folders=beside_folders), files, multi_label=multi_label)
        except TrainerError as error:
            errors.append(error)
            continue
        if read is not None and (read.rank == 2 or not exact):
            ranks[path] = read.rank
    best = [path for path, rank in ranks.items() if rank == max(ranks.values())]
    if errors and not best and not exact:
        raise errors[0]
    if len(best) > 1:
        raise TrainerError(f"{data} has several label files: {', '.join(path.name for path in best)}; keep one")
    return best[0] if best else None


def has_tables(data: Path) -> bool:
    """Whether tables are in a folder, except Kaggle's `sample_submission.csv`."""
    return bool(_tables(data))


def unread_tables(data: Path) -> str:
    """Returns what keeps the tables in a folder from being read, as the end of a sentence; empty if there are none."""
    columns = [(table.name, _quoted(_rows(table)[0])) for table in _tables(data)]
    listed = [f"{name} ({f'columns {header}' if header else 'empty'})" for name, header in columns]
    if not listed:
        return ""
    return (
        f"; {' and '.join(listed)} cannot be used: a table needs a column whose cells name the photos, and one called "
        "label, class, category, breed or species"
    )


def other_tables(data: Path) -> str:
    """Returns how to use tables of other formats in a folder, as the end of a sentence; empty if there are none."""
    names = sorted(one.name for one in data.iterdir() if one.suffix.lower() in OTHER_SUFFIXES)
    if len(names) > 1:
        return f"; save the one with the labels as CSV: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
    return f"; save {names[0]} as CSV if it has the labels" if names else ""


def labels_of_photos(table: Path) -> set[str]:
    """Returns the labels that a table gives to files that exist."""
    files = NamedFiles(walk(table.parent), table.parent)
    read = _interpreted(_rows(table), files, multi_label=True)
    return {label for _, name, labels in read.rows if files.find(name) for label in labels} if read else set()


def tables_beside_folders(data: Path, classes: Mapping[Path, str]) -> list[str]:
    """Returns a warning for each table that is not read, because class folders have the labels, but says otherwise.

    Args:
        data: The folder with tables and class folders.
        classes: The class folder of each file, in this folder or not.
    """
    warnings = []
    tables = _tables(data)
    files = NamedFiles((one for one in classes if one.is_relative_to(data)) if tables else (), data)
    for table in tables:
        try:
            rows = _rows(table, beside_folders=True)
        except TrainerError as error:
            warnings.append(f"{error}; it is ignored, because the folders name the classes")
            continue
        reason = f"has the columns {_quoted(rows[0])}"
        if (read := _interpreted(rows, files, multi_label=True)) is not None:
            matches = [(name, labels, one) for _, name, labels in read.rows for one in files.find(name)[:1]]
            other = [(name, labels) for name, labels, one in matches if labels != (classes[one],)]
            if not other:
                continue
            reason = f"gives {len(other)} photos other labels than their folders, such as {other[0][0]!r}"
        warnings.append(
            f"{table} {reason}; it is not read, because the folders name the classes. To use a table, put all photos "
            "into one folder"
        )
    return warnings


def read_table(table: Path, files: Sequence[Path], *, multi_label: bool = False) -> tuple[list[Labelled], list[str]]:
    """Reads the labels of each file.

    Every file has one label. With `multi_label`, it can have any number: in further columns of the same name, in
    columns without a name and cells beyond the header that follow them, and in further rows of the same file.

    Args:
        table: The CSV file.
        files: All files of the data set.
        multi_label: Whether a file can have several labels or none.

    Returns:
        Labels and file for each file in the table that exists, in the order of the files, and warnings.

    Raises:
        TrainerError: The table cannot be read, or refers to none of the files.
    """
    named_files = NamedFiles(files, table.parent)
    read = _interpreted(_rows(table), named_files, multi_label=multi_label)
    if read is None:
        raise TrainerError(f"{table} has no column of files or no column of labels")
    labels: dict[Path, tuple[str, ...]] = {}
    missing: list[str] = []
    for number, name, row_labels in read.rows:
        if not name or not (row_labels or multi_label):
            hint = "; only train --multi-label takes photos without labels" if name else ""
            raise TrainerError(f"{table}, row {number}: the file or the label is missing{hint}")
        matches = named_files.find(name)
        if len(matches) > 1:
            raise TrainerError(f"{table}: {name!r} matches several files: {matches[0]} and {matches[1]}")
        if not matches:
            missing.append(name)
        else:
            path = matches[0]
            labels[path] = tuple(dict.fromkeys((*labels.get(path, ()), *row_labels)))
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
    if read.split:
        warnings.append(
            f"the column {read.split!r} of {table} is ignored, and photos are split at random; to keep your splits, "
            "put the photos into train, valid and test folders"
        )
    if missing:
        warnings.append(f"{table} lists {len(missing)} files that do not exist, such as {missing[0]!r}")
    others = len(files) - len(labels) - (table in files)
    if others:
        warnings.append(f"ignoring {others} files that are not in {table.name}")
    return sorted(((names, path) for path, names in labels.items()), key=lambda row: row[1]), warnings


def _tables(data: Path) -> list[Path]:
    tables = sorted(path for suffix in TABLE_SUFFIXES for path in data.glob(f"*{suffix}") if path.is_file())
    return [path for path in tables if not path.name.lower().startswith("sample")]


def _interpreted(rows: list[list[str]], files: NamedFiles, *, multi_label: bool) -> _Table | None:
    """What the rows of a table say; None where it has no columns of files and labels."""
    columns = find_columns(rows, files, multi_label=multi_label) if rows[0] else None
    if columns is None:
        return None
    header = rows[0]
    table_rows: list[tuple[int, str, tuple[str, ...]]] = []
    ignored: list[str] = []
    first = 1 if columns.has_header else 0
    for number, row in enumerate(rows[first:], start=first + 1):
        if not any(row):
            continue
        cells = [_cell(row, column) for column in columns.label_columns]
        if columns.are_switches:
            cells = [header[column] for column in columns.label_columns if _cell(row, column).lower() in YES]
        elif multi_label:
            cells = [label.strip() for cell in cells for label in cell.split("|")]  # several, as in ChestX-ray14
        further = [_cell(row, column) for column in columns.unnamed_columns] + (
            row[len(header) :] if columns.beyond else []
        )
        if multi_label:
            cells += further
        else:
            ignored += filter(None, further)
        table_rows.append((number, _cell(row, columns.file), tuple(filter(None, cells))))
    split = "" if columns.split is None else header[columns.split]
    return _Table(columns.description(header), table_rows, ignored, split, columns.rank)


def _quoted(cells: Sequence[str]) -> str:
    return ", ".join(map(repr, cells))


def _rows(table: Path, *, beside_folders: bool = False) -> list[list[str]]:
    """The cells of each row of a table; one row without cells if it is empty.

    Raises:
        TrainerError: It cannot be read, or is above MAX_BESIDE_BYTES beside folders.
    """
    text = _text(table, MAX_BESIDE_BYTES if beside_folders else None)
    text = re.sub(r"\Asep=.\r?\n", "", text)  # of Excel
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return [[cell.strip() for cell in row] for row in rows] or [[]]
    except csv.Error as error:
        raise TrainerError(f"{table} cannot be read as CSV: {error}") from error


def _cell(row: list[str], column: int) -> str:
    return row[column] if column < len(row) else ""


def _text(table: Path, max_bytes: int | None) -> str:
    try:
        if max_bytes is not None and table.stat().st_size > max_bytes:
            raise TrainerError(f"{table} is larger than {max_bytes // 1024**2} MB")
        data = table.read_bytes()
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return data.decode("cp1252")
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"{table} cannot be read as text: {error}") from error
