"""KServe's clients as they are published, unchanged, over REST and gRPC."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from testing.colour_server import ColourServer
from testing.photos import photo
from tests.gateway.grpc_api.conftest import grpc_gateway, models

pytestmark = pytest.mark.clients


@pytest.fixture
def gateway() -> Iterator[tuple[httpx.Client, grpc.Channel]]:
    server = ColourServer(models=models())
    with server.serving(), grpc_gateway(server) as both:
        yield both


def test_a_kserve_clients_calls_succeed_unchanged(
    gateway: tuple[httpx.Client, grpc.Channel], python: Path, tmp_path: Path
) -> None:
    client, _ = gateway
    colours = ("green", "red")
    photos = [tmp_path / f"{colour}.jpg" for colour in colours]
    for path, colour in zip(photos, colours, strict=True):
        path.write_bytes(photo(colour))
    base = str(client.base_url).rstrip("/")
    script = Path(__file__).with_name("kserve_client.py")
    command: list[str | Path] = [python, script, base, client.headers["x-grpc-address"], *photos]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    for answer in (answers, answers["grpc"]):
        assert answer["live"]
        assert answer["ready"]
        assert answer["models"] == {"doubler": True, "colours": True, "nope": False}
        assert answer["tensors"] == [{"y": [[2, 4], [6, 8]]}] * 2
        assert [row[0] for row in answer["photos"]["classes"]] == list(colours)
    assert answers["rows"] == {"predictions": [[2, 4], [6, 8]]}
