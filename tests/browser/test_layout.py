"""Every screen, and the keyboard."""

from __future__ import annotations

from collections.abc import Callable
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
from testing.colour_server import ColourServer, ForeignModel
from testing.page import Page, eventually

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_the_viewer_pages_through_photos_and_closes_on_escape(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".tile .photo")
    assert page.one("#viewer h3").text == "red"
    page.press(Keys.ARROW_RIGHT)
    assert page.one("#viewer h3").text == "blue"
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.shown("#viewer"))
    assert [tile.heading for tile in page.tiles()] == ["red", "blue"]


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
    eventually(lambda: not page.shown("#viewer"))
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


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_the_answer_to_one_photo_is_seen_whole_without_scrolling(
    page: Page, files: Files, size: tuple[int, int]
) -> None:
    width, height = size
    page.browser.screen(width, height, phone=width < 500)
    page.choose(files("red"))
    page.settled(1)
    bottom = page.browser.execute_script("return document.querySelector('.detail').getBoundingClientRect().bottom")
    assert bottom < height
    assert not page.shown("#filter")
    assert page.one("h3").is_displayed()


@pytest.mark.parametrize("size", [(390, 844), (1440, 900)])
def test_a_single_photo_stays_where_it_is_when_its_answer_comes(
    page: Page, model_server: ColourServer, files: Files, size: tuple[int, int]
) -> None:
    width, height = size
    page.browser.screen(width, height, phone=width < 500)
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


def test_everything_that_is_touched_is_at_least_44_pixels_high(page: Page, files: Files) -> None:
    page.browser.screen(390, 844, phone=True)
    assert small_targets(page) == []
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    assert small_targets(page) == []
    page.click(".tile .photo")
    eventually(lambda: page.shown("#viewer"))
    assert small_targets(page) == []


def small_targets(page: Page) -> list[str]:
    """What can be touched and is less than 44 CSS pixels high or wide."""
    script = """return [...document.querySelectorAll('button, select:enabled, summary, a, label.check')]
        .filter(one => one.checkVisibility({visibilityProperty: true}) && !one.closest('[popover]'))
        .filter(one => { const {width, height} = one.getBoundingClientRect(); return Math.min(width, height) < 43.5; })
        .map(one => one.outerHTML.slice(0, 90))"""
    found: list[str] = page.browser.execute_script(script)
    return found


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
