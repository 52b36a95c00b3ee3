"""A browser for the whole run, and a gateway with its model server for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from testing.chromium import Browser, Page, installed, mistakes, prefers, running_browser, screen
from testing.photos import photo
from tests.gateway.conftest import gateway, model_server, start

__all__ = ["gateway", "model_server", "start"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    if installed() is None:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    with running_browser() as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[httpx.Client], Page]]:
    """Opens the page of a gateway on a desk's screen; nothing may have gone wrong in it at the end."""
    screen(browser, 1280, 900)
    prefers(browser, "light")
    yield lambda client: Page(browser, str(client.base_url)).open()
    found = mistakes(browser)
    browser.get("about:blank")
    assert not found


@pytest.fixture
def page(visit: Callable[[httpx.Client], Page], gateway: httpx.Client) -> Page:
    """The page of a gateway whose model knows colours."""
    return visit(gateway)


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes photos of one colour each, named after it and numbered."""

    def written(*colours: str, folder: str = "") -> list[Path]:
        (tmp_path / folder).mkdir(exist_ok=True)
        paths = [tmp_path / folder / f"{colour}-{number}.png" for number, colour in enumerate(colours, 1)]
        for path, colour in zip(paths, colours, strict=True):
            path.write_bytes(photo(colour))
        return paths

    return written
