"""Suppress the output of C++ libraries during their start."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_ASKED_FOR = os.environ.get(_LOG_LEVEL) in ("0", "1")


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """Suppresses output to file descriptor 2 during the block, and prints it if the block fails.

    TensorFlow prints a dozen lines on import and with its first session, most of them before its log level applies.
    With ``TF_CPP_MIN_LOG_LEVEL`` set to 0 or 1, this does nothing.
    """
    if _ASKED_FOR:
        yield
        return
    os.environ.setdefault(_LOG_LEVEL, "2")  # show only errors from now on
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as buffer:
        os.dup2(buffer.fileno(), 2)
        try:
            yield
        except Exception:
            buffer.seek(0)
            os.write(terminal, buffer.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
