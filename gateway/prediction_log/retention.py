"""Delete what is older, or takes more space, than the settings allow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.prediction_log.storage import Storage

FOLDERS = ("records", "photos")
"""Each holds a folder for each day, named like 2026-01-31."""


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
    found = [(name.split("/"), size) for folder in FOLDERS for name, size in storage.files(folder)]
    # A file that is in no day's folder is an open segment.
    files = sorted((parts[1], "/".join(parts), size) for parts, size in found if len(parts) > 2)
    first_day = f"{datetime.now(UTC) - timedelta(days=max_days):%Y-%m-%d}" if max_days else ""
    total = sum(size for _, _, size in files)
    deleted = 0
    for day, name, size in files:
        if day >= first_day and not (max_bytes and total > max_bytes):
            break
        storage.delete(name)
        total -= size
        deleted += 1
    return deleted
