"""The program as a process: signals and exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.colour_server import ColourServer
from tests.conftest import ROOT
from tests.gateway.conftest import photo

BREED = "/api/v1/predict_breed"


@contextmanager
def process(**settings: object) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"GATEWAY_PORT": str(port), "PATH": os.environ["PATH"], "GATEWAY_DEFAULT_MODEL": "colours"}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_until_ready(running, client)
                yield running, client
        finally:
            if running.poll() is None:
                running.kill()


def wait_until_ready(running: subprocess.Popen[str], client: httpx.Client) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def accepts(client: httpx.Client) -> bool:
    try:
        return httpx.get(f"{client.base_url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_turns_readiness_off_lets_requests_finish_and_exits_0(model_server: ColourServer, workers: int) -> None:
    settings = {"serving_target": model_server.address, "workers": workers, "shutdown_delay_seconds": 4}
    with process(**settings, model_refresh_seconds=60) as (running, client):
        # A worker that has not answered before would have to look the model up while its server is stalled.
        for _ in range(10 * workers):
            with httpx.Client(base_url=client.base_url) as fresh:
                assert fresh.post(BREED, content=photo()).status_code == 200
        answers: list[httpx.Response] = []
        model_server.stalled.set()
        caller = threading.Thread(target=lambda: answers.append(client.post(BREED, content=photo("blue"))))
        caller.start()
        end = time.monotonic() + 30
        while not model_server.waiting:
            assert time.monotonic() < end
            time.sleep(0.005)
        running.send_signal(signal.SIGTERM)
        seen = set()
        while 503 not in seen:
            assert time.monotonic() < end
            answer = httpx.get(f"{client.base_url}/readyz", params={"any": 1}, timeout=5)
            if answer.status_code == 503 and "stopping" in answer.json()["detail"]:
                assert answer.headers["connection"] == "close"
                seen.add(503)
        assert httpx.get(f"{client.base_url}/healthz").status_code == 200
        while accepts(client):
            assert time.monotonic() < end
        assert running.poll() is None
        model_server.stalled.clear()
        caller.join(10)
        assert answers[0].json()["breed"] == "blue"
        assert running.wait(10) == 0


def test_a_request_that_does_not_finish_holds_up_the_end_for_a_bounded_time(model_server: ColourServer) -> None:
    settings = {"serving_target": model_server.address, "shutdown_timeout_seconds": 1, "model_refresh_seconds": 60}
    with process(**settings) as (running, client):
        assert client.post(BREED, content=photo()).status_code == 200
        model_server.stalled.set()
        body = photo()
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as caller:
            caller.sendall(f"POST {BREED} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            end = time.monotonic() + 30
            while not model_server.waiting:
                assert time.monotonic() < end
                time.sleep(0.005)
            running.send_signal(signal.SIGTERM)
            assert running.wait(8) == 0


def test_ctrl_c_ends_it_with_status_0(model_server: ColourServer) -> None:
    with process(serving_target=model_server.address) as (running, _):
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 0


def test_a_port_in_use_is_an_exit_status_of_its_own(model_server: ColourServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={"GATEWAY_PORT": str(taken.getsockname()[1]), "GATEWAY_SERVING_TARGET": model_server.address},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode != 0
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("trusted", "last"), [("127.0.0.0/8", 200), ("", 429)], ids=["trusted", "not trusted"])
def test_only_a_trusted_proxy_says_who_the_caller_is(model_server: ColourServer, trusted: str, last: int) -> None:
    settings = {"serving_target": model_server.address, "trusted_proxies": trusted, "rate_limit": "1/hour"}
    with process(**settings) as (_, client):
        answers = [
            client.get("/api/v1/models", headers={"x-forwarded-for": caller}).status_code
            for caller in ("192.0.2.1", "192.0.2.2")
        ]
        assert answers == [200, last]
