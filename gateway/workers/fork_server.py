"""The gateway's side of the fork server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from gateway.workers.fork_main import FORK, KILL
from gateway.workers.limits import Limits

ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # each thread reserves address space, and none is needed
    "OMP_NUM_THREADS": "1",
    # glibc keeps the memory of a photo for the next one. New memory from the system costs a page fault for each 4 KB.
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}

STOP_SECONDS = 5.0
"""How long the fork server may take to kill its workers and end."""


REPLY_SECONDS = 30.0
"""Time limit for a reply. The first reply comes after the libraries are loaded."""


class ForkServerGone(Exception):
    """The fork server ended; nothing can be forked until it is started again."""


class ForkServer:
    """Forks workers and kills them. All methods may be called from any thread, and block for some milliseconds.

    One fork server can serve several pools. It is started by the first fork.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None before the first fork."""
        return self._process.pid if self._process is not None else None

    def fork(self, limits: Limits) -> tuple[int, socket.socket]:
        """Start a worker; returns its process ID, and the socket over which it receives jobs.

        Raises:
            OSError: The system has no more processes or sockets.
            ForkServerGone: The fork server ended.
        """
        with self._lock:
            control = self._started()
            gateway_socket, worker_socket = socket.socketpair()
            try:
                with worker_socket:
                    command = json.dumps({"do": FORK, "limits": asdict(limits)}).encode()
                    pid = self._ask(control, command, [worker_socket.fileno()])
                if pid < 0:
                    raise OSError("the system allows no further process")
            except BaseException:
                gateway_socket.close()
                raise
            gateway_socket.setblocking(False)
            return pid, gateway_socket

    def end(self, pid: int) -> int | None:
        """Kill a worker, unless it has ended by itself. Its process ID stays reserved until this call.

        Returns:
            Its exit status, negative for a signal; None if the fork server is gone.
        """
        with self._lock:
            if self._control is None:
                return None
            try:
                return self._ask(self._control, json.dumps({"do": KILL, "pid": pid}).encode(), [])
            except ForkServerGone:
                return None

    def close(self) -> None:
        """Kill all workers and end."""
        with self._lock:
            self._forget()

    def _started(self) -> socket.socket:
        if self._control is not None:
            return self._control
        gateway_socket, server_socket = socket.socketpair()
        package_folder = str(Path(__file__).parents[2])
        search_path = os.pathsep.join(filter(None, [package_folder, os.environ.get("PYTHONPATH")]))
        # Without the gateway's settings, so that a worker that a file has taken over finds no API keys.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
        with server_socket:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, "-P", "-m", "gateway.workers.fork_main", str(server_socket.fileno())],
                env={**environment, **ENVIRONMENT, "PYTHONPATH": search_path},
                pass_fds=[server_socket.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in a terminal is for the gateway, which ends its workers itself
            )
        gateway_socket.settimeout(REPLY_SECONDS)
        self._control = gateway_socket
        return gateway_socket

    def _ask(self, control: socket.socket, command: bytes, descriptors: list[int]) -> int:
        try:
            socket.send_fds(control, [command], descriptors)
            reply = b""
            while not reply.endswith(b"\n"):
                more = control.recv(32)
                if not more:
                    raise ForkServerGone
                reply += more
        except (OSError, ForkServerGone) as error:
            self._forget()
            raise ForkServerGone("the fork server of the workers ended") from error
        return int(reply)

    def _forget(self) -> None:
        control, self._control = self._control, None
        process, self._process = self._process, None
        if control is not None:
            control.close()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
                return
            process.kill()
            process.wait()
