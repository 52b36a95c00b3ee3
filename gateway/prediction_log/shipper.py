"""The thread that moves closed segments and photos to the storage, and deletes old files.

The storage may be slow, full or gone. Nothing else waits for this thread; files stay in the spool until it succeeds.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from pathlib import Path

from gateway.prediction_log.retention import Retention
from gateway.prediction_log.segments import adopt
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often the thread looks for closed segments and photos."""

RETRY_SECONDS = 10.0
"""How long it waits after a failure."""

RETENTION_SECONDS = 3600.0
"""How often it looks for old files."""

LOCK = ".lock"
"""File in the spool whose lock the one process that ships holds."""


class Shipper(threading.Thread):
    """Ships what is in the spool, and deletes what is old. Of several processes with one spool, one at a time does."""

    def __init__(self, storage: Storage, max_days: float, max_bytes: int) -> None:
        # A daemon: storage that hangs must not keep the process alive.
        super().__init__(name="prediction-log-shipper", daemon=True)
        self._storage = storage
        self._retention = Retention(storage, max_days, max_bytes)
        self._stopping = threading.Event()
        self._retention_at = 0.0

    def stop(self, seconds: float) -> None:
        """Ship what is left and end, or give up after some seconds."""
        self._stopping.set()
        self.join(seconds)

    def run(self) -> None:
        """Work until `stop`."""
        wait = TICK_SECONDS
        while not self._stopping.wait(wait):
            wait = TICK_SECONDS if self._ship() else RETRY_SECONDS
        self._ship()

    def _ship(self) -> bool:
        """Ship once. Returns whether it succeeded."""
        try:
            with (self._storage.spool / LOCK).open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True  # another process does
                ship(self._storage)
                if time.monotonic() >= self._retention_at:
                    self._retention_at = time.monotonic() + RETENTION_SECONDS
                    self._retention.delete_old()
        except Exception as error:
            logger.warning("records and photos cannot be moved to %s; trying again: %s", self._storage.address, error)
            return False
        return True


def ship(storage: Storage) -> None:
    """Move closed segments, those of killed processes included, and photos to the storage.

    Raises:
        OSError: The storage does not take a file, which stays in the spool.
    """
    adopt(storage.spool)
    for pattern in ("*.jsonl", "*~*.jpg"):
        for path in sorted(storage.spool.glob(pattern)):
            try:
                storage.put(path, stored_name(path))
            except FileNotFoundError:
                if path.exists():
                    raise
                if path.suffix == ".jpg":
                    storage.delete(stored_name(path))  # a reviewer has deleted it, perhaps while it was uploaded


def stored_name(path: Path) -> str:
    """Where a file of the spool goes: `records/DAY/NAME` or `photos/DAY/DIGEST.jpg`."""
    if path.suffix == ".jpg":
        day, _, photo = path.name.partition("~")
        return f"photos/{day}/{photo}"
    return f"records/{day_of(path.name)}/{path.name}"


def day_of(segment: str) -> str:
    """The day under which a segment is stored: that on which it was begun."""
    return f"{segment[:4]}-{segment[4:6]}-{segment[6:8]}"
