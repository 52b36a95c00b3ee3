"""Limits that the operating system enforces on a worker process."""

from __future__ import annotations

import math
import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass

MAX_OPEN_FILES = 16
"""Limit on open files. A worker opens only its socket, but a library may open a few files to load a codec."""

OVERTIME_NICENESS = 10
"""Niceness of a long job in overtime: it gets a tenth of the CPU time of an ordinary one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one worker process.

    Attributes:
        memory_bytes: Address space the process may add to what the fork server has mapped already. Linux enforces it;
            macOS accepts the limit and ignores it.
        cpu_seconds: CPU time of one job. The kernel rounds it up to the next second of the process.
        niceness: Added to the scheduling priority of the gateway, 0 to 19.
    """

    memory_bytes: int
    cpu_seconds: int
    niceness: int = 0

    def apply(self) -> None:
        """Limit this process, once, right after the fork."""
        _lower(resource.RLIMIT_CORE, 0)
        _lower(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
        _lower(resource.RLIMIT_AS, _mapped_bytes() + self.memory_bytes)
        if self.niceness:
            os.nice(self.niceness)

    def begin_job(self) -> None:
        """Allow this process `cpu_seconds` more than it has used. After that, the kernel ends it with SIGXCPU."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        allowed = math.ceil(usage.ru_utime + usage.ru_stime) + self.cpu_seconds
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _lower(which: int, limit: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    with suppress(ValueError, OSError):  # macOS refuses some limits below the current use
        resource.setrlimit(which, (limit, limit))


def _mapped_bytes() -> int:
    """Address space that this process has mapped; 0 if it is not known."""
    if not sys.platform.startswith("linux"):
        return 0
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - pathlib is not loaded in a worker
        return int(statm.read().split()[0]) * resource.getpagesize()
