"""Collect the photos of a prediction log that people gave feedback on, as a folder of photos by class."""

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Protocol

from trainer.console import say
from trainer.errors import TrainerError

MANIFEST: Final = "collected.csv"

NOT_IN_NAMES: Final = frozenset('/\\:*?"<>|')
"""Characters that some file systems do not allow in a folder's name."""


@dataclass(frozen=True)
class Collected:
    """A row of the manifest: where a photo comes from, and why it has its label.

    Attributes:
        file: Path of the photo in the output folder.
        label: The label that people gave or confirmed.
        digest: SHA-256 of the uploaded file.
        time: When the photo was answered, RFC 3339.
        request_id: ID of that request.
        model: Name of the model that answered.
        version: Version that answered.
        predicted: What it answered; empty if the photo was unknown.
        verdict: ``right`` or ``wrong``.
    """

    file: str
    label: str
    digest: str
    time: str
    request_id: str
    model: str
    version: int
    predicted: str
    verdict: str


class Files(Protocol):
    """The files of a prediction log. Names are relative to it."""

    def records(self) -> Iterator[bytes]:
        """The content of each segment."""

    def photos(self) -> dict[str, str]:
        """The name of the newest kept photo by digest."""

    def read(self, name: str) -> bytes:
        """The content of a file. Raises `FileNotFoundError` if it was deleted."""


class Folder:
    """A prediction log in a folder."""

    def __init__(self, root: Path) -> None:
        if not (root / "records").is_dir():
            raise TrainerError(f"{root} is not a prediction log: it has no folder `records`")
        self._root = root

    def records(self) -> Iterator[bytes]:
        """See `Files`."""
        read: set[str] = set()
        missed: list[Path] = []
        # The gateway renames a segment when it closes it, and moves it later. One that moved while its folder was
        # listed, or before it was opened, is in the next list.
        while paths := [path for path in self._segments() if _segment_name(path) not in read]:
            if paths == missed:
                raise TrainerError(f"{paths[0]} cannot be read: it is listed, but does not exist")
            missed = paths
            for path in paths:
                with suppress(FileNotFoundError):
                    content = path.read_bytes()
                    if _segment_name(path) not in read:
                        read.add(_segment_name(path))
                        yield content

    def _segments(self) -> list[Path]:
        return sorted((self._root / "records").rglob("*.jsonl*"))

    def photos(self) -> dict[str, str]:
        """See `Files`."""
        paths = sorted((self._root / "photos").rglob("*.jpg"))
        return {path.stem: path.relative_to(self._root).as_posix() for path in paths}

    def read(self, name: str) -> bytes:
        """See `Files`."""
        return (self._root / name).read_bytes()


def _segment_name(path: Path) -> str:
    """The name of a segment, which is the same before and after it is closed."""
    return path.name.removesuffix(".open")


class ObjectStorage:
    """A prediction log at an address of fsspec."""

    def __init__(self, address: str) -> None:
        try:
            import fsspec

            self._files: Any
            self._files, self._root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise TrainerError(f"{address} cannot be read: {error}. For S3: pip install 'breed-gateway[s3]'") from error

    def records(self) -> Iterator[bytes]:
        """See `Files`."""
        for path in sorted(self._files.find(f"{self._root}/records")):
            if path.endswith(".jsonl"):
                with suppress(FileNotFoundError):  # it was deleted meanwhile
                    yield self._files.cat_file(path)

    def photos(self) -> dict[str, str]:
        """See `Files`."""
        paths = sorted(path for path in self._files.find(f"{self._root}/photos") if path.endswith(".jpg"))
        return {Path(path).stem: path.removeprefix(f"{self._root}/") for path in paths}

    def read(self, name: str) -> bytes:
        """See `Files`."""
        content: bytes = self._files.cat_file(f"{self._root}/{name}")
        return content


