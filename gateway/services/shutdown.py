"""Handle SIGTERM: fail readiness checks first, then stop the server. A worker whose parent died stops at once."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Shutdown:
    """Whether this process is about to stop. Some seconds after SIGTERM, the server stops accepting connections."""

    def __init__(self, delay_seconds: float) -> None:
        self.draining = False
        """Set at SIGTERM. From then on, the gateway is not ready, and connections are closed after an answer."""
        self._delay_seconds = delay_seconds
        self._begin_stop: Callable[[], None] | None = None

    def when_stopping(self, begin_stop: Callable[[], None]) -> None:
        """Call this on the event loop at the moment when the server itself hears of SIGTERM."""
        self._begin_stop = begin_stop

    @contextmanager
    def on_sigterm(self) -> Iterator[None]:
        """Handle SIGTERM before the server's handler, which has been installed already.

        A worker process also watches its parent. If the parent is killed with SIGKILL, the worker stops as with SIGTERM
        but without the delay, because the address stays in use until then.

        Does nothing outside of the main thread, or where the server has no handler.
        """
        server_handler = signal.getsignal(signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread() or not callable(server_handler):
            yield
            return
        loop = asyncio.get_running_loop()

        def tell_server() -> None:
            if self._begin_stop is not None:
                loop.call_soon_threadsafe(self._begin_stop)
            server_handler(signal.SIGTERM, None)

        def stop(_: int, __: FrameType | None) -> None:
            if self._delay_seconds <= 0:
                self.draining = True
                tell_server()
            elif not self.draining:
                self.draining = True
                loop.call_soon_threadsafe(loop.call_later, self._delay_seconds, tell_server)

        parent = multiprocessing.parent_process()
        sentinels = [parent.sentinel] if parent is not None else []  # readable once the parent is gone

        def orphaned() -> None:
            for sentinel in sentinels:
                loop.remove_reader(sentinel)
            self.draining = True
            tell_server()

        signal.signal(signal.SIGTERM, stop)
        for sentinel in sentinels:
            loop.add_reader(sentinel, orphaned)
        try:
            yield
        finally:
            for sentinel in sentinels:
                loop.remove_reader(sentinel)
            signal.signal(signal.SIGTERM, server_handler)
