"""Read the prediction log into a `ReviewIndex`: everything once, and then only what is new."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.prediction_log.retention import DAY, own_files
from gateway.prediction_log.review_index import MAX_PHOTOS, ReviewIndex
from gateway.prediction_log.segments import OPEN
from gateway.prediction_log.shipper import day_of
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
    """Reads segments and lists photos. Threads may share it, but only one at a time may call `read_storage`.

    It remembers which segments it has read, and forgets those that are no longer in the storage.
    """

    def __init__(self, storage: Storage, index: ReviewIndex) -> None:
        self._storage = storage
        self._index = index
        self._adding = threading.Lock()
        """Held while records are added. Never while the storage, which may be slow, is asked for something."""
        self._spooled: dict[str, int] = {}
        """Bytes that have been read of each segment of the spool, by name."""
        self._stored: dict[str, set[str]] = {}
        """Names of the segments that have been read from the storage, by day."""
        self._full_at: float | None = None

    def read_spool(self) -> None:
        """Read what is new in the segments of this machine, open ones too."""
        for path in self._spool():
            name = path.name.removesuffix(OPEN)
            with self._adding:
                start = self._spooled.get(name, 0)
                if name in self._stored.get(day_of(name), ()):  # it is being shipped
                    continue
                try:
                    content = _tail(path, start)
                except FileNotFoundError:  # it was closed or shipped meanwhile
                    continue
                if content:
                    self._add(name, content)
                    self._spooled[name] = start + len(content)

    def read_storage(self) -> None:
        """Read new segments, and list the photos."""
        now = datetime.now(UTC)
        full = self._full_at is None or time.monotonic() - self._full_at >= FULL_SECONDS
        first = "" if full else f"{now - timedelta(days=RECENT_DAYS):%Y-%m-%d}"
        self._index.begin_listing()
        photo_days = [day for day in self._storage.folders("photos") if DAY.fullmatch(day)]
        for day in photo_days:
            if day >= first:
                photos = own_files(self._storage, day, "photos")
                self._index.set_stored(day, {Path(name).stem for name, _ in photos})
        self._index.keep_days(set(photo_days))
        gone = self._gone() if full else set()
        days = [day for day in self._storage.folders("records") if DAY.fullmatch(day)]
        for day in self._stored.keys() - set(days):
            del self._stored[day]
        for day in sorted(days, reverse=True):
            if day < first or (full and len(self._index) >= MAX_PHOTOS):
                break  # older photos would be left out
            self._read_day(day)
        if full:
            with self._adding:
                for name in gone:
                    self._spooled.pop(name, None)
            self._full_at = time.monotonic()

    def _read_day(self, day: str) -> None:
        names = [name for name, _ in own_files(self._storage, day, "records")]
        segments = self._stored.setdefault(day, set())
        segments.intersection_update(map(_base, names))
        for name in names:
            base = _base(name)
            if base in segments:
                continue  # closed segments never change
            try:
                content = self._storage.read(name)
            except FileNotFoundError:  # it was deleted meanwhile
                continue
            with self._adding:
                self._add(base, content[self._spooled.pop(base, 0) :])
                segments.add(base)

    def _gone(self) -> set[str]:
        """Names of the segments that have been read from the spool and are no longer there."""
        with self._adding:
            read = set(self._spooled)
        return read - {path.name.removesuffix(OPEN) for path in self._spool()}

    def _spool(self) -> list[Path]:
        """The segments of this machine, by name."""
        # Open ones first: one that is closed meanwhile is found twice, not overlooked.
        return sorted((*self._storage.spool.glob(f"*.jsonl{OPEN}"), *self._storage.spool.glob("*.jsonl")))

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


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _chunks(lines: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(lines), CHUNK_LINES):
        yield lines[start : start + CHUNK_LINES]
