"""The gateway with measurements of its event loop: ``python -m bench.watched_gateway``.

The CPU time of every callback of the loop is measured. The longest one is the longest time that the gateway itself,
including garbage collection, blocks the loop; other processes on the same core do not count. uvloop offers no such
measurement, so asyncio's own loop replaces it. The callbacks are the same.

A thread that holds the GIL blocks the loop too. This shows in the delay of a timer, but so do other processes on the
core. So the delay is meaningful only with a model server that computes nothing.
"""

import asyncio
import gc
import sys
import threading
import time

from fastapi import FastAPI

LONG_SECONDS = 0.005
"""Callbacks that take longer are counted and described. Describing takes time, so shorter ones are not."""

TIMER_SECONDS = 0.001
"""Interval of the timer whose delay is measured."""

NAMED = 5
"""Number of longest callbacks to report."""


class Watch:
    """Measurements since the last reset. The first reset starts them."""

    def __init__(self) -> None:
        self.installed = False
        self.forget()

    def forget(self) -> None:
        """Resets the measurements."""
        self.longest = 0.0
        self.late: list[float] = []
        self.over: list[tuple[float, str]] = []
        self.collections: list[float] = []
        self.collection_started = 0.0

    def install(self) -> None:
        """Starts to measure the callbacks of every event loop in this process."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            started = time.thread_time()
            run(handle)
            duration = time.thread_time() - started
            self.longest = max(self.longest, duration)
            if duration > LONG_SECONDS:
                self.over.append((duration, _name_of(handle)))

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
        gc.callbacks.append(self._collected)
        self.installed = True

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self.collection_started = time.thread_time()
        else:
            self.collections.append(time.thread_time() - self.collection_started)

    async def reset(self) -> dict[str, float]:
        """Reset and start the measurements."""
        self.forget()
        if not self.installed:
            self.install()
            self.timer = asyncio.create_task(self._time())
        return {}

    async def _time(self) -> None:
        while True:
            due = time.perf_counter() + TIMER_SECONDS
            await asyncio.sleep(TIMER_SECONDS)
            self.late.append(time.perf_counter() - due)

    async def read(self) -> dict[str, object]:
        """The longest callbacks in milliseconds, the number over 5 ms, delays of the timer, and all threads."""
        return {
            "late_ms": [late * 1e3 for late in sorted(self.late, reverse=True)],
            "longest_ms": self.longest * 1e3,
            "over_5_ms": len(self.over),
            "longest": [
                f"{duration * 1e3:.1f} ms {what}" for duration, what in sorted(self.over, reverse=True)[:NAMED]
            ],
            "collection_ms": max(self.collections, default=0.0) * 1e3,
            "threads": {str(thread.native_id): thread.name for thread in threading.enumerate()},
        }


def _name_of(handle: asyncio.Handle) -> str:
    """Describes a callback; its repr may contain a whole message."""
    callback = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    running = task.get_coro() if isinstance(task, asyncio.Task) else callback
    return str(getattr(running, "__qualname__", type(running).__name__))


watch = Watch()


def watched_app() -> FastAPI:
    """The app of the gateway with two more endpoints for the measurements."""
    app = unwatched_app()
    app.add_api_route("/watch", watch.read)
    app.add_api_route("/watch/reset", watch.reset)
    return app


if __name__ == "__main__":
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    import gateway.__main__

    unwatched_app = gateway.__main__.app_from_environment
    # Start like the gateway, but with another app.
    gateway.__main__.app_from_environment = watched_app
    sys.exit(gateway.__main__.main())
