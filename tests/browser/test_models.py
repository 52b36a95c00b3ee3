"""Which model answers, and what it is said to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


def test_model_and_version_are_picked_from_what_is_served(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["colours"] = {2: ColourModel(), 1: ColourModel(labels=("blue", "green", "red"))}
    model_server.models["other"] = {7: ColourModel(threshold=0.99)}
    page = visit(start(models="colours,other"))
    choice = Select(page.one("#model"))
    assert [one.text for one in choice.options] == ["colours", "other"]
    assert [one.text for one in Select(page.one("#version")).options] == ["newest (2)", "2", "1"]
    page.choose(files("red"))
    page.settled(1)
    Select(page.one("#version")).select_by_visible_text("1")
    again = page.one("#again")
    eventually(lambda: again.is_displayed() and "colours version 1" in again.text)
    choice.select_by_visible_text("other")
    eventually(lambda: again.text == "Ask other version 7 too (1)")
    page.click("#again")
    eventually(lambda: page.tiles()[0].heading == "red or not sure")
    assert not again.is_displayed()
    assert page.shown(".differ")
    columns = [one.text.splitlines() for one in page.browser.find_elements(By.CSS_SELECTOR, ".answers section")]
    assert [(column[0].split()[0], column[-1]) for column in columns] == [
        ("red", "colours, version 2"),
        ("not", "other, version 7"),
    ]


class CapitalsModel(ColourModel):
    """Writes its labels with capitals."""

    def card(self) -> dict[str, object]:
        """The card with other labels."""
        return {**super().card(), "labels": [label.capitalize() for label in self.labels]}


def test_a_label_that_two_models_write_differently_is_no_disagreement(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["other"] = {7: CapitalsModel()}
    page = visit(start(models="colours,other"))
    page.choose(files("red"))
    page.settled(1)
    Select(page.one("#model")).select_by_visible_text("other")
    eventually(lambda: page.one("#again").is_displayed())
    page.click("#again")
    eventually(lambda: len(page.browser.find_elements(By.CSS_SELECTOR, ".answers section")) == 2)
    assert page.tiles()[0].heading == "Red"
    assert not page.shown(".differ")


def test_a_new_version_is_noticed(visit: Visit, start: Start, model_server: ColourServer, files: Files) -> None:
    page = visit(start())
    assert page.one("#version").text == "1"
    model_server.models["colours"] = {5: ColourModel()}
    page.browser.execute_script("dispatchEvent(new Event('online'))")  # as when a laptop wakes up
    eventually(lambda: page.one("#version").text == "5")
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "red"


def test_the_model_card_is_read_in_words(page: Page) -> None:
    page.click("#show-card")
    text = eventually(lambda: page.one("#card").text)
    assert "colours, version 1" in text
    assert "Knows three colours." in text
    assert "The card does not say." in text
    assert "3 classes. It always names one." in text
    assert "8 pixels, scaled to cover, cropped to the middle, bilinear" in text
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.shown("#card"))
