"""Keeps TensorFlow's own chatter from the terminal."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Drops what TensorFlow and Keras print while the block runs: legacy formats, graph sessions, assets written.

    Its C++ part writes to file descriptor 2 before it has read any level, so that is turned away for the time being;
    exceptions are raised as ever.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
