"""What SIGTERM does to a gateway, its requests and its processes."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import psutil
import pytest

from testing.colour_server import ColourServer
from testing.gateway import gateway_process, is_live
from testing.grpc_calls import HEALTH, INFER, send
from testing.photos import photo, slow_png
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import LOOPBACK, has_ended, reserved_port
from tests.gateway.grpc_api.test_open_inference import image_request

BREED = "/api/v1/predict_breed"


def is_stopping(client: httpx.Client) -> bool:
    answer = client.get("/readyz")
    draining = answer.status_code == 503 and "shutting down" in answer.json()["detail"]
    return draining and answer.headers.get("connection") == "close"  # not if the request began before the signal


def accepts_calls(port: int) -> bool:
    with grpc.insecure_channel(f"{LOOPBACK}:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            send(channel, HEALTH, b"", timeout=5)
        except grpc.RpcError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_turns_readiness_off_and_requests_are_answered_for_a_while(
    model_server: ColourServer, workers: int
) -> None:
    # A delay that outlasts this test, however long the machine stands still.
    settings = {"SHUTDOWN_DELAY_SECONDS": "600", "WORKERS": str(workers)}
    with gateway_process(model_server.address, None, **settings) as (client, running):
        until(lambda: all(client.get("/readyz").status_code == 200 for _ in range(8)))
        processes = running.tree.members()
        running.send(signal.SIGTERM)
        until(lambda: is_stopping(client))
        assert client.get("/healthz").status_code == 200
        assert client.post(BREED, content=photo()).status_code == 200
        running.kill()
        until(lambda: all(has_ended(process.pid) for process in processes))


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_requests_and_calls_finish_and_exits_0(model_server: ColourServer, workers: int) -> None:
    settings = {"SHUTDOWN_DELAY_SECONDS": "0.1", "MODEL_REFRESH_SECONDS": "60", "WORKERS": str(workers)}
    with (
        reserved_port() as port,
        gateway_process(model_server.address, None, GRPC_PORT=str(port), **settings) as (client, running),
        grpc.insecure_channel(f"{LOOPBACK}:{port}", [("grpc.enable_retries", 0)]) as channel,
        ThreadPoolExecutor(2) as callers,
    ):
        request = image_request(photo("green"))

        def all_have_answered() -> bool:
            assert client.post(BREED, content=photo()).status_code == 200
            return len(model_server.peers) >= workers

        # A worker that has not answered before would have to look the model up while its server is stalled.
        until(all_have_answered)
        send(channel, INFER, request)
        model_server.stalled.set()
        answer = callers.submit(client.post, BREED, content=photo("blue"))
        reply = callers.submit(send, channel, INFER, request)
        until(lambda: model_server.waiting == 2)
        running.send(signal.SIGTERM)
        until(lambda: not is_live(client) and not accepts_calls(port))
        assert running.is_running()
        model_server.stalled.clear()
        assert answer.result().json()["breed"] == "blue"
        assert b"green" in reply.result()[0]
        assert running.wait() == 0


def test_a_request_that_does_not_finish_holds_up_the_end_for_a_bounded_time(model_server: ColourServer) -> None:
    settings = {"SHUTDOWN_TIMEOUT_SECONDS": "1", "MODEL_REFRESH_SECONDS": "60", "REQUEST_TIMEOUT_SECONDS": "600"}
    with gateway_process(model_server.address, None, **settings) as (client, running):
        assert client.post(BREED, content=photo()).status_code == 200
        model_server.stalled.set()
        body = photo()
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as caller:
            caller.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: bool(model_server.waiting))
            running.send(signal.SIGTERM)
            assert running.wait() == 0


def test_sigterm_while_slow_files_are_decoded_ends_every_process(model_server: ColourServer) -> None:
    files = [("images", ("slow.png", slow_png(5_500)))] * 64  # half a minute of CPU time
    settings = {"SHUTDOWN_TIMEOUT_SECONDS": "1", "REQUEST_TIMEOUT_SECONDS": "600", "DECODE_WORKERS": "2"}
    with gateway_process(model_server.address, None, **settings) as (client, running), ThreadPoolExecutor(1) as pool:

        def status() -> int:
            try:
                return client.post(f"{BREED}/batch", files=files).status_code
            except httpx.TransportError:
                return 0

        before = running.tree.cpu_seconds()
        caller = pool.submit(status)
        until(lambda: running.tree.cpu_seconds() > before + 1, "the files are decoded")
        processes = running.tree.members()
        assert len(processes) > 2  # the gateway, the fork server and a worker
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        assert caller.result() != 200  # the work was not finished first
        until(lambda: all(has_ended(process.pid) for process in processes), "every process has ended")


def test_workers_whose_parent_is_killed_stop_so_that_the_address_can_be_used_again(model_server: ColourServer) -> None:
    with gateway_process(model_server.address, WORKERS="2", SHUTDOWN_DELAY_SECONDS="30") as (client, running):
        workers = psutil.Process(running.pid).children(recursive=True)
        running.kill()
        running.wait()
        _, left = psutil.wait_procs(workers, timeout=DEADLINE_SECONDS)
        assert left == []
        with socket.create_server((client.base_url.host, client.base_url.port or 80)):
            pass
