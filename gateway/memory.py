"""What glibc does with memory that was freed; with another C library nothing here does anything."""

from __future__ import annotations

import asyncio
import ctypes

from gateway.admission import Admission

_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
"""Numbers of the options in glibc's malloc.h."""

_KEPT = {_MMAP_THRESHOLD: 8 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
"""Bytes: a block from here on is a mapping of its own, and free memory from here on is given back."""


def keep_freed() -> None:
    """Keep what requests free for the next ones.

    A photo, its pixels and its message are each more than glibc keeps by default, and to take memory from the system
    anew costs a page fault for every 4 KB. It is enough for the message of a batch, and for what a few photos of phones
    take at a time; a larger picture than most, which alone fills a block, is given back at once.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in _KEPT.items():
            mallopt(option, size)


IDLE_SECONDS = 5.0
"""How often it is looked whether there is nothing to do."""

WORTHWHILE_BYTES = 32 * 2**20
"""Of uploads since memory was last given back."""


async def give_back_when_idle(admission: Admission) -> None:
    """Give free memory back to the system after a load, for ever.

    Only when nothing is to be done: 100 MB take up to 0.1 s, and who wants memory meanwhile has to wait.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    received = 0
    while True:
        await asyncio.sleep(IDLE_SECONDS)
        if admission.is_idle and admission.received_bytes - received > WORTHWHILE_BYTES:
            received = admission.received_bytes
            await asyncio.to_thread(trim, 0)
