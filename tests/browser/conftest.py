"""Browsers for the whole run, and a gateway with its model server for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import testing.chromium
import testing.firefox
from testing.browser import Browser
from testing.chromium import Chromium, running_chromium
from testing.firefox import Firefox, running_firefox
from testing.page import Page
from testing.photos import photo
from tests.browser.screens import DESK, Screen
from tests.gateway.conftest import gateway, model_server, patience, start

__all__ = ["gateway", "model_server", "patience", "start"]

FOLDER = Path(__file__).parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs each test in both browsers, but for those that ask for what only one of them can do."""
    if "browser" in metafunc.fixturenames and not {"chromium", "firefox"} & set(metafunc.fixturenames):
        metafunc.parametrize("browser", ["chromium", "firefox"], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A real Chromium."""
    if missing := testing.chromium.missing():
        pytest.skip(missing)
    with running_chromium() as running:
        yield running


@pytest.fixture(scope="session")
def firefox() -> Iterator[Firefox]:
    """A real Firefox."""
    if missing := testing.firefox.missing():
        pytest.skip(missing)
    with running_firefox() as running:
        yield running


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> Browser:
    """One browser or the other."""
    name = getattr(request, "param", "firefox" if "firefox" in request.fixturenames else "chromium")
    driver: Browser = request.getfixturevalue(name)
    return driver


@pytest.fixture
def screen(request: pytest.FixtureRequest, browser: Browser) -> Screen:
    """The screen that the browser has."""
    screen: Screen = getattr(request, "param", DESK)
    screen.show(browser)
    return screen


@pytest.fixture
def visit(browser: Browser, screen: Screen) -> Iterator[Callable[[httpx.Client], Page]]:  # noqa: ARG001
    """Opens the page of a gateway; nothing may have gone wrong in it at the end."""
    yield lambda client: Page(browser, str(client.base_url)).open()
    mistakes = browser.mistakes()
    browser.get("about:blank")
    assert not mistakes


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
