"""Every screen, and the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gateway.pb.serving_pb2 import DataType
from testing.colour_scores import colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


@pytest.mark.usefixtures("chromium")  # Firefox stops at links only if its settings say so
def test_a_keyboard_is_enough(page: Page, files: Files) -> None:
    def focused() -> WebElement:
        return page.browser.switch_to.active_element

    names = []
    for _ in range(6):
        page.press(Keys.TAB)
        names.append(focused().get_attribute("aria-label") or focused().text)
    assert names[:4] == ["Breed gateway, start page", "Model card", "API", "Choose photos"]
    assert names[4:] == ["Live camera", "Choose a folder"]
    page.choose(files("red"))  # a dialog of the system, which no test can open
    page.settled(1)

    def tab_to(name: str) -> None:
        while name not in (focused().get_attribute("class") or "").split():
            page.press(Keys.TAB)

    tab_to("why")
    page.press(Keys.SPACE)
    eventually(lambda: page.shown(".heat"))
    tab_to("photo")
    page.press(Keys.ENTER)
    eventually(lambda: page.shown("#viewer"))
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.shown("#viewer") and focused() == page.one(".tile .photo"))
    tab_to("remove")
    assert focused().get_attribute("aria-label") == "Remove red-1.png"
    page.press(Keys.ENTER)
    assert not page.tiles()
    assert focused().text == "Choose photos"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_cut_off_on_a_phone(page: Page, files: Files, width: int) -> None:
    page.browser.screen(width, 800, phone=True)
    assert page.shown('[data-source="camera"]')
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".why")
    eventually(lambda: page.shown(".heat"))
    page.click("#group")
    assert content_width(page) <= width
    page.click("#show-card")
    assert content_width(page) <= width


def test_a_thousand_labels_with_long_ones_fit_on_a_phone(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, tmp_path: Path
) -> None:
    def scores(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return np.pad(colour_scores(images), ((0, 0), (0, 997)))

    labels = tmp_path / "labels.txt"
    labels.write_text(
        "\n".join(["of the far islands in the north-west " * 4, "Donaudampfschifffahrt" * 5, *map(str, range(998))])
    )
    name = "a_model_" * 10
    model_server.models[name] = {
        1: ForeignModel({"x": (DataType.DT_UINT8, (-1, 8, 8, 3))}, {"y": (DataType.DT_FLOAT, (-1, 1000))}, scores)
    }
    page = visit(start(default_model=name, models="colours", model_options={name: {"labels": labels}}))
    page.browser.screen(320, 800, phone=True)
    page.choose(files("red", "green"))
    page.settled(2)
    assert content_width(page) <= 320
    page.click("#group")
    assert content_width(page) <= 320
    page.click("#show-card")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, "#card summary"))
    page.click("#card summary")
    assert page.one("#card summary").text == "All (1,000)"
    assert len(page.browser.find_elements(By.CSS_SELECTOR, "#card .labels li")) == 1000
    assert content_width(page) <= 320


def content_width(page: Page) -> int:
    """What the page takes, in CSS pixels; a phone shows all of it, however small that makes it."""
    return int(page.browser.execute_script("return document.documentElement.scrollWidth"))


@everywhere
def test_a_single_photo_stays_where_it_is_when_its_answer_comes(
    page: Page, model_server: ColourServer, files: Files
) -> None:
    top = "return document.querySelector('.tile').getBoundingClientRect().top"
    model_server.stalled.set()
    page.choose(files("red"))
    eventually(lambda: [tile.state for tile in page.tiles()] == ["working"])
    before = page.browser.execute_script(top)
    model_server.stalled.clear()
    page.settled(1)
    assert page.browser.execute_script(top) == before


def test_the_list_of_labels_stays_where_it_is_while_one_types(page: Page) -> None:
    page.browser.screen(390, 844, phone=True)
    page.click("#show-known")
    eventually(lambda: page.shown(".known"))
    top = "return document.querySelector('.known').getBoundingClientRect().top"
    before = page.browser.execute_script(top)
    page.one(".known input").send_keys("nothing like it")
    eventually(lambda: page.shown(".known [role=status]"))
    assert page.browser.execute_script(top) == before


def test_parts_of_the_count_stay_on_one_line_each(page: Page, files: Files, tmp_path: Path) -> None:
    page.browser.screen(390, 844, phone=True)
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue"), tmp_path / "broken.png"])
    page.settled(3)
    assert page.count() == "2 of 3 photos answered · 1 failed"
    lines = """return [...document.querySelectorAll('#count span')].map(one =>
        one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight))"""
    assert all(high < 1.5 for high in page.browser.execute_script(lines))


@everywhere
def test_everything_that_is_touched_is_at_least_44_pixels_high(page: Page, files: Files, screen: Screen) -> None:
    least = 44 if screen.phone else 24  # what a mouse needs, by WCAG 2.2

    def small() -> list[str]:
        assert content_width(page) <= screen.width
        return small_targets(page, least)

    assert small() == []
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    assert small() == []
    page.touch("#clear")
    eventually(lambda: page.shown("#toast"))
    assert small() == []
    page.choose(files("red", folder="one"))
    page.settled(1)
    dialogs = (
        (".code", ".tool"),
        (".crop", ".tool"),
        ("#live", ".tool"),
        ("#show-known", ".known"),
        ("#show-card", "#card"),
    )
    for opener, dialog in dialogs:
        page.click(opener)
        eventually(lambda dialog=dialog: page.shown(dialog))  # type: ignore[misc]
        assert small() == [], opener
        page.press(Keys.ESCAPE)
        eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, "dialog[open]"))
    page.touch(".tile .photo")
    eventually(lambda: page.shown("#viewer"))
    assert small() == []


@everywhere
def test_headings_skip_no_level_and_words_run_in_their_own_direction(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    labels = ["\u05d0\u05d3\u05d5\u05dd", "\u0623\u062e\u0636\u0631", "Blue"]  # red in Hebrew, green in Arabic
    model_server.models["colours"] = {1: ColourModel(words={"labels": labels})}
    page = visit(start())

    def skipped() -> list[str]:
        """Headings that are more than one level below the one before."""
        script = """return [...document.querySelectorAll('h1, h2, h3, h4')]
            .filter(one => one.checkVisibility()).map(one => [one.tagName, one.textContent])"""
        headings = [(int(tag[1]), text) for tag, text in page.browser.execute_script(script)]
        assert headings[0][0] == 1
        return [text for (before, _), (level, text) in pairwise(headings) if level > before + 1]

    assert skipped() == []
    page.choose(files("red", "green", "blue", "red"))
    page.settled(4)
    assert skipped() == []
    direction = "return [...document.querySelectorAll('.tile h3')].map(one => getComputedStyle(one).direction)"
    assert page.browser.execute_script(direction) == ["rtl", "rtl", "ltr", "rtl"]
    page.touch("#group")
    eventually(lambda: page.shown("#tiles h2"))
    assert skipped() == []


def small_targets(page: Page, least: int = 44) -> list[str]:
    """What can be touched and is less than so many CSS pixels high or wide."""
    script = """const kinds = 'button, select:enabled, input[type=search], summary, a, label.check';
    return [...document.querySelectorAll(kinds)]
        .filter(one => one.checkVisibility({visibilityProperty: true}))
        .map(one => [one, one.getBoundingClientRect()])
        .filter(([one, {width, height}]) => Math.min(width, height) < arguments[0] - 0.5)
        .map(([one]) => one.outerHTML.slice(0, 90))"""
    targets: list[str] = page.browser.execute_script(script, least)
    return targets


def test_nothing_moves_for_who_prefers_it_so(page: Page, model_server: ColourServer, files: Files) -> None:
    animation = "return getComputedStyle(document.querySelector('.tile .photo'), '::after').animationName"
    model_server.stalled.set()
    page.choose(files("red"))
    eventually(lambda: [tile.state for tile in page.tiles()] == ["working"])
    assert page.browser.execute_script(animation) == "none"
    page.browser.prefers("light", motion=True)
    eventually(lambda: page.browser.execute_script(animation) == "sweep")
    model_server.stalled.clear()
    page.settled(1)
