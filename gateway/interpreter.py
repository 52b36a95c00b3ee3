"""Threads that take turns with the event loop: only one of them runs Python at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

STEP_SECONDS = 0.0005
"""For how long a thread works before it lets others run."""

COPIED = 512 * 2**10
"""Bytes that are copied at once, in some tenths of a millisecond."""

_turn = threading.local()


def let_others_run() -> None:
    """Let go of the interpreter's lock, if that was not done just now, for as long as another thread needs to wake up.

    Who waits for the lock else gets it after 5 ms, however often it is taken and let go meanwhile.
    """
    if time.perf_counter() - getattr(_turn, "began", 0.0) > STEP_SECONDS:
        time.sleep(1e-6)
        _turn.began = time.perf_counter()


def joined(pieces: Sequence[bytes | memoryview]) -> bytes:
    """Bytes in one piece, of whatever size; for threads."""
    parts: list[bytes] = []
    for one in pieces:
        parts += [one] if isinstance(one, bytes) else _copies(one, 0, len(one))
    return b"".join(parts)  # of bytes alone it lets go of the lock


def copy_of(data: bytes | bytearray | memoryview, start: int, end: int) -> bytes:
    """A part of some bytes, of whatever size, copied some at a time."""
    return b"".join(_copies(data, start, end))


def _copies(data: bytes | bytearray | memoryview, start: int, end: int) -> Iterator[bytes]:
    for begin in range(start, end, COPIED):
        yield bytes(data[begin : min(begin + COPIED, end)])
        if end - start > COPIED:
            let_others_run()
