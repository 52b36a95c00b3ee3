"""Read the prediction log into a `ReviewIndex`: everything once, and then only what is new."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.prediction_log.retention import DAY, OWN_FILES
from gateway.prediction_log.review_index import MAX_PHOTOS, ReviewIndex
from gateway.prediction_log.segments import OPEN
from gateway.prediction_log.storage import Storage

logger = logging.getLogger(__name__)

RECENT_DAYS = 1
"""Days before today that are listed each time; a gateway ships late what it could not ship in time."""

FULL_SECONDS = 600.0
"""How often all days are listed."""

CHUNK_LINES, PAUSE_SECONDS = 50, 0.0005
"""Lines that are added to the index at a time, and the pause after them. Without it, the event loop would get the
interpreter lock only every 5 ms."""


class ReviewReader:
    """Reads segments and lists photos. Only one thread at a time may call it.

    Args:
        storage: The prediction log.
        index: Receives what is found.
    """

    def __init__(self, storage: Storage, index: ReviewIndex) -> None:
        self._storage = storage
        self._index = index
        self._read: dict[str, int] = {}
        """Bytes that have been read of each segment, by name."""
        self._full_at: float | None = None

    def read_spool(self) -> bool:
        """Read what is new in the segments of this machine, open ones too. Returns whether there was anything."""
        found = False
        for path in sorted((*self._storage.spool.glob("*.jsonl"), *self._storage.spool.glob(f"*.jsonl{OPEN}"))):
            start = self._read.get(name := path.name.removesuffix(OPEN), 0)
            try:
                content = _tail(path, start)
            except FileNotFoundError:  # it was closed or shipped meanwhile
                continue
            if content:
                self._add(name, content)
                self._read[name] = start + len(content)
                found = True
        return found

    def read_storage(self) -> None:
        """Read new segments, and list the photos.

        Raises:
            OSError: The storage fails.
        """
        now = datetime.now(UTC)
        full = self._full_at is None or time.monotonic() - self._full_at >= FULL_SECONDS
        first = "" if full else f"{now - timedelta(days=RECENT_DAYS):%Y-%m-%d}"
        photo_days = [day for day in self._storage.folders("photos") if DAY.fullmatch(day)]
        for day in photo_days:
            if day >= first:
                self._index.set_stored(day, {Path(name).stem for name in self._names("photos", day)})
        self._index.keep_days(set(photo_days))
        days = [day for day in self._storage.folders("records") if DAY.fullmatch(day) and day >= first]
        for day in sorted(days, reverse=True):
            if full and len(self._index) >= MAX_PHOTOS:
                break  # older photos would be left out
            for name in self._names("records", day):
                self._read_segment(name)
        if full:
            self._full_at = time.monotonic()

    def _read_segment(self, name: str) -> None:
        base = name.rpartition("/")[2]
        start = self._read.get(base, 0)
        if start < 0:
            return
        try:
            content = self._storage.read(name)[start:]
        except FileNotFoundError:  # it was deleted meanwhile
            return
        self._add(base, content)
        self._read[base] = -1  # closed segments never change

    def _names(self, folder: str, day: str) -> list[str]:
        path = f"{folder}/{day}"
        found = (name for name, _ in self._storage.files(path))
        return sorted(name for name in found if OWN_FILES[folder].fullmatch(name.removeprefix(f"{path}/")))

    def _add(self, name: str, content: bytes) -> None:
        unreadable = 0
        for lines in _chunks(content.splitlines()):
            unreadable += self._index.add(lines)
            time.sleep(PAUSE_SECONDS)
        if unreadable:
            logger.warning("%s: %d lines are not records that this gateway knows", name, unreadable)


def _tail(path: Path, start: int) -> bytes:
    """Complete lines of a file from a position on."""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read()
    return content[: content.rfind(b"\n") + 1]


def _chunks(lines: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(lines), CHUNK_LINES):
        yield lines[start : start + CHUNK_LINES]
