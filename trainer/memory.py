"""Keep the memory of a run small, and spend little time on it."""

import ctypes
import gc
import sys


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without garbage collection, which would take a fifth of the time.

    Afterwards garbage collection leaves their objects alone, because they stay until the process ends.
    """
    if "tensorflow" in sys.modules:
        return
    gc.disable()
    hides_plots = "matplotlib" not in sys.modules
    if hides_plots:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]  # Keras does without, half a second faster
    try:
        import tensorflow as tf  # noqa: F401
    finally:
        gc.enable()
        if hides_plots:
            del sys.modules["matplotlib"]
    gc.freeze()


def free() -> None:
    """Frees what nothing refers to, and returns free memory to the system.

    The allocator of glibc keeps the memory of freed weights and graphs, in pieces that the next stage may not fit into.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
