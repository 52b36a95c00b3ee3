"""The gateway as a process of its own, as people start it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import httpx

from tests.conftest import ROOT


@contextmanager
def gateway_process(
    target: str, stderr: IO[bytes] | None = None, **settings: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes]]]:
    """Runs ``python -m gateway`` before a model server until the block ends; settings are upper-case names."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "GATEWAY_PORT": str(port),
        "GATEWAY_SERVING_TARGET": target,
        "GATEWAY_DEFAULT_MODEL": "colours",
        **{f"GATEWAY_{name}": value for name, value in settings.items()},
    }
    process = subprocess.Popen([sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, stderr=stderr)
    # A connection for each request: which worker takes it is the kernel's choice.
    limits = httpx.Limits(max_keepalive_connections=0)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
            until(lambda: reachable(client))
            yield client, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def reachable(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Polls until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
