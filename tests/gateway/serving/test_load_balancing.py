"""Several model servers behind one gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until
from testing.processes import reserved_port

Start = Callable[..., httpx.Client]
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
def replicas() -> Iterator[list[tuple[ColourServer, ExitStack]]]:
    with ExitStack() as all_of_them:
        started = []
        for host in HOSTS:
            try:
                port = all_of_them.enter_context(reserved_port(host))  # one of the servers is started again
            except OSError:
                pytest.skip(f"this machine has no loopback address {host}")
            server, running = ColourServer(models={"colours": {1: ColourModel()}}), ExitStack()
            running.enter_context(server.serving(f"{host}:{port}"))
            all_of_them.enter_context(running)
            started.append((server, running))
        yield started


def test_load_spreads_evenly_and_a_replica_that_goes_and_comes_is_noticed(
    start: Start, replicas: list[tuple[ColourServer, ExitStack]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without lookups, whose calls take turns with those of the photos: after each photo, they would skip two servers.
    monkeypatch.setattr("gateway.serving.resolver.RELOAD_SECONDS", 3600.0)
    servers = [server for server, _ in replicas]
    gateway = start(serving_target=",".join(server.address for server in servers), model_refresh_seconds=3600)

    def counts(requests: int) -> list[int]:
        """Photos that each server was sent."""
        for server in servers:
            server.batch_sizes.clear()
        with ThreadPoolExecutor(8) as pool:  # too few for three servers to be sent several photos at once
            codes = list(
                pool.map(lambda _: gateway.post("/api/v1/predict_breed", content=photo()).status_code, range(requests))
            )
        assert codes == [200] * requests
        return [sum(server.batch_sizes) for server in servers]

    until(lambda: min(counts(12)) > 0)  # every connection is up
    assert is_even(counts(200))
    address = servers[1].address
    replicas[1][1].close()
    until(lambda: counts(12)[1] == 0)
    first, _, third = counts(150)
    assert is_even([first, third])
    with servers[1].serving(address):
        until(lambda: counts(12)[1] > 0)
        assert is_even(counts(200))


def is_even(counts: list[int]) -> bool:
    """Whether none is a tenth off from what each should have."""
    return all(abs(count * len(counts) / sum(counts) - 1) <= 0.1 for count in counts)
