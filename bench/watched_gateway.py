"""The gateway with a watch on its event loop. Run as ``python -m bench.watched_gateway``.

Every callback that the loop runs is timed in processor time of its thread: the longest is how long the loop is ever
held up by the gateway's own doing, garbage collection included, and not by other processes that had the core. uvloop
lets nobody look, so asyncio's own loop stands in for it; the callbacks are the same.

A thread that keeps the interpreter to itself holds the loop up too. That shows in how late a timer is, as does whoever
else has the core: it says something only beside a model server that computes nothing.
"""

import asyncio
import gc
import sys
import threading
import time

from fastapi import FastAPI

LONG_SECONDS = 0.005
"""A callback that takes longer is counted, and named: that takes time of its own."""

TIMER_SECONDS = 0.001
"""Of the timer whose lateness is taken."""

NAMED = 5
"""Of these, the longest."""


class Watch:
    """What was seen since the last reset; the first begins it, so that it costs nothing before."""

    def __init__(self) -> None:
        self.installed = False
        self.forget()

    def forget(self) -> None:
        """Begins anew."""
        self.longest = 0.0
        self.late: list[float] = []
        self.over: list[tuple[float, str]] = []
        self.collections: list[float] = []
        self.collection_started = 0.0

    def install(self) -> None:
        """Times the callbacks of every loop of this process from now on."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            started = time.thread_time()
            run(handle)
            taken = time.thread_time() - started
            self.longest = max(self.longest, taken)
            if taken > LONG_SECONDS:
                self.over.append((taken, _named(handle)))

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
        gc.callbacks.append(self._collected)
        self.installed = True

    def _collected(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self.collection_started = time.thread_time()
        else:
            self.collections.append(time.thread_time() - self.collection_started)

    async def reset(self) -> dict[str, float]:
        """Forget, and watch from now on."""
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
        """The longest, in milliseconds; how many took over 5, and what they were; how late a timer was; all threads."""
        return {
            "late_ms": [late * 1e3 for late in sorted(self.late, reverse=True)],
            "longest_ms": self.longest * 1e3,
            "over_5_ms": len(self.over),
            "longest": [f"{taken * 1e3:.1f} ms {what}" for taken, what in sorted(self.over, reverse=True)[:NAMED]],
            "collection_ms": max(self.collections, default=0.0) * 1e3,
            "threads": {str(thread.native_id): thread.name for thread in threading.enumerate()},
        }


def _named(handle: asyncio.Handle) -> str:
    """What a callback is; not by its repr, which is as long as the message that a call may carry."""
    callback = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    running = task.get_coro() if isinstance(task, asyncio.Task) else callback
    return str(getattr(running, "__qualname__", type(running).__name__))


watch = Watch()


def watched_app() -> FastAPI:
    """The gateway's app, with two more addresses to read the watch."""
    app = unwatched_app()
    app.add_api_route("/watch", watch.read)
    app.add_api_route("/watch/reset", watch.reset)
    return app


if __name__ == "__main__":
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    import gateway.__main__

    unwatched_app = gateway.__main__.app_from_environment
    # All that the gateway's own start does stays as it is; only the app that it asks for is another.
    gateway.__main__.app_from_environment = watched_app
    sys.exit(gateway.__main__.main())
