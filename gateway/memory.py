"""Memory that uploads leave behind."""

from __future__ import annotations

import asyncio
import ctypes

from gateway.inference.admission import Admission

PAUSE_SECONDS = 10.0
"""How often the process is asked whether it is idle."""

WORTHWHILE_BYTES = 8 * 2**20
"""Bytes of uploads since the last time; below this there is nothing to gain."""


async def trim_when_idle(admission: Admission) -> None:
    """Return free memory to the system when nothing is in work, until cancelled.

    glibc keeps what uploads free: 40 MB after a few hundred of them. To return it takes milliseconds in which other
    threads wait, so it is done only when nobody waits. With another C library this does nothing.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    held = 0
    while trim is not None:
        await asyncio.sleep(PAUSE_SECONDS)
        if admission.is_idle and admission.held_bytes - held > WORTHWHILE_BYTES:
            held = admission.held_bytes
            await asyncio.to_thread(trim, 0)
