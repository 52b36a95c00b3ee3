"""The port of a gateway that runs as a process: start, several workers, shutdown."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateway_process
from testing.grpc_calls import HEALTH, INFER, send
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import LOOPBACK, free_port
from tests.gateway.grpc_api.test_open_inference import image_request

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[ColourServer]:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving():
        yield server


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_calls_finish_and_refuses_new_ones(server: ColourServer, workers: int) -> None:
    port = free_port()
    with gateway_process(server.address, WORKERS=str(workers), GRPC_PORT=str(port), MODEL_REFRESH_SECONDS="60") as (
        _,
        running,
    ):
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(f"{LOOPBACK}:{port}", options) as channel:
            request = image_request(photo("blue"))
            send(channel, INFER, request)
            answers: list[bytes] = []
            server.stalled.set()
            caller = threading.Thread(target=lambda: answers.append(send(channel, INFER, request)[0]))
            caller.start()
            until(lambda: bool(server.waiting))
            running.send(signal.SIGTERM)
            until(lambda: not accepts_calls(port))
            assert running.is_running()
            server.stalled.clear()
            caller.join(DEADLINE_SECONDS)
            assert b"blue" in answers[0]
            assert running.wait() == 0


def accepts_calls(port: int) -> bool:
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            send(channel, HEALTH, b"", timeout=5)
        except grpc.RpcError:
            return False
    return True


def test_a_port_in_use_ends_the_program_with_one_line(server: ColourServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChildProcessError), gateway_process(server.address, log, GRPC_PORT=str(port)):
            pass
    text = log.read_text()
    assert f"cannot listen on 127.0.0.1 port {port}" in text
    assert "Traceback" not in text
