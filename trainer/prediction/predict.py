"""`predict`: classify photos without labels, and write the answers to a file."""

import argparse
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trainer.console import progress, say
from trainer.errors import GatewayUnavailableError, TrainerError
from trainer.options import KEY_VARIABLE, add_url
from trainer.prediction.contact_sheet import PHOTOS, ContactSheet
from trainer.prediction.output import Output
from trainer.prediction.records import Format, Record, format_of
from trainer.prediction.sources import (
    STDIN,
    Photo,
    Shard,
    check_arguments,
    count_photos,
    find_photos,
    standard_input,
)

TOP_K = 5
NAMED_FAILURES = 10


class Classifier(Protocol):
    """A model that answers photos.

    Attributes:
        name: Name of the model.
        version: Version that answers; None if it may change during the run.
        top_k: Number of labels in each answer.
        multi_label: Whether a photo can have several labels or none.
    """

    name: str
    version: int | None
    top_k: int
    multi_label: bool

    def answers(self, photos: Iterable[Photo]) -> Iterator[Record]:
        """Yields one record for each photo, in order."""

    def close(self) -> None:
        """Ends the use of the model."""


@dataclass
class Tally:
    """The result of a run.

    Attributes:
        states: Number of records by state.
        failed: The first records without an answer.
    """

    states: Counter[str] = field(default_factory=Counter)
    failed: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Counts a record."""
        self.states[record.state] += 1
        if record.failure and len(self.failed) < NAMED_FAILURES:
            self.failed.append(record)

    def summary(self) -> str:
        """Returns a few lines for people."""
        total, states = sum(self.states.values()), self.states
        lines = [f"{total} photos: {states['named']} named, {states['unknown']} unknown, {states['failed']} failed"]
        lines += [f"  {one.file}: {one.failure.detail}" for one in self.failed if one.failure]
        if states["failed"] > len(self.failed):
            lines.append(f"  and {states['failed'] - len(self.failed)} more, in the file")
        return "\n".join(lines)


def predict(
    model: Classifier,
    photos: Iterator[Photo],
    output: Output,
    sheet: ContactSheet | None = None,
    total: int | None = None,
) -> Tally:
    """Writes a record for each photo; photos whose record is in the file already are not classified again.

    Args:
        model: The model.
        photos: The photos, in the same order as in earlier runs.
        output: The file.
        sheet: Receives all photos.
        total: Number of photos, for the progress.

    Raises:
        TrainerError: The file has records of other photos, or of another model.
    """
    tally = Tally()

    def count(photo: Photo, record: Record) -> None:
        tally.add(record)
        if sheet is not None:
            sheet.add(photo, record)

    done = 0
    for done, record in enumerate(output.resume(), 1):
        photo = next(photos, None)
        _check_resumed(model, photo, record, done)
        assert photo is not None
        count(photo, record)
    # In memory are only the photos that the model has taken and not answered.
    model_photos, record_photos = itertools.tee(photos)
    with progress("Predicting", total, unit="photos", done=done) as advance:
        for photo, record in zip(record_photos, model.answers(model_photos), strict=False):
            output.append(record)
            count(photo, record)
            advance()
    output.sync()
    return tally


def _check_resumed(model: Classifier, photo: Photo | None, record: Record, number: int) -> None:
    if photo is None or photo.name != record.file:
        now = f"now it is {photo.name}" if photo else "now there are fewer photos"
        problem = f"its record {number} is of {record.file}; {now}"
    elif record.model is not None and (record.model, record.version) != (model.name, model.version or record.version):
        problem = f"its record {number} is of {record.model} version {record.version}, not of {model.name}" + (
            f" version {model.version}" if model.version else ""
        )
    elif record.predictions and len(record.predictions) != model.top_k:
        problem = f"its record {number} has {len(record.predictions)} labels, not {model.top_k}"
    else:
        return
    raise TrainerError(
        f"the output exists, and {problem}. Only the same command can be resumed: give another --output, or delete it"
    )


def run(args: argparse.Namespace) -> int:
    """Classifies the photos, and prints a summary."""
    output = Path(args.output)
    format_of(output, args.top_k)  # before the model is loaded, which takes seconds
    check_arguments(args.photos)
    try:
        with closing(_model(args)) as model:
            return _predict(args, model, output, format_of(output, args.top_k, multi_label=model.multi_label))
    except GatewayUnavailableError as error:
        error.add_note("run the same command again to resume")
        raise


def _predict(args: argparse.Namespace, model: Classifier, output: Path, form: Format) -> int:
    sheet = ContactSheet(args.contact_sheet_photos) if args.contact_sheet else None
    total = count_photos(args.photos, args.shard)
    lines = standard_input() if STDIN in args.photos else ()
    with ExitStack() as archives, Output(output, form) as file:
        tally = predict(model, find_photos(args.photos, args.shard, archives, lines), file, sheet, total)
        say(tally.summary())
        say(f"answers: {output}")
        if sheet is not None:
            sheet.write(args.contact_sheet, f"{model.name}: {' '.join(args.photos[:3])}")
            say(f"contact sheet: {args.contact_sheet}")
    if not sum(tally.states.values()) and args.shard.count == 1:
        raise TrainerError(f"there are no photos in {' '.join(args.photos)}")
    return 0


def _model(args: argparse.Namespace) -> Classifier:
    if args.url:
        from trainer.prediction.remote import RemoteModel

        return RemoteModel(args.url, args.model, args.top_k, os.environ.get(KEY_VARIABLE), args.patience)
    from trainer.prediction.local import LocalModel

    return LocalModel(Path(args.model), args.top_k)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `predict`."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="models/NAME/VERSION, or models/NAME for the newest version; with --url: NAME, NAME/VERSION or NAME/LABEL",
    )
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTOS",
        help="files, folders, patterns, zip and tar archives, URLs such as s3://bucket/folder, or - for a list of "
        "paths on standard input, one on each line",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="FILE.jsonl or FILE.csv; if it exists, the run that wrote it is resumed",
    )
    parser.add_argument(
        "--top-k",
        type=_positive,
        default=TOP_K,
        metavar="N",
        help="number of labels for each photo (default: %(default)s)",
    )
    add_url(parser)
    parser.add_argument(
        "--shard",
        type=_shard,
        default=Shard(),
        metavar="K/N",
        help="classify only part K of N, so that several machines can share the photos; K is 1 to N",
    )
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE", help="also write a page of thumbnails, as HTML")
    parser.add_argument(
        "--contact-sheet-photos",
        type=_positive,
        default=PHOTOS,
        metavar="N",
        help="thumbnails on that page: unknown photos first, then the least certain ones (default: %(default)s)",
    )


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer, not {text!r}")
    return number


def _shard(text: str) -> Shard:
    number, _, count = text.partition("/")
    try:
        shard = Shard(int(number), int(count))
    except ValueError:
        shard = Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N, such as 3/10, not {text!r}")
    return shard
