"""Photos of three colours, and gateways that know them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateways
from testing.photos import photo
from tests.gateway.conftest import patience

__all__ = ["patience"]

Start = Callable[..., str]


COLOURS = ("red", "green", "blue")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty photos of three colours, one of something else and one that is damaged."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:03}.png").write_bytes(photo(COLOURS[number % 3]))
    (folder / "grey.png").write_bytes(photo("grey"))
    (folder / "cut.jpg").write_bytes(photo("red", encoding="JPEG")[:200])
    return folder


@pytest.fixture
def server() -> Iterator[ColourServer]:
    server = ColourServer(models={"colours": {1: ColourModel(threshold=0.5)}})
    with server.serving():
        yield server


@pytest.fixture
def start(server: ColourServer) -> Iterator[Start]:
    """Starts gateways before that model server; returns their address."""
    with gateways(server.address) as start_gateway:
        yield lambda **settings: str(start_gateway(**settings).base_url)
