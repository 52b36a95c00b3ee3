"""Delete what is older, or takes more space, than the settings allow."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from gateway.prediction_log.storage import Storage

OWN_FILES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {"records": re.compile(r"[^/]+\.jsonl"), "photos": re.compile(r"[0-9a-f]{64}\.jpg")}
)
"""Names of files that the prediction log wrote, by folder. Others in the same place are left alone."""

DAY = re.compile(r"\d{4}-\d\d-\d\d")

GROWING_DAYS = 2
"""Days before today whose size may still grow: a gateway ships late what it could not ship in time."""

RECOUNT_SECONDS = 86_400.0
"""How often the size of older days is measured again; others may have deleted files there."""


class Retention:
    """Deletes old files. It remembers how large each day is, so that it does not list the whole log each time.

    A maximum age or size of 0 keeps everything.
    """

    def __init__(self, storage: Storage, max_days: float, max_bytes: int) -> None:
        self._storage = storage
        self._max_days = max_days
        self._max_bytes = max_bytes
        self._sizes: dict[tuple[str, str], int] = {}
        self._counted_at = -RECOUNT_SECONDS

    def delete_old(self) -> int:
        """Delete days before the first that is to be kept, then the oldest files until the rest fits; returns how many.

        Raises:
            OSError: The storage fails.
        """
        now = datetime.now(UTC)
        days = sorted(
            (day, folder) for folder in OWN_FILES for day in self._storage.folders(folder) if DAY.fullmatch(day)
        )
        first_day = f"{now - timedelta(days=self._max_days):%Y-%m-%d}" if self._max_days else ""
        deleted = 0
        for day, folder in days:
            if day < first_day:
                files = own_files(self._storage, day, folder)
                for name, _ in files:
                    self._storage.delete(name)
                deleted += len(files)
        return deleted + self._delete_over_size([one for one in days if one[0] >= first_day], now)

    def _delete_over_size(self, days: list[tuple[str, str]], now: datetime) -> int:
        if not self._max_bytes:
            return 0
        if time.monotonic() - self._counted_at >= RECOUNT_SECONDS:
            self._sizes.clear()
            self._counted_at = time.monotonic()
        growing = f"{now - timedelta(days=GROWING_DAYS):%Y-%m-%d}"
        sizes = {}
        for day in days:
            cached = self._sizes.get(day) if day[0] < growing else None
            sizes[day] = sum(size for _, size in own_files(self._storage, *day)) if cached is None else cached
        self._sizes = sizes
        total, deleted = sum(sizes.values()), 0
        for day in days:
            if total <= self._max_bytes:
                break
            files = own_files(self._storage, *day)
            left = sum(size for _, size in files)  # another gateway may have deleted some already
            total += left - sizes[day]
            for name, size in files:
                if total <= self._max_bytes:
                    break
                self._storage.delete(name)
                total, left, deleted = total - size, left - size, deleted + 1
            sizes[day] = left
        return deleted


def own_files(storage: Storage, day: str, folder: str) -> list[tuple[str, int]]:
    """The log's own files of a day, ``photos`` or ``records``, and their sizes, by name."""
    path = f"{folder}/{day}"
    files = storage.files(path)
    return sorted(one for one in files if OWN_FILES[folder].fullmatch(one[0].removeprefix(f"{path}/")))
