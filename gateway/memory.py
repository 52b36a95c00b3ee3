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

    glibc keeps memory that was used by uploads: 40 MB after a few hundred of them. Returning it blocks other threads
    for milliseconds, so it is done only when there are no requests. With another C library, this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    held = 0
    while trim is not None:
        await asyncio.sleep(PAUSE_SECONDS)
        if admission.is_idle and admission.held_bytes - held > WORTHWHILE_BYTES:
            held = admission.held_bytes
            await asyncio.to_thread(trim, 0)
