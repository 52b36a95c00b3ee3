"""Photos are shown whole, small and large, with everything that is said of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]

EDGES = {"left": (250, 0, 250), "top": (255, 255, 255), "right": (0, 250, 250), "bottom": (250, 250, 0)}
RED = (200, 30, 20)
CLOSE = 90
"""How far the sum over the channels may be from a colour that a browser has scaled and encoded as JPEG."""


@pytest.fixture
def framed(tmp_path: Path) -> Callable[..., Path]:
    """Writes red photos with an edge of another colour on each side."""

    def written(name: str, width: int, height: int) -> Path:
        image = Image.new("RGB", (width, height), RED)
        draw, thick = ImageDraw.Draw(image), max(width, height) // 20
        draw.rectangle((0, 0, width, thick), EDGES["top"])
        draw.rectangle((0, height - thick, width, height), EDGES["bottom"])
        draw.rectangle((0, thick, thick, height - thick), EDGES["left"])
        draw.rectangle((width - thick, thick, width, height - thick), EDGES["right"])
        image.save(tmp_path / name)
        return tmp_path / name

    return written


def shape_seen(page: Page, selector: str) -> float:
    """Width by height of a framed photo as far as it can be seen; all of its edges must be."""
    painted = "return document.querySelector(arguments[0]).querySelector('.front').decode().then(() => true)"
    eventually(lambda: page.browser.execute_script(painted, selector))
    pixels = page.picture(selector).astype(int)
    places = {
        side: np.argwhere(np.abs(pixels - colour).sum(axis=2) < CLOSE).mean(axis=0) for side, colour in EDGES.items()
    }
    assert not np.isnan(list(places.values())).any(), f"cut off: {places}"
    (left, right), (top, bottom) = (
        (places["left"][1], places["right"][1]),
        (places["top"][0], places["bottom"][0]),
    )
    assert left < right
    assert top < bottom
    shape: float = (right - left) / (bottom - top)
    return shape


@everywhere
def test_whole_photos_are_shown_over_a_blurred_copy_with_the_buttons_below(
    page: Page, framed: Callable[..., Path], screen: Screen
) -> None:
    page.choose([framed("wide.png", 900, 600), framed("tall.png", 600, 900)])
    page.settled(2)
    wide, tall = ".tile:nth-child(1) .photo", ".tile:nth-child(2) .photo"
    for selector, shape in ((wide, 1.5), (tall, 0.667)):
        page.browser.execute_script("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        assert shape_seen(page, selector) == pytest.approx(shape, rel=0.1)
    beside = page.picture(tall)[40:-40, 3:12]
    assert 20 < beside[..., 0].mean() < 250, "not bare"
    assert beside[..., 0].mean() > 1.3 * beside[..., 1].mean(), "but red as the photo is"
    applied = page.browser.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0])).filter", f"{tall} .back"
    )
    assert page.shown(f"{tall} .back")
    assert float(applied.partition("blur(")[2].partition("px)")[0]) > 5, applied
    left, _, right, bottom = page.box(wide)
    if screen.phone:
        assert right - left > 0.9 * screen.width
    assert page.box(".tile:nth-child(1) .why")[1] >= bottom
    page.touch(".tile:nth-child(1) .why")
    eventually(lambda: page.shown(".tile:nth-child(1) .heat"))
    for part in ("h3", ".detail", ".caption", ".why"):
        assert page.box(f".tile:nth-child(1) {part}")[1] >= page.box(wide)[3], part


@everywhere
def test_a_photo_opens_large_with_all_that_is_said_of_it_and_leads_to_the_next(
    page: Page, framed: Callable[..., Path], files: Files, screen: Screen
) -> None:
    page.choose([framed("wide.png", 900, 600), *files("blue", "green")])
    page.settled(3)
    small = page.box(".tile .photo")
    page.touch(".tile .photo")
    eventually(lambda: page.shown("#viewer"))

    def texts() -> list[str]:
        """What the large view says, as far as it is on the screen or can be scrolled to."""
        return [one for one in page.one("#viewer").text.splitlines() if one]

    text = " ".join(texts())
    for part in ("1 of 3", "red", "sure", "green", "%", "colours, version 1", "wide.png", "Why?", "Share", "Crop"):
        assert part in text, part
    large = page.box("#viewer .photo")
    assert large[2] - large[0] > (0.9 if screen.phone else 0.5) * screen.width
    assert large[2] - large[0] >= small[2] - small[0]
    assert page.box("#viewer h3")[3] < screen.height
    assert shape_seen(page, "#viewer .photo") == pytest.approx(1.5, rel=0.1)

    def heading() -> str:
        return page.one("#viewer h3").text

    page.press(Keys.ARROW_RIGHT)
    assert heading() == "blue"
    page.press(Keys.ARROW_LEFT)
    assert heading() == "red"
    page.press(Keys.ARROW_LEFT)
    assert heading() == "red", "there is none before the first"
    if screen.phone:
        page.touch("#viewer .photo", (-120, 10))
        eventually(lambda: heading() == "blue")
        page.touch("#viewer .photo", (-20, 0))
        page.touch("#viewer .answer", (-60, 90))
        assert page.shown("#viewer")
        assert heading() == "blue", "neither short nor slanting"
        page.touch("#viewer .photo", (-120, 0))
        eventually(lambda: heading() == "green")
        page.touch("#viewer .photo", (120, -10))
        eventually(lambda: heading() == "blue")
    else:
        page.touch("#viewer [data-step='1']")
        eventually(lambda: heading() == "blue")
    page.touch("#viewer [data-step='1']")
    eventually(lambda: heading() == "green")
    assert not page.one("#viewer [data-step='1']").is_enabled()
    page.press(Keys.ESCAPE)
    eventually(lambda: page.browser.switch_to.active_element == page.one(".tile:nth-child(3) .photo"))
    assert not page.shown("#viewer")
    assert [tile.heading for tile in page.tiles()] == ["red", "blue", "green"]


@everywhere
def test_one_photo_is_large_with_its_answer_on_the_same_screen(
    page: Page, framed: Callable[..., Path], screen: Screen
) -> None:
    page.choose([framed("tall.png", 600, 900)])
    page.settled(1)
    assert shape_seen(page, ".photo") == pytest.approx(0.667, rel=0.1)
    left, top, right, bottom = page.box(".photo")
    assert right - left > (0.9 if screen.phone else 0.5) * screen.width
    assert bottom - top > 0.4 * screen.height
    for selector in ("h3", ".detail"):
        assert page.shown(f".tile {selector}")
        assert 0 <= page.box(f".tile {selector}")[1] < page.box(f".tile {selector}")[3] <= screen.height, selector
    assert page.one(".tile .detail").text.count(".") == 1, "one sentence"
    for tool in ("#filter", "#group", "#csv", "#clear"):
        assert not page.shown(tool), tool
    bars = page.browser.find_elements(By.CSS_SELECTOR, ".tile .bars li")
    assert bars[0].is_displayed() is not screen.phone
    page.touch(".tile .guesses summary")
    eventually(lambda: bars[0].is_displayed() is screen.phone)
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= screen.width


@everywhere
def test_tools_come_with_the_fourth_photo_in_one_row(page: Page, files: Files, screen: Screen) -> None:
    tools = ("#filter", "#group", "#csv", "#json")
    page.choose(files("red", "blue", "green"))
    page.settled(3)
    assert not any(page.shown(tool) for tool in tools)
    page.choose(files("blue", folder="more"))
    page.settled(4)
    boxes = [page.box(tool) for tool in tools]
    assert all(page.shown(tool) for tool in tools)
    middles = [(top + bottom) / 2 for _, top, _, bottom in boxes]
    assert max(middles) - min(middles) < 6
    assert all(before[2] <= after[0] + 1 for before, after in pairwise(boxes)), "none over another"
    assert boxes[-1][2] <= screen.width
