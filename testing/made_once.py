"""Folders of files that several processes of a test run need, made by the first of them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that only the first process makes; the others wait for it. It is only to be read.

    Args:
        tmp_path_factory: Of the process.
        name: Of the folder.
        make: Fills an empty folder.
    """
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # the folder of all processes of this run
    folder = base / name
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            draft = base / f"{name}.draft"
            shutil.rmtree(draft, ignore_errors=True)  # of a process that failed or was ended
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder
