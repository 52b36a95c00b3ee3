"""The answer to one photo, and the file formats for many of them: a JSON object or a row of CSV for each.

Fields and columns are those of the files that the gateway's web page saves.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from trainer.errors import TrainerError

State = Literal["named", "unknown", "failed"]

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula; such text gets an apostrophe in front."""


SEPARATOR = "|"
"""Between the labels of a photo in a cell of CSV."""


@dataclass(frozen=True)
class Failure:
    """Why a photo has no answer: a stable code for programs, and a sentence."""

    code: str
    detail: str


@dataclass(frozen=True)
class Record:
    """The answer to one photo.

    Attributes:
        file: Name of the photo, see `sources.Photo`.
        predictions: Labels and scores, best first; empty if there is no answer.
        unknown: Whether the photo is unknown to the model, or has no label of a multi-label model.
        looks_like: What an unknown photo shows, if the model has a name for it.
        model: Name of the model that answered.
        version: Version of the model that answered.
        failure: Why there is no answer.
        labels: The labels of the photo, best first, if the model is multi-label; otherwise None.
        confidence: The score of the best label, also of an unknown photo; None without an answer. The labels that a
            photo has need not be among the predictions.
    """

    file: str
    predictions: tuple[tuple[str, float], ...] = ()
    unknown: bool = False
    looks_like: str | None = None
    model: str | None = None
    version: int | None = None
    failure: Failure | None = None
    labels: tuple[str, ...] | None = None
    confidence: float | None = None

    @property
    def state(self) -> State:
        """`named`, `unknown` or `failed`."""
        return "failed" if self.failure else "unknown" if self.unknown else "named"

    @property
    def label(self) -> str | None:
        """The best label; None if the photo is unknown or has no answer."""
        if self.state != "named":
            return None
        return self.labels[0] if self.labels else self.predictions[0][0]


class Format(Protocol):
    """A file format. A file is a header and rows.

    Attributes:
        header: What a file begins with.
        start: What every row begins with.
    """

    header: bytes
    start: bytes

    def is_complete(self, row: bytes) -> bool:
        """Whether a row that ends with a line break ends there."""

    def row(self, record: Record) -> bytes:
        """Returns the bytes of a record."""

    def parse(self, row: bytes) -> Record:
        """Returns the record of a row.

        Raises:
            ValueError: The row is not of this format.
        """


class JsonLines:
    """A JSON object on each line, in ASCII."""

    header = b""
    start = b'{"file": '

    def is_complete(self, row: bytes) -> bool:  # noqa: ARG002, JSON has no line breaks in strings
        """Whether a row that ends with a line break ends there."""
        return True

    def row(self, record: Record) -> bytes:
        """Returns the bytes of a record."""
        failure = record.failure
        fields: dict[str, object] = {
            "file": record.file,
            "state": record.state,
            "label": record.label,
            "looks_like": record.looks_like,
            "confidence": record.confidence,
            "model": record.model,
            "version": record.version,
            "predictions": [{"label": label, "score": score} for label, score in record.predictions],
            "error": {"code": failure.code, "detail": failure.detail} if failure else None,
        }
        if record.labels is not None:
            fields["labels"] = record.labels
        return json.dumps(fields).encode("ascii") + b"\n"

    def parse(self, row: bytes) -> Record:
        """Returns the record of a row."""
        try:
            fields = json.loads(row)
            error = fields["error"]
            return Record(
                file=fields["file"],
                predictions=tuple((one["label"], one["score"]) for one in fields["predictions"]),
                unknown=fields["state"] == "unknown",
                looks_like=fields["looks_like"],
                model=fields["model"],
                version=fields["version"],
                failure=Failure(error["code"], error["detail"]) if error else None,
                labels=tuple(fields["labels"]) if "labels" in fields else None,
                confidence=fields["confidence"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a record: {error}") from error


class Csv:
    """CSV (RFC 4180) with a header, in UTF-8 with the byte order mark that Excel wants.

    Args:
        top_k: Number of columns for labels and scores.
        multi_label: Whether there is a column for all labels of a photo, with SEPARATOR between them.
    """

    start = b""

    def __init__(self, top_k: int, *, multi_label: bool = False) -> None:
        self._top_k, self._multi_label = top_k, multi_label
        columns = ["file", "state", "label", *(["labels"] if multi_label else [])]
        columns += ["looks_like", "confidence", "model", "version"]
        for rank in range(1, top_k + 1):
            columns += [f"label_{rank}", f"score_{rank}"]
        self._columns = [*columns, "error_code", "error"]
        self.header = b"\xef\xbb\xbf" + _csv_row(self._columns)

    def is_complete(self, row: bytes) -> bool:
        """Whether a row that ends with a line break ends there, and not within quotes."""
        return row.count(b'"') % 2 == 0

    def row(self, record: Record) -> bytes:
        """Returns the bytes of a record."""
        ranked: list[str | float | None] = [value for one in record.predictions for value in one]
        ranked += [None] * (2 * self._top_k - len(ranked))
        labels = [SEPARATOR.join(record.labels or ())] if self._multi_label else []
        first = [record.file, record.state, record.label, *labels, record.looks_like, record.confidence]
        failure = [record.failure.code, record.failure.detail] if record.failure else [None, None]
        return _csv_row([*first, record.model, record.version, *ranked, *failure])

    def parse(self, row: bytes) -> Record:
        """Returns the record of a row."""
        text = row.decode("utf-8", "surrogateescape")
        try:
            [cells] = csv.reader(io.StringIO(text, newline=""), strict=True)
        except csv.Error as error:
            raise ValueError(f"not a row of CSV: {error}") from error
        fields = dict(zip(self._columns, map(_unescaped, cells), strict=True))
        ranked = [(fields[f"label_{rank}"], fields[f"score_{rank}"]) for rank in range(1, self._top_k + 1)]
        return Record(
            file=fields["file"],
            predictions=tuple((label, float(score)) for label, score in ranked if score),
            unknown=fields["state"] == "unknown",
            looks_like=fields["looks_like"] or None,
            model=fields["model"] or None,
            version=int(fields["version"]) if fields["version"] else None,
            failure=Failure(fields["error_code"], fields["error"]) if fields["state"] == "failed" else None,
            labels=tuple(filter(None, fields["labels"].split(SEPARATOR))) if self._multi_label else None,
            confidence=float(fields["confidence"]) if fields["confidence"] else None,
        )


def format_of(path: Path, top_k: int, *, multi_label: bool = False) -> Format:
    """Returns the format for the name of a file, `top_k` labels and scores, and what kind of model.

    Raises:
        TrainerError: There is none.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return JsonLines()
    if suffix == ".csv":
        return Csv(top_k, multi_label=multi_label)
    raise TrainerError(f"the name of the output must end in .jsonl or .csv, not {path.name!r}")


def _csv_row(values: Sequence[str | float | None]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow([_escaped(one) if isinstance(one, str) else one for one in values])
    return text.getvalue().encode("utf-8", "surrogateescape")


def _escaped(text: str) -> str:
    return f"'{text}" if _is_formula(text) else text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(FORMULA)  # apostrophes of its own, too, so that reading gives them back
