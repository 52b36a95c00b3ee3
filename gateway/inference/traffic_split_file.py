"""Follow a file with a traffic split, so that shares can change without a restart."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from pydantic import ValidationError

from gateway.inference.traffic_split import Shares, TrafficSplit
from gateway.observability.metrics import Metrics
from gateway.traffic_shares import TRAFFIC_SHARES

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""Time between two reads of the file."""

MAX_BYTES = 2**20
"""Maximum size of the file."""


class TrafficSplitFile:
    """Applies the split in a file, which may be created later, whenever it changes.

    A file that is not in the syntax of `TRAFFIC_SHARES` leaves the last split in force. It is logged and counted once,
    not at every read. Models that the file does not name keep their `configured` shares.
    """

    def __init__(self, path: Path, configured: Shares, split: TrafficSplit, metrics: Metrics) -> None:
        self._path = path
        self._configured = configured
        self._split = split
        self._errors = metrics.traffic_split_file_errors
        self._read: bytes | str | None = None
        """What the last read found: content, or an error; None if there was no file yet."""

    async def follow(self) -> None:
        """Read the file again and again, until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(POLL_SECONDS)

    async def read(self) -> None:
        """Read the file once, and apply its split if it has changed."""
        content = await asyncio.to_thread(_content, self._path)
        if content == self._read:
            return
        self._read = content
        if isinstance(content, bytes):
            try:
                shares = TRAFFIC_SHARES.validate_python(content)
            except ValidationError as error:
                content = "; ".join(one["msg"] for one in error.errors())
            else:
                self._split.update({**self._configured, **shares})
                logger.info("new traffic split in %s: %s", self._path, _described(shares) or "none")
                return
        self._errors.inc()
        logger.error(
            "ignoring the traffic split in %s, and keeping the last valid one: %s", self._path, content or "no file"
        )


def _content(path: Path) -> bytes | str | None:
    """Content of the file, why it cannot be read, or None if it does not exist."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return content if len(content) <= MAX_BYTES else f"larger than {MAX_BYTES} bytes"


def _described(shares: Shares) -> str:
    return "; ".join(
        f"{model}: " + ", ".join(f"{target}={weight:g}" for target, weight in weights.items())
        for model, weights in shares.items()
    )
