"""Answer scrapes of the metrics, however many come, without delaying other requests."""

from __future__ import annotations

import asyncio
import time

from gateway.observability.metrics import OPENMETRICS, Metrics

REST = 9.0
"""After the metrics were written, this many times as long passes before they are written again. So it takes at most a
tenth of the time of the process, as long as `MAX_REST_SECONDS` is not reached."""

MAX_REST_SECONDS = 5.0
"""Maximum of that time: Prometheus gives up a scrape after 10 seconds by default."""

Exposition = tuple[bytes, str]
"""The metrics as text, and its media type."""


class Scrapes:
    """Writes the metrics once for all scrapes that wait for them, and never twice at a time."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[Exposition]] = set()
        self._rest_until = 0.0
        self._written: dict[str, tuple[float, Exposition]] = {}
        """By format: when writing began, and the result."""

    async def answer(self, accept: str) -> Exposition:
        """The metrics, as they are now or a moment later.

        Whoever accepts OpenMetrics gets it, version 1.0.0; others get Prometheus' text format.
        """
        asked_at = time.monotonic()
        accepted = OPENMETRICS if OPENMETRICS.partition(";")[0] in accept else ""
        # A task of its own: if this scrape is cancelled, the thread goes on, and the next one must wait for it.
        task = asyncio.create_task(self._written_since(asked_at, accepted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _written_since(self, asked_at: float, accepted: str) -> Exposition:
        async with self._writing:
            began_at, exposition = self._written.get(accepted, (0.0, (b"", "")))
            if began_at < asked_at:
                await asyncio.sleep(self._rest_until - time.monotonic())
                began_at = time.monotonic()
                try:
                    exposition = await asyncio.to_thread(self._metrics.exposition, accepted)
                finally:
                    ended_at = time.monotonic()
                    self._rest_until = ended_at + min(REST * (ended_at - began_at), MAX_REST_SECONDS)
                self._written[accepted] = began_at, exposition
            return exposition
