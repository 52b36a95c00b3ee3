"""The thread that writes the prediction log. Storage may be slow, full or gone: nothing else waits for it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Literal

from gateway.prediction_log.retention import delete_old
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

MAX_WAITING = 1000
"""Maximum number of records and photos that wait for the storage. Further ones are dropped."""

TICK_SECONDS = 1.0
"""How often the thread looks whether a segment is due."""

RETENTION_SECONDS = 600.0
"""How often the thread looks for old files."""

RETRY_SECONDS = 10.0
"""How long the thread waits after the storage has failed."""

MAX_SPOOLED_BYTES = 256 * 2**20
"""Maximum size of closed segments that wait for the storage. Further records are dropped."""

CLOSE_SECONDS = 5.0
"""How long a gateway that ends waits for the thread."""

Dropped = Literal["queue", "storage"]


class Writer(threading.Thread):
    """Writes records to segments and photos to the storage, and deletes old files.

    Args:
        storage: Where everything is kept.
        segments: The open segment.
        max_days: Retention; see `delete_old`.
        max_bytes: Retention.
    """

    def __init__(self, storage: Storage, segments: Segments, max_days: float, max_bytes: int) -> None:
        # A daemon: storage that hangs must not keep the process alive.
        super().__init__(name="prediction-log", daemon=True)
        self._storage = storage
        self._segments = segments
        self._max_days, self._max_bytes = max_days, max_bytes
        self._waiting: queue.Queue[bytes | tuple[str, bytes] | None] = queue.Queue(MAX_WAITING)
        self._retry_at = self._retention_at = 0.0
        self.dropped_by_storage = 0
        """Number of records and photos that the storage did not take."""

    def put(self, line_or_photo: bytes | tuple[str, bytes]) -> bool:
        """Hand over a line, or the name and the content of a photo. Returns whether there was room for it."""
        try:
            self._waiting.put_nowait(line_or_photo)
        except queue.Full:
            return False
        return True

    def stop(self) -> None:
        """Write what waits, close the segment and end. Gives up after `CLOSE_SECONDS`."""
        deadline = time.monotonic() + CLOSE_SECONDS
        try:
            self._waiting.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self.join(max(0.0, deadline - time.monotonic()))

    def run(self) -> None:
        """Work until `stop`."""
        ends = False
        while not ends:
            lines, photos = [], []
            for one in self._take():
                if one is None:
                    ends = True
                elif isinstance(one, bytes):
                    lines.append(one)
                else:
                    photos.append(one)
            self._write(lines, photos)
            if ends or self._segments.due():
                self._segments.close()
            self._tend(ends)

    def _take(self) -> list[bytes | tuple[str, bytes] | None]:
        try:
            taken = [self._waiting.get(timeout=TICK_SECONDS)]
        except queue.Empty:
            return []
        while not self._waiting.empty():
            taken.append(self._waiting.get_nowait())
        return taken

    def _write(self, lines: list[bytes], photos: list[tuple[str, bytes]]) -> None:
        if lines:
            try:
                if self._segments.spooled_bytes() > MAX_SPOOLED_BYTES:
                    raise OSError("the storage does not take closed segments")
                self._segments.append(lines)
            except OSError as error:
                self._failed(error, len(lines))
        for name, content in photos:
            try:
                self._storage.write(content, name)
            except OSError as error:
                self._failed(error, 1)

    def _tend(self, ends: bool) -> None:
        now = time.monotonic()
        if now < self._retry_at and not ends:
            return
        try:
            self._segments.ship()
            if now >= self._retention_at and not ends:
                self._retention_at = now + RETENTION_SECONDS
                delete_old(self._storage, self._max_days, self._max_bytes)
        except OSError as error:
            self._failed(error, 0)
            self._retry_at = now + RETRY_SECONDS

    def _failed(self, error: OSError, dropped: int) -> None:
        self.dropped_by_storage += dropped
        logger.warning("the prediction log cannot be written, %d records or photos are dropped: %s", dropped, error)
