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

from testing.chromium import Chromium
from testing.colour_server import ColourServer
from testing.page import Page, eventually

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_four_are_asked_at_a_time_and_the_rest_can_be_stopped_and_gone_on_with(
    page: Page, files: Files, model_server: ColourServer
) -> None:
    model_server.stalled.set()
    page.choose(files(*["red"] * 9))
    eventually(lambda: sorted(tile.state for tile in page.tiles()) == ["waiting"] * 5 + ["working"] * 4)
    page.click("#stop")
    eventually(lambda: [tile.state for tile in page.tiles()] == ["stopped"] * 9)
    assert page.count() == "0 of 9 photos answered · 9 stopped"
    model_server.stalled.clear()
    page.click("#resume")
    assert {tile.heading for tile in page.settled(9).values()} == {"red"}


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
    shown = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile .name") if one.is_displayed()]
    assert shown == ["red-1.png", "red-3.png"]


def test_results_are_saved_as_csv_and_json(chromium: Chromium, page: Page, files: Files, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    chromium.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(saved)})
    formula = tmp_path / '=cmd|"x",1.png'
    formula.write_bytes(files("red")[0].read_bytes())
    (tmp_path / "broken.png").write_bytes(b"x")
    page.choose([formula, tmp_path / "broken.png"])
    page.settled(2)
    page.click("#csv")
    page.click("#json")
    eventually(lambda: len([path for path in saved.glob("answers.*") if path.stat().st_size]) == 2)
    good, bad = csv.DictReader(io.StringIO((saved / "answers.csv").read_text("utf-8-sig"), newline=""))
    assert good["file"] == f"'{formula.name}"
    assert (good["state"], good["label"], good["model"], good["version"]) == ("named", "red", "colours", "1")
    assert float(good["confidence"]) == pytest.approx(0.893, abs=0.001)
    assert (good["label_2"], good["error"]) == ("green", "")
    assert (bad["state"], bad["label"], bad["error_code"]) == ("failed", "", "unsupported_image")
    listed = json.loads((saved / "answers.json").read_text())
    assert listed[0]["predictions"][0]["label"] == "red"
    assert listed[1]["error"]["code"] == "unsupported_image"


def test_photos_that_a_filter_would_hide_lift_it(page: Page, files: Files) -> None:
    page.choose(files("red", "blue", "green", "red"))
    page.settled(4)
    Select(page.one("#filter")).select_by_visible_text("blue (1)")
    page.choose(files("red", folder="more"))
    page.settled(5)
    assert page.message() == "1 photo added; all are shown again."
    assert all(one.is_displayed() for one in page.browser.find_elements(By.CSS_SELECTOR, ".tile"))


def test_removing_everything_leaves_the_page_as_it_was(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    page.click(".tile .remove")
    assert page.count() == "1 of 1 photo answered"
    page.click("#clear")
    assert not page.tiles()
    assert not page.shown("#results")
    assert page.shown("#about")


def test_removing_everything_can_be_undone(page: Page, files: Files) -> None:
    page.choose(files("red", "blue"))
    before = page.settled(2)
    page.click("#clear")
    eventually(lambda: page.message() == "All photos removed.")
    page.click("#toast button")
    assert page.settled(2) == before
