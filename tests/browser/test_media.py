"""Where the page is not on a usual screen: on paper, in forced colours, without scripts."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from testing.browser import Browser
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]


@pytest.mark.usefixtures("chromium")  # Firefox compresses the list of pages
def test_photos_are_printed_on_one_sheet_without_the_tools(page: Page, files: Files) -> None:
    page.choose(files(*["red", "blue", "green"] * 2))
    page.settled(6)
    sheets = base64.b64decode(page.browser.print_page())
    assert sheets.startswith(b"%PDF")
    assert sheets.count(b"/Type /Page\n") + sheets.count(b"/Type /Page ") + sheets.count(b"/Type /Page>") == 1


@pytest.fixture
def paper(browser: Browser) -> Iterator[Callable[[], None]]:
    """Shows the page as it is printed, until the end of the test."""
    yield lambda: browser.print_view(on=True)
    browser.print_view(on=False)


@everywhere
def test_on_paper_there_are_photos_and_answers_and_no_buttons(
    page: Page, paper: Callable[[], None], files: Files
) -> None:
    page.choose(files("red", "blue", "green"))
    page.settled(3)
    paper()
    for hidden in (".top", ".add", ".tools", ".actions", ".remove", "footer"):
        assert not page.shown(hidden), hidden
    for selector in ("#count", ".tile h3", ".tile .detail", ".tile .front"):
        assert page.shown(selector), selector
    tops = {tile.location["y"] for tile in page.browser.find_elements("css selector", ".tile")}
    assert len(tops) == 1  # beside each other
    assert colour(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert colour(page, ".tile", "backgroundColor") == "rgb(255, 255, 255)"
    red, green, blue = map(int, re.findall(r"\d+", colour(page, ".tile .detail", "color")))
    assert max(red, green, blue) < 130, "dark letters, whatever the screen prefers"


def test_a_single_photo_takes_the_width_of_the_paper(page: Page, paper: Callable[[], None], files: Files) -> None:
    page.choose(files("red"))
    page.settled(1)
    paper()
    assert page.one(".tile").rect["width"] > 0.8 * page.one("body").rect["width"]


def colour(page: Page, selector: str, name: str, pseudo: str = "") -> str:
    """A computed colour."""
    script = "return getComputedStyle(document.querySelector(arguments[0]), arguments[2] || null)[arguments[1]]"
    return str(page.browser.execute_script(script, selector, name, pseudo))


@everywhere
def test_in_forced_colours_bars_and_pressed_buttons_are_told_from_the_ground(
    page: Page, files: Files, screen: Screen
) -> None:
    page.choose(files("red"))
    page.settled(1)
    page.browser.prefers(screen.scheme, forced_colours=True)
    eventually(lambda: page.browser.execute_script("return matchMedia('(forced-colors: active)').matches"))
    ground = colour(page, "body", "backgroundColor")
    assert colour(page, ".bars i", "backgroundColor", "::before") != ground
    assert colour(page, ".bars i", "borderTopStyle") == "solid"
    page.click(".why")
    eventually(lambda: page.one(".why").get_attribute("aria-pressed") == "true")
    assert colour(page, ".why", "backgroundColor") not in (ground, colour(page, ".share", "backgroundColor"))
    assert colour(page, ".tile", "borderTopStyle") == "solid"
    assert colour(page, "#version", "color") == colour(page, "body", "color"), "the only version is text, not a choice"


@everywhere
def test_without_scripts_the_page_says_so_and_offers_nothing_that_would_not_work(
    browser: Browser, gateway: httpx.Client, screen: Screen
) -> None:
    page = Page(browser, "")
    browser.scripts(on=False)
    try:
        browser.get(f"{gateway.base_url}/")
        assert page.one("noscript p").text == "This page needs JavaScript. Without it, use the API."
        assert page.shown("noscript p")
        for useless in (".sources", ".about", "footer"):
            assert not page.shown(useless), useless
        assert page.one("noscript p").location["y"] < screen.height
        browser.get(f"{gateway.base_url}/docs")
        assert page.one("noscript p").text == "This page needs JavaScript. The description of the API is openapi.json."
        assert page.shown("noscript p")
        assert not page.shown("main")
    finally:
        browser.scripts(on=True)
        browser.get("about:blank")
