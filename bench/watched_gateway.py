"""The gateway with a watch on its event loop. Run as ``python -m bench.watched_gateway``.

Every callback that the loop runs is timed in processor time of its thread: the longest is how long the loop is ever
held up by the gateway's own doing, garbage collection included, and not by other processes that had the core. uvloop
lets nobody look, so asyncio's own loop stands in for it; the callbacks are the same.
"""

import asyncio
import gc
import sys
import threading
import time

from fastapi import FastAPI

LONGEST = 5
"""Callbacks that are named."""

NAMED_SECONDS = 0.001
"""From this on; to name one takes time of its own."""


class Watch:
    """What was seen since the last reset."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, str]] = []
        self.collections: list[tuple[float, int]] = []
        self.collection_started = 0.0

    def install(self) -> None:
        """Times the callbacks of every loop of this process from now on."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            started = time.thread_time()
            run(handle)
            taken = time.thread_time() - started
            if taken > NAMED_SECONDS:
                self.taken.append((taken, repr(handle)[:300]))

        asyncio.Handle._run = timed  # type: ignore[method-assign,assignment]
        gc.callbacks.append(self._collected)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self.collection_started = time.thread_time()
        else:
            self.collections.append((time.thread_time() - self.collection_started, info["generation"]))

    async def reset(self) -> dict[str, float]:
        """Forget."""
        self.taken.clear()
        self.collections.clear()
        return {}

    async def read(self) -> dict[str, object]:
        """The longest, in milliseconds, and what it was; and how many took over 5."""
        longest = sorted(self.taken, reverse=True)[:LONGEST]
        return {
            "longest_ms": longest[0][0] * 1e3 if longest else 0.0,
            "over_5_ms": sum(taken > 0.005 for taken, _ in self.taken),
            "longest": [f"{taken * 1e3:.1f} ms {what}" for taken, what in longest],
            "collection_ms": max((taken for taken, _ in self.collections), default=0.0) * 1e3,
            "threads": {str(thread.native_id): thread.name for thread in threading.enumerate()},
        }


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
    watch.install()
    sys.exit(gateway.__main__.main())
