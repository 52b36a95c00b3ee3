"""The port of a gateway that runs as a process. Its shutdown is tested with that of HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateway_process
from testing.processes import LOOPBACK


@pytest.fixture
def server() -> Iterator[ColourServer]:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving():
        yield server


def test_a_port_in_use_ends_the_program_with_one_line(server: ColourServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChildProcessError), gateway_process(server.address, log, GRPC_PORT=str(port)):
            pass
    text = log.read_text()
    assert f"cannot listen on 127.0.0.1 port {port}" in text
    assert "Traceback" not in text
