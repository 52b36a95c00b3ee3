"""Segments: files of JSON Lines with a bounded size and age, and the local folder in which they and photos wait.

An open segment has the suffix ``.open`` and is locked, so that a segment whose process was killed can be told from one
in use: the next process closes it, without the line that was cut off. Closed segments never change. A kept photo waits
as ``DAY~DIGEST.jpg``.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from gateway.prediction_log.storage import Storage

NEW, OPEN = ".new", ".open"


@dataclass(frozen=True, slots=True)
class _Segment:
    file: FileIO
    path: Path


class Segments:
    """Writes lines and photos to local files, in the spool of a storage.

    Each object of a process needs another `name`, which is part of the names of its segments.

    Raises:
        OSError: A file cannot be written, and then has none of the lines; or it cannot be renamed, and a process closes
            it later.
    """

    def __init__(self, storage: Storage, max_bytes: int, max_seconds: float, name: str = "") -> None:
        self._spool = storage.spool
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._replica = f"{socket.gethostname()}-{os.getpid()}{name and '-'}{name}"
        self._number = 0
        self._open: _Segment | None = None
        self._opened = 0.0

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines, each with its line break, to the open segment."""
        segment = (self._open or self._begin()).file
        start = os.fstat(segment.fileno()).st_size
        content = b"".join(lines)
        try:
            written = segment.write(content)
        except OSError:
            segment.truncate(start)
            raise
        if written != len(content):
            segment.truncate(start)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def add_photo(self, day: str, digest: str, content: bytes) -> None:
        """Write a photo."""
        photo = self._spool / f"{day}~{digest}.jpg"
        partial = photo.with_suffix(f".{os.getpid()}{NEW}")
        try:
            partial.write_bytes(content)
            partial.replace(photo)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise

    def due(self) -> bool:
        """Whether the open segment has reached its size or its age."""
        return self._open is not None and (
            os.fstat(self._open.file.fileno()).st_size >= self._max_bytes
            or time.monotonic() - self._opened >= self._max_seconds
        )

    def close(self) -> None:
        """Close the open segment."""
        if self._open is not None:
            segment, self._open = self._open, None
            _finish(segment)

    def _begin(self) -> _Segment:
        self._number += 1
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{self._replica}-{self._number:04}.jsonl"
        new = self._spool / f"{name}{NEW}"
        segment = _Segment(FileIO(new, "a"), self._spool / f"{name}{OPEN}")
        try:
            # Locked before it is renamed: other processes look for open segments without a lock.
            fcntl.flock(segment.file, fcntl.LOCK_EX)
            new.rename(segment.path)
        except OSError:
            segment.file.close()
            raise
        self._open, self._opened = segment, time.monotonic()
        return segment


def adopt(spool: Path) -> None:
    """Close the open segments of processes that were killed, without lines that were cut off."""
    for path in spool.glob(f"*{OPEN}"):
        with suppress(FileNotFoundError):  # another process was faster
            segment = _Segment(FileIO(path, "r+"), path)
            try:
                fcntl.flock(segment.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                segment.file.close()
                continue
            segment.file.truncate(segment.file.readall().rfind(b"\n") + 1)
            _finish(segment)


def _finish(segment: _Segment) -> None:
    with segment.file as file, suppress(FileNotFoundError):  # the folder is gone, or another process was faster
        if os.fstat(file.fileno()).st_size:
            segment.path.replace(segment.path.with_suffix(""))
        else:
            segment.path.unlink()
