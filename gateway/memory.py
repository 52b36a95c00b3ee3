"""Return free memory to the system."""

from __future__ import annotations

import asyncio
import ctypes

from gateway.inference.admission import Admission

PAUSE_SECONDS = 10.0
"""Time between two checks whether the process is idle."""

WORTHWHILE_BYTES = 8 * 2**20
"""Bytes of uploads since the last time that make it worthwhile."""


async def trim_when_idle(admission: Admission) -> None:
    """Return free memory to the system whenever the gateway is idle, until cancelled.

    glibc keeps memory that was used by uploads: 40 MB after a few hundred photos, 160 MB after 32 uploads of 20 MB.
    Returning it blocks other threads for milliseconds, so it is done only when there are no requests. With another C
    library, this does nothing.

    With MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ at 128 KB, glibc would return it at once, but each megabyte
    of an upload would take 3 ms more CPU time of the event loop. At 16 and 4 MB, it would not return it.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    bytes_at_trim = 0
    while trim is not None:
        await asyncio.sleep(PAUSE_SECONDS)
        if admission.is_idle and admission.held_bytes - bytes_at_trim > WORTHWHILE_BYTES:
            bytes_at_trim = admission.held_bytes
            await asyncio.to_thread(trim, 0)
