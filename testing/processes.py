"""Run programs as processes: start, stop, send signals, measure CPU time and memory."""

from __future__ import annotations

import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from testing import ROOT
from testing.polling import DEADLINE_SECONDS, until

LOOPBACK = "127.0.0.1"

_RANDOM = random.SystemRandom()  # no seed that a test sets may make processes draw the same port


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port that is free now, below those that systems give to whoever asks for any port.

    So the system gives it to no client; another test may still draw it.
    """
    while True:
        try:
            with socket.create_server((host, _RANDOM.randrange(16_384, 32_768))) as probe:
                return int(probe.getsockname()[1])
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise


@contextmanager
def reserved_port(host: str = LOOPBACK) -> Iterator[int]:
    """A TCP port that a server can listen on during the block, and that the system gives to nobody else meanwhile.

    It is bound, but nobody listens, so connections are refused. On Linux, servers can still bind it, because they set
    SO_REUSEADDR as this socket does. Elsewhere, the port is only free at the beginning of the block.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, 0))
        port = int(holder.getsockname()[1])
        if sys.platform != "linux":
            holder.close()
        yield port


def accepts(address: str) -> bool:
    """Whether a server listens on ``host:port``."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def has_ended(pid: int) -> bool:
    """Whether a process has ended. A zombie counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Tree:
    """A process and its descendants."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """CPU time of the running processes and of their children that have ended."""
        total = 0.0
        for process in self.members():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
        return total

    def memory_bytes(self) -> int:
        """Proportional set size, which counts shared pages once, if the system provides it; otherwise resident size."""
        total = 0
        for process in self.members():
            try:
                total += getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return total

    def members(self) -> list[psutil.Process]:
        """The process and its descendants that are still running."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


class Process:
    """A Python program of this project in its own process.

    Args:
        name: Name for messages.
        arguments: The arguments of ``python -m``.
        environment: Variables to add to the environment of this process.
        log: File to append its output to.
    """

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = [sys.executable, "-m", *arguments]
        self._environment = {**os.environ, **environment}
        self.start()

    def start(self) -> None:
        """Start the process, or restart it after it has ended."""
        self.started = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=output, stderr=subprocess.STDOUT
            )
        self.tree = Tree(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace")

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> float:
        """Wait until it is ready.

        Returns:
            Seconds since it was started.

        Raises:
            ChildProcessError: It ended.
            TimeoutError: It was not ready in time.
        """

        def ready_or_ended() -> bool:
            return bool(ready()) or not self.is_running()

        until(ready_or_ended, f"{self.name} is ready (see {self.log})", seconds)
        if not self.is_running():
            raise ChildProcessError(f"{self.name} ended with {self._process.returncode}: {self.output[-2000:]}")
        return time.monotonic() - self.started

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait until it has ended; returns its exit status."""
        return self._process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = DEADLINE_SECONDS) -> int:
        """Stop it with a signal, or with SIGKILL if it does not stop; returns its exit status."""
        if self.is_running():
            self.send(number)
        try:
            return self.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill it; returns its exit status."""
        self._process.kill()
        return self.wait()
