"""Memory that threads and loading leave behind."""

import ctypes
import gc
import os

_M_ARENA_MAX = -8
"""Number of the option in glibc's malloc.h."""

_ARENAS = 2


def share_arenas() -> None:
    """Has all threads take their memory from two pools; to be called before there are threads.

    By default glibc gives each thread a pool of its own, up to eight for each core, and what is free in one is of no
    use to the others: with 32 callers and MobileNetV2, 35 MB. MALLOC_ARENA_MAX in the environment says otherwise.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Returns freed memory to the system.

    Loading copies a graph several times over, in Python objects that only the cycle collector frees and in blocks that
    the C library keeps: a third of the process after loading MobileNetV2 with frozen weights.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)
