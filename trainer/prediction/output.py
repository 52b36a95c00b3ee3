"""An output file that is complete up to the last row, however the process that wrote it ended."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from trainer.errors import TrainerError
from trainer.prediction.records import Format, Record


class Output:
    """Appends records to a file, each with a single write. The file is locked, so only one process writes it.

        with Output(path, format) as output:
            for record in output.resume():  # what an earlier run has written
                ...
            output.append(record)

    Raises:
        TrainerError: Another process writes the file.
    """

    def __init__(self, path: Path, form: Format) -> None:
        self._path, self._format = path, form
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise TrainerError(f"{path} is being written by another run; wait until it ends") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def resume(self) -> Iterator[Record]:
        """Yields the records in the file, and removes a row that was not written to its end.

        Iterate to the end before the first `append`.

        Raises:
            TrainerError: The file is not one that a run with these options writes.
        """
        header = self._format.header
        with self._path.open("rb") as file:
            head = file.read(len(header))
            kept = len(head) if head == header else 0
            if not header.startswith(head):
                raise TrainerError(
                    f"{self._path} exists and has other columns; repeat the options that it was written with, or give "
                    "another --output"
                )
            row = b""
            for line in file:
                row += line
                if not line.endswith(b"\n") or not self._format.is_complete(row):
                    continue
                yield self._parsed(row)
                kept, row = kept + len(row), b""
        start = self._format.start
        if not row.startswith(start) and not start.startswith(row):
            self._parsed(row)  # was written by something else, and must not be removed
        self._file.truncate(kept)
        if not kept:
            self._file.write(header)

    def _parsed(self, row: bytes) -> Record:
        try:
            return self._format.parse(row)
        except ValueError as error:
            raise TrainerError(
                f"{self._path} exists, and {row[:40]!r} is not a row of predictions; give another --output"
            ) from error

    def sync(self) -> None:
        """Makes sure that what was written survives a loss of power."""
        os.fsync(self._file.fileno())

    def append(self, record: Record) -> None:
        """Writes a record."""
        row = memoryview(self._format.row(record))
        while row:
            row = row[self._file.write(row) :]
