"""Find the columns of files and of labels in a table."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_COLUMNS: Final = (
    "file",
    "filename",
    "image",
    "imageid",
    "imagename",
    "img",
    "photo",
    "path",
    "filepath",
    "imagepath",
    "id",
)
LABEL_COLUMNS: Final = (
    *("label", "labels", "class", "classname", "classlabel", "category", "breed", "species", "target", "tag"),
    "choice",  # of Label Studio
)
USUAL_COLUMNS: Final = frozenset((*FILE_COLUMNS, *LABEL_COLUMNS))
"""Names of columns, in lower case without spaces and underscores."""

LABEL_WORDS: Final = frozenset(("label", "labels", "class", "classes", "category", "breed", "species"))
"""The last word in the name of a column of labels, such as `Finding Labels`, except for those that may follow."""

WORDS_AFTER_LABEL: Final = frozenset(("name", "id"))
"""Words that may follow, as numbers and parentheses may: `breed_name`, `ClassId`, `label 1`, `labels (en)`."""

INDEX_COLUMNS: Final = ("", "index", "unnamed:0")
"""Names of the column of numbers that pandas writes."""

SPLIT_COLUMNS: Final = ("split", "set", "subset", "dataset", "partition", "fold", "isvalid")

YES, NO = frozenset(("1", "1.0", "true")), frozenset(("0", "0.0", "false"))
"""Cells of a column that is a label."""

TABLE_SUFFIXES: Final = (".csv", ".tsv")
OTHER_SUFFIXES: Final = (".xlsx", ".xls", ".ods", ".json", ".jsonl", ".parquet")
"""Formats in which people have such tables, and which are not read."""

IMAGE_NAME: Final = re.compile(r".+\.(?:jpe?g|png|gif|bmp|webp|hei[cf])", re.IGNORECASE)

ROWS_TRIED: Final = 20
"""Number of rows in which names of files are looked for."""

PATH_MAX: Final = 4096
"""Number of characters above which a cell cannot be a path: the limit of Linux."""


class NamedFiles:
    """The files of a data set by the names that a table may give them.

    These are the path relative to the table and the name of the file, with or without the extension. Tables are none of
    them.
    """

    def __init__(self, files: Iterable[Path], folder: Path) -> None:
        self._by_name: dict[str, list[Path]] = {}
        for path in files:
            if path.suffix.lower() in TABLE_SUFFIXES:
                continue
            inside = path.relative_to(folder)
            for name in {inside.as_posix(), inside.with_suffix("").as_posix(), inside.name, inside.stem}:
                self._by_name.setdefault(_key(name), []).append(path)

    def find(self, name: str) -> list[Path]:
        """Returns the files that a name may mean.

        Leading folders that do not exist, backslashes, case and the forms of Unicode are ignored. Kaggle refers to
        `train/000bec.jpg` as `000bec`.
        """
        if len(name) > PATH_MAX:
            return []
        parts = _key(name).replace("\\", "/").split("/")
        ends = ("/".join(parts[at:]) for at in range(len(parts)))
        return next((self._by_name[end] for end in ends if end in self._by_name), [])


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True)
class Columns:
    """The columns of a table.

    Attributes:
        has_header: Whether the first row has the names of columns.
        file: The column of files.
        label_columns: The columns of labels.
        unnamed_columns: Columns without a name that follow them, which contain labels if a file can have several.
        beyond: Whether further cells of a row do so, too.
        are_switches: Whether there is a column for each label, with 1 or 0, and its header is the label.
        split: The column of splits.
        rank: How much says that these are files and labels. 2: the names of both columns, or a photo in the first row;
            1: the name of the column of labels; 0: what the cells contain.
    """

    has_header: bool
    file: int
    label_columns: list[int]
    unnamed_columns: list[int]
    beyond: bool = False
    are_switches: bool = False
    split: int | None = None
    rank: int = 0

    def description(self, header: Sequence[str]) -> str:
        """Returns which columns these are, for people."""
        if not self.has_header:
            return "which has no header"
        if self.are_switches:
            return f"column {header[self.file]!r} and {len(self.label_columns)} columns of 0 and 1"
        return f"columns {header[self.file]!r} and {header[self.label_columns[0]]!r}"


def find_columns(rows: Sequence[Sequence[str]], files: NamedFiles, *, multi_label: bool) -> Columns | None:
    """Finds the columns of a table; None if it has no column of files or none of labels.

    A cell of the first row names a photo if it has the extension of one, or if it names a file of the data set and is
    not the usual name of a column. The first row is a header if it has the usual names of both columns, or that of one
    of them and no cell that names a photo. Otherwise, it is a header unless a cell has the extension of a photo, or the
    cell in the column of files names a file. Without a header, all other columns have labels.

    The column of files is, in this order: in a first row that is no header, the only cell with the extension of a
    photo; the column with a usual name whose cells name files; any column whose first cells do, those with extensions
    of photos first; the column with a usual name or with such extensions, though the files do not exist.

    Below a header, the column of labels is, in this order: the one with a usual name; the only one whose name ends with
    a word such as `label`; all other columns together, if they contain 0 and 1; the only other column.

    Args:
        rows: The cells, with the header.
        files: The files of the data set.
        multi_label: Whether a table without a header may have more columns of labels.
    """
    header, *body = rows
    names = [re.sub(r"[\s_-]+", "", name).lower() for name in header]
    usual = [bool({*names}.intersection(one)) for one in (FILE_COLUMNS, LABEL_COLUMNS)]
    pictures = [column for column, cell in enumerate(header) if IMAGE_NAME.fullmatch(cell)]
    photos = [cell for name, cell in zip(names, header, strict=True) if name not in USUAL_COLUMNS and files.find(cell)]
    has_header = all(usual) or (any(usual) and not pictures and not photos)
    if len(pictures) == 1 and not has_header:
        file: int | None = pictures[0]
    else:
        file = _file_column(names, body if has_header else rows, files)
    if file is None:
        return None
    others = [column for column in range(len(names)) if column != file]
    if not has_header and (pictures or files.find(header[file])):
        if len(others) == 1 or (multi_label and others):
            return Columns(False, file, others, [], beyond=True, rank=2 if len(pictures) == 1 else 0)
        return None
    split = next((column for column in others if names[column] in SPLIT_COLUMNS), None)
    others = [column for column in others if column != split and names[column] not in INDEX_COLUMNS]
    candidates = [column for column in others if names[column] not in FILE_COLUMNS]
    label = _label_column(header, names, candidates)
    rank = 2 if all(usual) else 0 if label is None else 1
    if label is None:
        for switches in (others, candidates):  # a label may be called `path`
            cells = {row[column].lower() for row in body for column in switches if column < len(row)}
            if len(switches) > 1 and cells and cells <= YES | NO:
                return Columns(True, file, switches, [], are_switches=True, split=split)
        if len(candidates) != 1:
            return None
        label = candidates[0]
    label_columns, unnamed_columns, beyond = _further(names, label)
    return Columns(True, file, label_columns, unnamed_columns, beyond, split=split, rank=rank)


def _file_column(names: Sequence[str], rows: Sequence[Sequence[str]], files: NamedFiles) -> int | None:
    def names_files(column: int, rows: Sequence[Sequence[str]]) -> bool:
        return any(column < len(row) and files.find(row[column]) for row in rows)

    usual = [names.index(one) for one in FILE_COLUMNS if one in names]
    tried = rows[: ROWS_TRIED + 1]
    every = range(len(names))
    pictures = [
        column
        for column in every
        if any(IMAGE_NAME.fullmatch(cell) for row in tried for cell in row[column : column + 1])
    ]
    for column in usual:
        if names_files(column, rows):
            return column
    likely = usual + pictures  # of files that do not exist
    return next((column for column in (*pictures, *every) if names_files(column, tried)), likely[0] if likely else None)


def _label_column(header: Sequence[str], names: Sequence[str], candidates: Sequence[int]) -> int | None:
    """The column whose name says that it has the labels."""
    usual = [names.index(one) for one in LABEL_COLUMNS if one in names and names.index(one) in candidates]
    like = [column for column in candidates if _ends_with_label(header[column])]
    return usual[0] if usual else like[0] if len(like) == 1 else None


def _ends_with_label(name: str) -> bool:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\([^()]*\)", " ", name))
    words = re.findall(r"[^\W\d_]+|\d+", spaced.lower())
    while words and (words[-1] in WORDS_AFTER_LABEL or words[-1].isdigit()):
        words.pop()
    return bool(words) and words[-1] in LABEL_WORDS


def _further(names: Sequence[str], label: int) -> tuple[list[int], list[int], bool]:
    """The columns of labels, those without a name that follow them, and whether cells beyond the header do, too."""
    label_columns: list[int] = []
    unnamed_columns: list[int] = []
    inside = False
    for column, name in enumerate(names):
        inside = name == names[label] or (inside and not name)
        if inside:
            (label_columns if name else unnamed_columns).append(column)
    return label_columns, unnamed_columns, inside
