"""Where the page is not on a usual screen: on paper, in forced colours, without scripts, on a slow line."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from testing.chromium import Chromium
from testing.page import Page, eventually

Files = Callable[..., list[Path]]


@pytest.fixture
def medium(chromium: Chromium) -> Iterator[Callable[..., None]]:
    """Has media queries answered in another way until the end of the test."""
    yield chromium.media
    chromium.media({})


@pytest.mark.usefixtures("chromium")  # Firefox compresses the list of pages
def test_photos_are_printed_on_one_sheet_without_the_tools(page: Page, files: Files) -> None:
    page.choose(files(*["red", "blue", "green"] * 2))
    page.settled(6)
    sheets = base64.b64decode(page.browser.print_page())
    assert sheets.startswith(b"%PDF")
    assert sheets.count(b"/Type /Page\n") + sheets.count(b"/Type /Page ") + sheets.count(b"/Type /Page>") == 1


def test_on_paper_there_are_photos_and_answers_and_no_buttons(
    page: Page, medium: Callable[..., None], files: Files
) -> None:
    page.choose(files("red", "blue", "green"))
    page.settled(3)
    medium({"prefers-color-scheme": "dark"}, medium="print")
    for hidden in (".top", ".add", ".tools", ".actions", ".remove", "footer"):
        assert not page.shown(hidden), hidden
    for shown in ("#count", ".tile h3", ".tile .detail", ".tile .front"):
        assert page.shown(shown), shown
    tops = {tile.location["y"] for tile in page.browser.find_elements("css selector", ".tile")}
    assert len(tops) == 1  # beside each other
    assert colour(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert colour(page, ".tile", "backgroundColor") == "rgb(255, 255, 255)"
    red, green, blue = map(int, re.findall(r"\d+", colour(page, ".tile .detail", "color")))
    assert max(red, green, blue) < 130, "dark letters, whatever the screen prefers"


def test_a_single_photo_takes_the_width_of_the_paper(page: Page, medium: Callable[..., None], files: Files) -> None:
    page.choose(files("red"))
    page.settled(1)
    medium({}, medium="print")
    assert page.one(".tile").rect["width"] > 0.8 * page.one("body").rect["width"]


def colour(page: Page, selector: str, name: str, pseudo: str = "") -> str:
    """A computed colour."""
    script = "return getComputedStyle(document.querySelector(arguments[0]), arguments[2] || null)[arguments[1]]"
    return str(page.browser.execute_script(script, selector, name, pseudo))


def test_in_forced_colours_bars_and_pressed_buttons_are_told_from_the_ground(
    page: Page, medium: Callable[..., None], files: Files
) -> None:
    page.choose(files("red"))
    page.settled(1)
    medium({"forced-colors": "active"})
    ground = colour(page, "body", "backgroundColor")
    assert colour(page, ".bars i", "backgroundColor", "::before") != ground
    assert colour(page, ".bars i", "borderTopStyle") == "solid"
    page.click(".why")
    eventually(lambda: page.one(".why").get_attribute("aria-pressed") == "true")
    assert colour(page, ".why", "backgroundColor") not in (ground, colour(page, ".share", "backgroundColor"))
    assert colour(page, ".tile", "borderTopStyle") == "solid"


def test_without_scripts_the_page_says_so_and_offers_nothing_that_would_not_work(
    chromium: Chromium, gateway: httpx.Client
) -> None:
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.get(f"{gateway.base_url}/")
        page = Page(chromium, "")
        assert page.one("noscript p").text == "This page needs JavaScript. Without it, use the API."
        assert page.shown("noscript p")
        assert not page.shown(".sources")
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        chromium.get("about:blank")


def test_on_a_slow_line_one_photo_goes_at_a_time_and_says_how_far_it_is(
    chromium: Chromium, page: Page, tmp_path: Path
) -> None:
    # The browser cannot make these smaller, since they are cut off.
    buffer = io.BytesIO()
    Image.effect_noise((250, 250), 90).save(buffer, "JPEG", quality=98)
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    for path in paths:
        path.write_bytes(buffer.getvalue()[:-2000])
    line = {"offline": False, "latency": 50, "downloadThroughput": 100_000, "uploadThroughput": 30_000}
    chromium.execute_cdp_cmd("Network.enable", {})
    page.ready()
    chromium.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    try:
        page.choose(paths)
        eventually(lambda: any(tile.detail.startswith("Sending, ") for tile in page.tiles()))
        assert 0 < int(next(tile.detail for tile in page.tiles() if tile.detail).split()[1]) < 100
        eventually(lambda: [tile.state for tile in page.tiles()].count("failed") == 1)
        assert [tile.state for tile in page.tiles()].count("working") <= 1
    finally:
        line = {**line, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        chromium.execute_cdp_cmd("Network.emulateNetworkConditions", line)
    assert {tile.state for tile in page.settled(3).values()} == {"failed"}
