"""Many photos: in turn, grouped, filtered, saved and taken out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from testing.colour_server import ColourServer
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_four_are_asked_at_a_time_and_the_rest_can_be_stopped_and_gone_on_with(
    page: Page, files: Files, model_server: ColourServer
) -> None:
    page.choose(files("red", folder="first"))
    page.settled(1)
    model_server.stalled.set()
    page.choose(files(*["red"] * 9))
    eventually(lambda: sorted(tile.state for tile in page.tiles()) == ["done"] + ["waiting"] * 5 + ["working"] * 4)
    page.click("#stop")
    eventually(lambda: [tile.state for tile in page.tiles()] == ["done"] + ["stopped"] * 9)
    assert page.count() == "1 of 10 photos answered · 9 stopped"
    model_server.stalled.clear()
    page.click("#resume")
    assert {tile.heading for tile in page.settled(10).values()} == {"red"}


def test_results_are_grouped_and_filtered_by_breed(page: Page, files: Files, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([*files("red", "blue", "red", "green"), tmp_path / "broken.png"])
    page.settled(5)
    page.click("#group")
    titles = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, "#tiles > section > h2")]
    assert titles == ["blue 1", "green 1", "red 2", "No answer 1"]
    page.click("#group")
    assert not page.browser.find_elements(By.CSS_SELECTOR, "#tiles > section > h2")
    choice = Select(page.one("#filter"))
    assert [one.text for one in choice.options] == ["All (5)", "blue (1)", "green (1)", "red (2)", "No answer (1)"]
    choice.select_by_visible_text("red (2)")
    names = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile .name") if one.is_displayed()]
    assert names == ["red-1.png", "red-3.png"]


def test_results_are_saved_as_csv_and_json(page: Page, files: Files, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    page.browser.saves_in(saved)
    formula = tmp_path / '=cmd|"x",1.png'
    formula.write_bytes(files("red")[0].read_bytes())
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([formula, tmp_path / "broken.png"])
    page.settled(2)
    page.click("#csv")
    page.click("#json")
    eventually(lambda: all(complete(saved / name) for name in ("answers.csv", "answers.json")))
    good, bad = csv.DictReader(io.StringIO((saved / "answers.csv").read_text("utf-8-sig"), newline=""))
    assert good["file"] == f"'{formula.name}"
    assert (good["state"], good["label"], good["model"], good["version"]) == ("named", "red", "colours", "1")
    assert float(good["confidence"]) == pytest.approx(0.893, abs=0.001)
    assert (good["label_2"], good["error"]) == ("green", "")
    assert (bad["state"], bad["label"], bad["error_code"]) == ("failed", "", "unsupported_image")
    listed = json.loads((saved / "answers.json").read_text())
    assert listed[0]["predictions"][0]["label"] == "red"
    assert listed[1]["error"]["code"] == "unsupported_image"


def complete(path: Path) -> bool:
    """Whether a file has been saved; browsers write under another name, or an empty file first."""
    return path.exists() and path.stat().st_size > 0


@everywhere
def test_what_is_saved_is_what_the_filter_shows(page: Page, files: Files, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    page.browser.saves_in(saved)
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    Select(page.one("#filter")).select_by_visible_text("red (2)")
    page.touch("#csv")
    page.touch("#json")
    eventually(lambda: all(complete(saved / name) for name in ("answers.csv", "answers.json")))
    rows = csv.DictReader(io.StringIO((saved / "answers.csv").read_text("utf-8-sig"), newline=""))
    names = ["red-1.png", "red-4.png"]
    assert [row["file"] for row in rows] == names
    assert [one["file"] for one in json.loads((saved / "answers.json").read_text())] == names


@everywhere
def test_how_far_it_is_stays_in_sight_while_one_scrolls(
    page: Page, files: Files, model_server: ColourServer, screen: Screen
) -> None:
    model_server.stalled.set()
    page.choose(files(*["red"] * 12))
    eventually(lambda: "working" in [tile.state for tile in page.tiles()])
    page.browser.execute_script("scrollTo({top: document.documentElement.scrollHeight, behavior: 'instant'})")
    eventually(lambda: page.browser.execute_script("return scrollY > 100"))
    for selector in ("#count", "#progress", "#stop"):
        left, top, right, bottom = page.box(selector)
        assert 0 <= left < right <= screen.width, selector
        assert 0 <= top < bottom < 120, selector
    page.touch("#stop")
    eventually(lambda: [tile.state for tile in page.tiles()] == ["stopped"] * 12)
    _, top, _, bottom = page.box("#count")
    assert bottom - top < 50  # two lines at most, not a column of letters
    model_server.stalled.clear()


def test_removing_everything_leaves_the_page_as_it_was(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".tile .remove")
    assert page.count() == "1 of 1 photo answered"
    page.click("#clear")
    assert not page.tiles()
    assert not page.shown("#results")
    assert page.shown("#about")
