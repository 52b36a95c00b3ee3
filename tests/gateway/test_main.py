"""The program as a process: addresses, proxies and exit status."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import httpx
import pytest
from uvicorn.config import STARTUP_FAILURE

from testing import ROOT
from testing.colour_server import ColourServer
from testing.gateway import gateway_process
from testing.polling import DEADLINE_SECONDS


def test_ctrl_c_ends_it_with_status_0(model_server: ColourServer) -> None:
    with gateway_process(model_server.address) as (_, running):
        running.send(signal.SIGINT)
        assert running.wait() == 0


def test_a_port_in_use_is_an_exit_status_of_its_own(model_server: ColourServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "gateway"],
            cwd=ROOT,
            env={"GATEWAY_PORT": str(taken.getsockname()[1]), "GATEWAY_SERVING_TARGET": model_server.address},
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == STARTUP_FAILURE
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 on loopback")
def test_the_address_of_all_networks_takes_both_families_and_tells_them_apart(model_server: ColourServer) -> None:
    with gateway_process(
        model_server.address, HOST="::", WORKERS="2", TRUSTED_PROXIES="127.0.0.0/8", RATE_LIMIT="1/year"
    ) as (client, _):
        port = client.base_url.port
        assert httpx.get(f"http://[::1]:{port}/healthz").status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        # A proxy on IPv4 is believed although it comes to a socket of IPv6: each of its clients has a limit of its own.
        for number in range(4):
            forwarded = {"x-forwarded-for": f"192.0.2.{number}"}
            assert httpx.get(f"http://127.0.0.1:{port}/api/v1/models", headers=forwarded).status_code == 200


def test_a_proxy_that_is_not_trusted_does_not_say_who_the_caller_is(model_server: ColourServer) -> None:
    with gateway_process(model_server.address, TRUSTED_PROXIES="", RATE_LIMIT="1/year") as (client, _):
        answers = [
            client.get("/api/v1/models", headers={"x-forwarded-for": caller}).status_code
            for caller in ("192.0.2.1", "192.0.2.2")
        ]
        assert answers == [200, 429]
