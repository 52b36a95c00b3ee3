"""What a connection knows of its target."""

from __future__ import annotations

import asyncio

import pytest

from gateway.channel import Connection
from gateway.deadline import Deadline


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
        found = [host] if host[0].isdigit() else ["10.0.0.1", "10.0.0.2", "10.0.0.3", "::2"]
        return [(0, 0, 0, "", (address, int(port))) for address in found]

    async def counted() -> tuple[int, bool]:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        connection = Connection(target)
        await connection.channel(Deadline.after(5))
        for _ in range(5):
            await asyncio.sleep(0)
        counts = connection.servers, connection.replicated
        await connection.close()
        return counts

    assert asyncio.run(counted()) == (servers, replicated)
    assert len(caplog.records) == (target == "gone:8500")
