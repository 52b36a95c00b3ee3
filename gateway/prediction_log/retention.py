"""Delete what is older, or takes more space, than the settings allow."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from gateway.prediction_log.storage import Storage

OWN_FILE = re.compile(
    r"(records/(?P<records>\d{4}-\d\d-\d\d)/[^/]+\.jsonl|photos/(?P<photos>\d{4}-\d\d-\d\d)/[0-9a-f]{64}\.jpg)"
)
"""Names of files that the prediction log wrote. Others in the same place are left alone."""


def delete_old(storage: Storage, max_days: float, max_bytes: int) -> int:
    """Delete days before the first that is to be kept, then the oldest files until the rest fits.

    Args:
        storage: The prediction log.
        max_days: Maximum age in days; 0 keeps everything.
        max_bytes: Maximum size of everything, in bytes; 0 keeps everything.

    Returns:
        Number of files deleted.

    Raises:
        OSError: The storage fails.
    """
    files = []
    for folder in ("records", "photos"):
        for name, size in storage.files(folder):
            match = OWN_FILE.fullmatch(name)
            if match is not None:
                files.append((match["records"] or match["photos"], name, size))
    first_day = f"{datetime.now(UTC) - timedelta(days=max_days):%Y-%m-%d}" if max_days else ""
    total = sum(size for _, _, size in files)
    deleted = 0
    for day, name, size in sorted(files):
        if day >= first_day and not (max_bytes and total > max_bytes):
            break
        storage.delete(name)
        total -= size
        deleted += 1
    return deleted
