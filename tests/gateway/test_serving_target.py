"""What a connection knows of its target."""

from __future__ import annotations

import asyncio
import http.server
import threading

import pytest
from pydantic import ValidationError

from gateway.deadline import Deadline
from gateway.serving.channel import ModelServerChannel
from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.polling import until


@pytest.mark.parametrize(
    ("target", "servers", "replicated"),
    [
        ("127.0.0.1:8500", 1, False),
        ("[::1]:8500", 1, False),
        ("unix:/run/serving", 1, False),
        ("serving:8500", 3, True),
        ("dns:serving:8500", 3, True),
        ("dns:///serving:8500", 3, True),
        ("dns://10.0.0.2/serving:8500", 1, True),
        ("dns:///serving", 1, True),
        ("xds:///serving", 1, True),
        ("10.0.0.1:8500,10.0.0.2:8500", 2, True),
        ("10.0.0.1:8500,[::1]:8500", 1, True),
        ("10.0.0.1:8500,10.0.0.1:8500", 1, True),
        ("serving:8500,10.0.0.9:8500", 4, True),
        ("gone:8500", 1, True),
    ],
)
def test_how_many_servers_there_are_is_known_of_every_target(
    target: str, servers: int, replicated: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def look_up(host: str, port: str, **_: object) -> list[tuple[object, ...]]:
        if host == "gone":
            raise OSError("no such name")
        addresses = [host] if host[0].isdigit() else ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::2"]
        return [(0, 0, 0, "", (address, int(port))) for address in addresses]

    async def counted() -> tuple[int, bool]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        connection = ModelServerChannel(target)
        await connection.channel(Deadline.after(5))
        for _ in range(5):
            await asyncio.sleep(0)
        counts = connection.servers, connection.replicated
        await connection.close()
        return counts

    assert asyncio.run(counted()) == (servers, replicated)
    assert len(caplog.records) == (target == "gone:8500")


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:8500",
        "serving:8500",
        "my_service.ns.svc.cluster.local:8500",
        "[::1]:8500",
        "a:1,b:2, [::1]:3",
        "dns:///serving:8500",
        "dns:serving:8500",
        "dns://10.0.0.2/serving:8500",
        "ipv4:10.0.0.1:8500,10.0.0.2:8500",
        "ipv6:[::1]:8500",
        "unix:/run/serving.sock",
        "unix:///run/serving.sock",
        "xds:///serving",
    ],
)
def test_an_address_of_any_form_that_grpc_takes_is_accepted(target: str) -> None:
    assert Settings(serving_target=target).serving_target == target


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("", "127.0.0.1:8500"),
        (",", "127.0.0.1:8500"),
        ("serving", "serving:8500"),
        ("serving:", "serving:8500"),
        ("8500", "127.0.0.1:8500"),
        (":8500", "127.0.0.1:8500"),
        ("10.0.0.1", "10.0.0.1:8500"),
        ("a:1,b", "b:8500"),
        ("http://localhost:8500", "localhost:8500"),
        ("https://localhost:8500", "serving_tls"),
        ("grpc://localhost:8500", "localhost:8500"),
        ("grpc://localhost", "localhost:8500"),
        ("tcp://10.1.2.3:8500", "10.1.2.3:8500"),
        ("localhost:8500/", "localhost:8500"),
        ("localhost:8500/v1/models", "localhost:8500"),
        ("localhost:rest", "localhost:8500"),
        ("localhost: 8500", "localhost:8500"),
        ("localhost;8500", "localhost:8500"),
        ("localhost:8500?a=b", "localhost:8500"),
        ("GRPC://localhost:8500", "localhost:8500"),
        ("ipv4:10.0.0.1", "ipv4:10.0.0.1:8500"),
        ("::1", "[::1]:8500"),
        ("::1:8500", "[::1]:8500"),
        ("fe80::1:2:3:4:5:6:8500", "[fe80::1:2:3:4:5:6]:8500"),
        ("[::1]", "[::1]:8500"),
        ("dns:///serving", "dns:///serving:8500"),
        ("dns://serving:8500", "dns:///serving:8500"),
        ('"localhost:8500"', "localhost:8500"),  # as Docker reads it from a file of variables
        ("http://user:secret@serving:8500", "serving:8500"),
        ("a:8500;b:8500", "a:8500,b:8500"),
        ("'a:8500,b:8500'", "host:port: a:8500,b:8500 instead of 'a:8500,b:8500'"),
        ("a:1;b:2,c:3", "host:port: a:1,b:2,c:3 instead of a:1;b:2,c:3"),
        ("ipv4:1.1.1.1:1;1.1.1.2:2", "host:port: ipv4:1.1.1.1:1,1.1.1.2:2 instead of ipv4:1.1.1.1:1;1.1.1.2:2"),
        ("dns:///serving:8500/", "dns:///serving:8500"),
        ("localhost:0", "1 to 65535"),
        ("localhost:70000", "1 to 65535"),
        ("unix:", "has nothing"),
        ("two words:8500", "must be host:port"),
    ],
)
def test_any_other_address_is_refused_at_the_start_with_the_one_that_was_meant(target: str, meant: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(serving_target=target)
    if target.strip(",") and meant.endswith(":8500"):
        meant = f" {meant} instead of {target.rpartition(',')[2]}"  # the target itself may contain what was meant
    assert meant in refused.value.errors()[0]["msg"]


def test_a_rest_port_is_named_as_such_by_readyz() -> None:
    class Rest(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest) as rest:
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        try:
            settings = Settings(serving_target=f"127.0.0.1:{rest.server_port}", default_model="colours")
            with running_gateway(settings) as gateway:
                until(lambda: "8501" in gateway.get("/readyz").json().get("detail", ""))
        finally:
            rest.shutdown()
            thread.join()
