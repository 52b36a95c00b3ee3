"""Segments: files of JSON Lines with a bounded size and age.

An open segment lies in a local folder and has the suffix ``.open``. It is locked, so that a segment whose process was
killed can be told from one in use; the next process closes it, without the line that was cut off. Closed segments are
never changed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from gateway.prediction_log.storage import Storage

OPEN = ".open"
FOLDER = "records"


class Segments:
    """Writes lines to segments, and moves closed segments to the storage.

    Args:
        storage: Where closed segments go.
        max_bytes: Size at which a segment is closed.
        max_seconds: Age at which a segment is closed.
    """

    def __init__(self, storage: Storage, max_bytes: int, max_seconds: float) -> None:
        self._storage = storage
        self._spool = storage.spool
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._replica = f"{socket.gethostname()}-{os.getpid()}"
        self._number = 0
        self._open: FileIO | None = None
        self._opened = 0.0

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, each with its line break, to the open segment.

        Raises:
            OSError: They cannot be written. None of them is in the segment.
        """
        segment = self._open or self._begin()
        start = segment.tell()
        content = b"".join(lines)
        try:
            written = segment.write(content)
        except OSError:
            segment.truncate(start)
            raise
        if written != len(content):
            segment.truncate(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def due(self) -> bool:
        """Whether the open segment has reached its size or its age."""
        return self._open is not None and (
            self._open.tell() >= self._max_bytes or time.monotonic() - self._opened >= self._max_seconds
        )

    def close(self) -> None:
        """Close the open segment."""
        if self._open is not None:
            segment, self._open = self._open, None
            _finish(segment)

    def ship(self) -> None:
        """Move closed segments to the storage, those of killed processes included.

        Raises:
            OSError: The storage does not take them. They stay, and the next call tries again.
        """
        for path in self._spool.glob(f"*{OPEN}"):
            _adopt(path)
        for path in sorted(self._spool.glob("*.jsonl")):
            try:
                self._storage.put(path, f"{FOLDER}/{day_of(path.name)}/{path.name}")
            except FileNotFoundError:
                continue  # another process shipped it

    def spooled_bytes(self) -> int:
        """Size of the closed segments that the storage has not taken yet."""
        return sum(path.stat().st_size for path in self._spool.glob("*.jsonl"))

    def _begin(self) -> FileIO:
        self._spool.mkdir(parents=True, exist_ok=True)
        self._number += 1
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self._replica}-{self._number:04}.jsonl{OPEN}"
        segment = FileIO(self._spool / name, "a")
        fcntl.flock(segment, fcntl.LOCK_EX)
        self._open, self._opened = segment, time.monotonic()
        return segment


def day_of(name: str) -> str:
    """The day, as in 2026-01-31, of a file whose name begins with its time."""
    return f"{name[:4]}-{name[4:6]}-{name[6:8]}"


def _adopt(path: Path) -> None:
    """Close a segment if no process has it open."""
    try:
        segment = FileIO(path, "r+")
    except FileNotFoundError:
        return
    try:
        fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        segment.close()
        return
    segment.truncate(segment.readall().rfind(b"\n") + 1)
    _finish(segment)


def _finish(segment: FileIO) -> None:
    path = Path(str(segment.name))
    with suppress(FileNotFoundError):  # the folder is gone, or another process was faster
        if os.fstat(segment.fileno()).st_size:
            path.replace(path.with_suffix(""))
        else:
            path.unlink()
    segment.close()