def collect(log: Files, out: Path, model: str | None = None) -> tuple[list[Collected], int]:
    """Write the photos with feedback to folders by label, and a manifest.

    The last feedback on a photo that was not withdrawn counts; what reviewers decided counts more. A photo whose label
    changed since the last call moves; other photos that are there already are not read again, and stay when the log
    deletes them. Photos with the verdict ``none`` have no label and are left out.

    Args:
        log: The prediction log.
        out: The output folder.
        model: Only photos that this model answered.

    Returns:
        The rows of the manifest, and the number of photos with feedback that the log did not keep.
    """
    feedback, recorded = _read(log)
    kept = log.photos()
    before = {row.digest: row for row in read_manifest(out)}
    rows: dict[str, Collected] = {}
    missing = 0
    for digest, (entry, answer) in feedback.items():
        if model is not None and answer["model"] != model:
            continue
        label = entry["label"] or answer["label"]
        if entry["verdict"] == "none" or label is None:
            continue
        name = Path(folder_name(label)) / f"{digest}.jpg"
        previous = out / (before.pop(digest).file if digest in before else name)
        if previous.is_file():
            (out / name.parent).mkdir(parents=True, exist_ok=True)
            previous.replace(out / name)
        elif not _copy_photo(log, kept.get(digest), out / name):
            missing += 1
            continue
        rows[digest] = Collected(
            name.as_posix(),
            label,
            digest,
            answer["time"],
            answer["request_id"],
            answer["model"],
            answer["version"],
            answer["label"] or "",
            entry["verdict"],
        )
    for digest, row in before.items():
        if digest in recorded and model in (None, row.model):  # no label fits, or the feedback was withdrawn
            (out / row.file).unlink(missing_ok=True)
        else:  # the log has deleted its records by now, or the photo was collected for another model
            rows[digest] = row
    manifest = sorted(rows.values(), key=lambda row: row.file)
    _write_manifest(out, manifest)
    return manifest, missing


def _copy_photo(log: Files, name: str | None, target: Path) -> bool:
    """Copies a photo; returns False if the log did not keep it or has deleted it since."""
    if name is None:
        return False
    try:
        content = log.read(name)
    except FileNotFoundError:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(target)
    return True


def folder_name(label: str) -> str:
    """A label as the name of a folder on every file system."""
    name = "".join("_" if character in NOT_IN_NAMES else character for character in label).strip(" .")
    return name or "_"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `trainer collect`."""
    parser.add_argument(
        "log", metavar="LOG", help="prediction log: a folder or an fsspec address such as s3://bucket/folder"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, with a subfolder for each label")
    parser.add_argument("--model", help="collect only photos that this model classified")


def run(args: argparse.Namespace) -> int:
    """Runs `trainer collect`."""
    log = ObjectStorage(args.log) if "://" in args.log else Folder(Path(args.log))
    rows, missing = collect(log, args.out, args.model)
    labels = sorted({row.label for row in rows})
    lines = [f"{args.out}: {len(rows)} photos of {len(labels)} labels"]
    lines += [f"  {sum(row.label == label for row in rows):5}  {label}" for label in labels]
    if missing:
        lines.append(
            f"{missing} photos with feedback are not in the log; GATEWAY_PREDICTION_LOG_PHOTOS selects what it keeps"
        )
    say("\n".join(lines))
    return 0


def _read(log: Files) -> tuple[dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]], Set[str]]:
    """The last feedback on each photo and the answer it is about, by digest; and the digests of all answers."""
    newest: dict[str, Mapping[str, Any]] = {}
    by_request: dict[tuple[str, int], Mapping[str, Any]] = {}
    feedback_records: list[Mapping[str, Any]] = []
    damaged = 0
    for segment in log.records():
        for line in segment.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                continue  # the gateway is writing it, or was killed
            try:
                record = json.loads(line)
            except ValueError:
                damaged += 1
                continue
            if record["kind"] == "feedback":
                feedback_records.append(record)
            if record["kind"] != "prediction":
                continue
            by_request[record["request_id"], record["index"]] = record
            earlier = newest.get(record["digest"])
            if earlier is None or earlier["time"] <= record["time"]:
                newest[record["digest"]] = record
    if damaged:
        say(f"warning: {damaged} lines of the log are not JSON and were left out")
    last: dict[tuple[str | None, int, str | None, str | None], Mapping[str, Any]] = {}
    for record in sorted(feedback_records, key=lambda one: (_is_review(one), one["time"])):
        reviewer = record["key"] if _is_review(record) else None
        about = record["request_id"], record["index"], record["digest"], reviewer
        last.pop(about, None)
        if record["verdict"] != "withdrawn":
            last[about] = record
    feedback: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for (request_id, index, digest, _), record in last.items():  # in order of time, reviews last
        answer = newest.get(digest) if digest is not None else by_request.get((request_id or "", index))
        if answer is not None:
            feedback[answer["digest"]] = record, answer
    return feedback, newest.keys()


def _is_review(record: Mapping[str, Any]) -> bool:
    """Whether a record is the decision of a reviewer."""
    return record.get("review") is not None


def read_manifest(out: Path) -> list[Collected]:
    """Reads the manifest of a folder that `collect` has written; an empty list if it has none."""
    try:
        with (out / MANIFEST).open(encoding="utf-8", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
            return [Collected(**row | {"version": int(row["version"])}) for row in rows]
    except FileNotFoundError:
        return []


def _write_manifest(out: Path, rows: list[Collected]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f"{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Collected)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    partial.replace(out / MANIFEST)
