"""The page as a person uses it, in any browser."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.command import Command
from selenium.webdriver.remote.webelement import WebElement

from testing.browser import Browser
from testing.polling import until

T = TypeVar("T")

BRING_INTO_VIEW = """
    const {top, bottom} = arguments[0].getBoundingClientRect(), middle = (top + bottom) / 2;
    if (middle < 100 || middle > innerHeight - 100) arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});
"""
"""Scrolls only if it has to, and then away from what is stuck to the edges."""

MOVE_MILLISECONDS = 100

EDGES = """
    const {left, top, right, bottom} = arguments[0].getBoundingClientRect();
    return [left, top, right, bottom];
"""


def eventually(condition: Callable[[], T]) -> T:
    """What the page shows in the end; elements that are not there yet or were replaced are looked up again."""

    def look() -> T | None:
        with suppress(NoSuchElementException, StaleElementReferenceException):
            return condition()
        return None

    value = until(look, "what the page shows")
    assert value is not None
    return value


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
        # The script of the worker is loaded beside the rest.
        entries = "performance.getEntriesByType('resource')"
        loaded = f"return {entries}.some((one) => one.name.includes('prepare-worker') && one.responseEnd > 0)"
        eventually(lambda: self.browser.execute_script(loaded))
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

    def touch(self, target: str | WebElement, *moves: tuple[int, int], start: tuple[int, int] = (0, 0)) -> None:
        """Touch an element in the middle, or click it with the mouse of a desk, where it is on the screen.

        Args:
            target: The element, or the CSS selector of the first.
            moves: Where to go before letting go, in CSS pixels from the middle.
            start: Where to begin, other than in the middle.
        """
        element = self.one(target) if isinstance(target, str) else target
        self.browser.execute_script(BRING_INTO_VIEW, element)
        kind = "touch" if self.browser.execute_script("return matchMedia('(pointer: coarse)').matches") else "mouse"

        def moved(place: tuple[int, int], duration: int) -> dict[str, object]:
            return {"type": "pointerMove", "x": place[0], "y": place[1], "origin": element, "duration": duration}

        steps = [
            moved(start, 0),
            {"type": "pointerDown", "button": 0},
            *(moved(place, MOVE_MILLISECONDS) for place in moves),
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}
        self.browser.execute(Command.W3C_ACTIONS, {"actions": [pointer]})

    def picture(self, target: str | WebElement = "") -> npt.NDArray[np.uint8]:
        """What can be seen of an element, or of the whole screen: uint8 (height, width, 3), in CSS pixels."""
        screenshot = Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB")
        pixels = np.asarray(screenshot.resize(self.browser.execute_script("return [innerWidth, innerHeight]")))
        if not target:
            return pixels
        left, top, right, bottom = self.box(target)
        return pixels[max(0, top) : bottom, max(0, left) : right]

    def box(self, target: str | WebElement) -> tuple[int, int, int, int]:
        """Where an element is on the screen: left, top, right and bottom, in CSS pixels."""
        element = self.one(target) if isinstance(target, str) else target
        left, top, right, bottom = (round(edge) for edge in self.browser.execute_script(EDGES, element))
        return left, top, right, bottom

    def choose(self, files: Sequence[Path]) -> None:
        """Choose photos, as the dialog of the operating system would."""
        self.one("#photos").send_keys("\n".join(map(str, files)))

    def paste(self, name: str, colour: tuple[int, int, int]) -> None:
        """Press Ctrl+V with a picture of one colour on the clipboard."""
        self.browser.execute_async_script(
            """const [name, colour, done] = arguments;
            const canvas = new OffscreenCanvas(20, 20);
            const context = canvas.getContext('2d');
            context.fillStyle = `rgb(${colour})`;
            context.fillRect(0, 0, 20, 20);
            canvas.convertToBlob({type: 'image/png'}).then(blob => {
                const clipboardData = new DataTransfer();
                clipboardData.items.add(new File([blob], name, {type: blob.type}));
                document.body.dispatchEvent(Object.assign(new Event('paste', {bubbles: true}), {clipboardData}));
                done();
            });""",
            name,
            list(colour),
        )

    def press(self, key: str) -> None:
        """Press one key."""
        ActionChains(self.browser).send_keys(key).perform()

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
