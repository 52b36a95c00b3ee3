"""The gateway with a watch on its event loop. Run as ``python -m bench.watched_gateway``.

A task sleeps for a millisecond again and again. How late it wakes is how long the loop was held up; how much processor
time the loop's thread used since the last tick leaves out the time that other threads and processes had the core.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import numpy as np
import uvicorn
from fastapi import FastAPI

from gateway.__main__ import app_from_environment
from gateway.settings import Settings

TICK_SECONDS = 0.001


class Watch:
    """What was seen since the last reset, in seconds."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self.busy: list[float] = []

    async def run(self) -> None:
        """Ticks until it is cancelled."""
        while True:
            wall, used = time.perf_counter(), time.thread_time()
            await asyncio.sleep(TICK_SECONDS)
            self.late.append(time.perf_counter() - wall - TICK_SECONDS)
            self.busy.append(time.thread_time() - used)

    async def reset(self) -> dict[str, float]:
        """Forget."""
        self.late.clear()
        self.busy.clear()
        return {}

    async def read(self) -> dict[str, float]:
        """Milliseconds."""
        return {
            "ticks": len(self.late),
            "late_p999_ms": float(np.percentile(self.late, 99.9)) * 1e3,
            "late_max_ms": max(self.late) * 1e3,
            "busy_p999_ms": float(np.percentile(self.busy, 99.9)) * 1e3,
            "busy_ms": max(self.busy) * 1e3,
        }


def main() -> None:
    """Serves until it is told to stop."""
    settings, watch = Settings(), Watch()
    app = app_from_environment()
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(of: FastAPI) -> AsyncIterator[object]:
        ticking = asyncio.create_task(watch.run())
        async with inner(of) as state:
            yield state
        ticking.cancel()

    app.router.lifespan_context = lifespan  # type: ignore[assignment]
    app.add_api_route("/watch", watch.read)
    app.add_api_route("/watch/reset", watch.reset)
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, log_level=settings.log_level)


if __name__ == "__main__":
    main()
