"""The thread that writes lines and photos to local files."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from prometheus_client import Counter

from gateway.prediction_log.segments import Segments

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Maximum number of lines that wait for this thread. Further ones are dropped."""

MAX_WAITING_PHOTOS = 16
"""The same for photos."""

TICK_SECONDS = 1.0
"""How often the thread looks whether a segment is due."""

MAX_SPOOLED_BYTES = 32 * 2**20
"""Maximum size of what waits in the spool. Further records and photos are dropped."""

MEASURE_SECONDS = 0.1
"""Time between two measurements of what waits there; one takes 0.3 ms with 40 photos."""

WARNING_SECONDS = 10.0
"""Time between two warnings in the log."""

T = TypeVar("T")

Photo = tuple[str, str, bytes]
"""Day, digest and content of a photo."""


class Writer(threading.Thread):
    """Writes lines and photos into a spool of limited size. A full or broken disk loses them, and they are counted."""

    def __init__(self, segments: Segments, spool: Path, dropped: Counter) -> None:
        # A daemon: a disk that hangs must not keep the process alive.
        super().__init__(name="prediction-log-writer", daemon=True)
        self._segments = segments
        self._spool = spool
        self._dropped = dropped
        self._lines: queue.Queue[bytes] = queue.Queue(MAX_WAITING)
        self._photos: queue.Queue[Photo] = queue.Queue(MAX_WAITING_PHOTOS)
        self._work = threading.Event()
        self._stopping = False
        self._warned_at = -WARNING_SECONDS
        self._measured_at = -MEASURE_SECONDS
        self._spooled = 0

    def put_line(self, line: bytes) -> bool:
        """Hand over a line. Returns whether there was room for it."""
        return self._put(self._lines, line)

    def put_photo(self, photo: Photo) -> bool:
        """Hand over a photo. Returns whether there was room for it."""
        return self._put(self._photos, photo)

    def stop(self, seconds: float) -> None:
        """Write what waits, close the segment and end, or give up after some seconds."""
        self._stopping = True
        self._work.set()
        self.join(seconds)

    def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            self._work.wait(TICK_SECONDS)
            self._work.clear()
            self._write()
        self._write()
        self._guarded(0, self._segments.close)

    def _put(self, waiting: queue.Queue[T], item: T) -> bool:
        try:
            waiting.put_nowait(item)
        except queue.Full:
            self._dropped.labels("queue").inc()
            return False
        self._work.set()
        return True

    def _write(self) -> None:
        if lines := _all(self._lines):
            self._guarded(len(lines), partial(self._segments.append, lines))
        for photo in _all(self._photos):
            self._guarded(1, partial(self._segments.add_photo, *photo))
        if self._segments.due():
            self._guarded(0, self._segments.close)

    def _guarded(self, items: int, write: Callable[[], None]) -> None:
        """Write; what cannot be written is counted."""
        try:
            if items and self._spooled_bytes() > MAX_SPOOLED_BYTES:
                raise OSError("too much waits for the storage")
            write()
        except Exception as error:
            self._dropped.labels("storage").inc(items)
            if time.monotonic() - self._warned_at >= WARNING_SECONDS:
                self._warned_at = time.monotonic()
                logger.warning("the prediction log cannot be written; records or photos are lost: %s", error)

    def _spooled_bytes(self) -> int:
        """Size of what waits in the spool, as it was at most `MEASURE_SECONDS` ago."""
        if time.monotonic() - self._measured_at >= MEASURE_SECONDS:
            self._spooled = _size(self._spool)
            self._measured_at = time.monotonic()
        return self._spooled


def _all(waiting: queue.Queue[T]) -> list[T]:
    """Everything that waits."""
    items: list[T] = []
    with suppress(queue.Empty):
        while True:
            items.append(waiting.get_nowait())
    return items


def _size(spool: Path) -> int:
    """Size of the closed segments and photos that wait for the storage."""
    size = 0
    for pattern in ("*.jsonl", "*~*.jpg"):
        for path in spool.glob(pattern):
            with suppress(FileNotFoundError):  # it was shipped meanwhile
                size += path.stat().st_size
    return size
