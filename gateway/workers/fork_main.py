"""``python -m gateway.workers.fork_main FD``: the process that workers are forked from.

It loads the decoders once, has one thread, and only forks and kills. So a new worker is ready within milliseconds and
shares the memory of the libraries with the others. If the gateway ends for any reason, this process kills every worker
and ends too.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress

from gateway.workers import worker
from gateway.workers.limits import Limits

with suppress(ImportError):
    import pillow_heif  # noqa: F401 - loaded once, for all workers; the decoders import it on first use

FORK, KILL = "fork", "kill"

PR_SET_PDEATHSIG = 1
"""Option of prctl(2)."""


def main(control: socket.socket) -> None:
    """Execute the gateway's commands until it closes its end of the control socket."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the gateway decides when its workers end
    gc.freeze()
    children: set[int] = set()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not request:
            break
        command = json.loads(request)
        if command["do"] == FORK:
            with socket.socket(fileno=descriptors[0]) as connection:
                pid = _fork()
                if not pid:
                    control.close()
                    _work(connection, Limits(**command["limits"]))
            if pid > 0:
                children.add(pid)
            control.sendall(b"%d\n" % pid)
            continue
        pid, status = command["pid"], 0
        if pid in children:  # not one of a fork server before this one
            os.kill(pid, signal.SIGKILL)  # without effect on one that has ended
            _, status = os.waitpid(pid, 0)
            children.discard(pid)
        control.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _fork() -> int:
    """Fork; -1 if the system allows no further process."""
    try:
        return os.fork()
    except OSError:
        return -1


def _end_with_parent() -> None:
    """Have the kernel kill this process when the fork server ends for any reason. Linux only."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _work(connection: socket.socket, limits: Limits) -> None:
    """Run as a worker; never returns."""
    status = 1
    try:
        _end_with_parent()
        for default in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(default, signal.SIG_DFL)
        # Suppress what libraries print about files. A reply contains what is worth logging.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.dup2(nowhere, sys.stderr.fileno())
        worker.serve(connection, limits)
        status = 0
    except MemoryError:
        status = worker.OUT_OF_MEMORY_STATUS
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
