"""Processes that are measured: their start, their processor time and memory with all their children, their end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"
START_SECONDS = 120.0


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


class Tree:
    """A process and all that it started."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """Processor time used so far by those that run now, and by the children of each that have ended."""
        total = 0.0
        for process in self._members():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def memory_bytes(self) -> int:
        """Memory: proportional set size, in which shared pages count once, where the system tells it; else resident."""
        total = 0
        for process in self._members():
            try:
                total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def _members(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]


class Server:
    """A Python program of this project, run as a process of its own from the moment it is made.

    Args:
        name: For messages.
        arguments: What follows ``python -m``.
        environment: Added to that of this process.
        log: File that takes its output.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.started = time.monotonic()
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - programs of this project
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.tree = Tree(self._process.pid)

    @property
    def pid(self) -> int:
        """Of the process itself."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> float:
        """Waits, and returns the seconds from the start.

        Raises:
            RuntimeError: It ended, or took too long.
        """
        while time.monotonic() - self.started < START_SECONDS:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: {self._log.read_text(errors='replace')[-2000:]}")
            if ready():
                return time.monotonic() - self.started
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} was not ready within {START_SECONDS:.0f} s; see {self._log}")

    def stop(self) -> None:
        """Ends it, and its children with it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
