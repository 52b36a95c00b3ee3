"""A real Chromium without a screen, and the page as a person uses it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from testing.polling import until

Browser = webdriver.Chrome
T = TypeVar("T")

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium has none for root, and tests may run in a container
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    # No other address can be reached: what the page needs it gets from the gateway.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


def installed() -> tuple[str, str] | None:
    """Paths of Chromium and its driver, or None where they are not both there."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (chromium, driver) if chromium and driver else None


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser with an empty profile.

    Raises:
        FileNotFoundError: There is no Chromium on this machine.
    """
    found = installed()
    if found is None:
        raise FileNotFoundError("needs Chromium and its driver: apt-get install chromium chromium-driver")
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = found[0]
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        options.set_capability("unhandledPromptBehavior", "accept")
        browser = webdriver.Chrome(options, Service(found[1]))
        try:
            yield browser
        finally:
            browser.quit()


def screen(browser: Browser, width: int, height: int, *, phone: bool = False, pixel_ratio: float = 1) -> None:
    """Give the browser a screen of that size; a phone's is touched."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": pixel_ratio, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": phone})


def prefers(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """Have the person prefer light or dark pages."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def eventually(condition: Callable[[], T]) -> T:
    """What the page shows in the end; elements that it has replaced meanwhile are looked up again."""

    def look() -> T | None:
        with suppress(StaleElementReferenceException):
            return condition()
        return None

    value = until(look, "what the page shows")
    assert value is not None
    return value


def mistakes(browser: Browser) -> list[str]:
    """What the console says of mistakes: errors, and what the security policy refused."""
    entries: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    # Answers of 4xx and 5xx are logged too; what a page makes of them is seen in the page.
    return [one["message"] for one in entries if one["level"] == "SEVERE" and one["source"] != "network"]


@dataclass(frozen=True)
class Tile:
    """What a photo's tile shows."""

    name: str
    state: str
    heading: str
    detail: str
    bars: list[list[str]]
    thumbnail: bool


class Page:
    """The page, opened in a browser."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url

    def open(self) -> Page:
        """Load it and wait until it knows the models."""
        self.browser.get(self.url)
        eventually(lambda: self.one("#show-card").is_enabled())
        return self

    def ready(self) -> Page:
        """Wait until the page has loaded all that photos need, which it does once it has nothing else to do."""
        eventually(lambda: self.browser.execute_script("return document.body.dataset.ready"))
        return self

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def shown(self, selector: str) -> bool:
        """Whether an element can be seen."""
        return self.one(selector).is_displayed()

    def click(self, selector: str) -> None:
        """Click an element, by the page's own means when something sticky covers it."""
        self.browser.execute_script("arguments[0].click()", self.one(selector))

    def choose(self, files: Sequence[Path]) -> None:
        """Choose photos, as the dialog of the operating system would."""
        self.one("#photos").send_keys("\n".join(map(str, files)))

    def drop(self, *paths: Path) -> None:
        """Drop files and folders on the page, as the desktop would."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            event = {"type": kind, "x": 300, "y": 300, "data": data}
            self.browser.execute_cdp_cmd("Input.dispatchDragEvent", event)

    def tiles(self) -> list[Tile]:
        """All tiles, in their order."""
        script = """return [...document.querySelectorAll('.tile')].map(tile => ({
            name: tile.querySelector('.name').textContent,
            state: tile.dataset.state,
            heading: tile.querySelector('h3').textContent,
            detail: tile.querySelector('.detail').textContent.replaceAll('\\u00a0', ' '),
            bars: [...tile.querySelectorAll('.bars li')].map(bar =>
                [...bar.querySelectorAll('span')].map(span => span.textContent.replaceAll('\\u00a0', ' '))),
            thumbnail: tile.querySelector('.front').naturalWidth > 0,
        }))"""
        return [Tile(**one) for one in self.browser.execute_script(script)]

    def settled(self, count: int) -> dict[str, Tile]:
        """All tiles by name, once there are so many and each has its answer or error."""

        def done() -> list[Tile] | None:
            tiles = self.tiles()
            assert len(tiles) <= count
            open_ = [one for one in tiles if one.state in ("waiting", "working")]
            return tiles if len(tiles) == count and not open_ else None

        return {one.name: one for one in eventually(done) or []}

    def count(self) -> str:
        """The line over the tiles."""
        return str(self.one("#count").get_attribute("textContent"))

    def announced(self) -> str:
        """What a screen reader was told last."""
        return str(self.one("#announce").get_attribute("textContent")).replace("\u00a0", " ")

    def message(self) -> str:
        """What the toast says."""
        script = "return document.querySelector('#toast[data-shown] p')?.textContent ?? ''"
        return str(self.browser.execute_script(script))
