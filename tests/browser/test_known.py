"""What a model knows, and facts about breeds of dogs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from testing import ROOT
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere
from trainer.network.imagenet_classes import BREEDS, NAMES

FACTS = [line.split("|") for line in (ROOT / "gateway/web/breeds.txt").read_text("utf-8").splitlines()]
MESSAGES = (ROOT / "gateway/web/messages-en.js").read_text("utf-8")


def test_there_are_facts_about_each_breed_of_the_first_model() -> None:
    breeds = [NAMES[number] for number in BREEDS]
    assert [label for label, *_ in FACTS] == breeds
    for label, work, coat, size, origin, alike in FACTS:
        for kind, fact in (("work", work), ("coat", coat), ("size", size)):
            assert not fact or f'"{kind}.{fact}":' in MESSAGES, label
        assert origin == "" or (len(origin) == 2 and origin.isupper()), label  # browsers have no names for all regions
        others = alike.split(", ") if alike else []
        assert set(others) <= set(breeds) - {label}, label
        assert origin or size, label


@everywhere
def test_everything_that_a_model_knows_is_listed_and_found(page: Page, screen: Screen) -> None:
    page.touch("#show-known")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".known[open]"))
    assert page.one(".known h2").text == "It knows 3 things"
    assert names(page) == ["red", "green", "blue"]
    left, top, right, bottom = page.box(".known")
    assert 0 <= left < right <= screen.width
    assert 0 <= top < bottom <= screen.height
    assert page.browser.execute_script("return location.hash") == "#known", "the address can be given to others"
    if not screen.phone:  # whose keyboard would cover the list
        assert page.browser.switch_to.active_element == page.one(".known input"), "ready to type"
    page.one(".known input").send_keys("RE")
    eventually(lambda: names(page) == ["red", "green"])
    page.one(".known input").send_keys("x")
    eventually(lambda: page.one(".known [role=status]").text == "No match.")
    page.press(Keys.ESCAPE)  # empties the field in some browsers, and closes the list in others
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, ".known"))


def names(page: Page) -> list[str]:
    """The labels that the list shows."""
    elements = page.browser.find_elements(By.CSS_SELECTOR, ".known li strong")
    return [one.text for one in elements if one.is_displayed()]


DOGS = ColourModel(words={"labels": ["Boxer", "Beagle", "Pug"], "noun": "dog breed"})
"""Calls its colours breeds of dogs."""

FACTS_OF_BOXERS = "Bred as a guard dog · Short coat · Large · Origin: Germany · Similar breeds: Bullmastiff"


@everywhere
def test_there_are_facts_beside_each_breed_and_beside_an_answer(
    visit: Callable[[httpx.Client], Page],
    start: Callable[..., httpx.Client],
    model_server: ColourServer,
    files: Callable[..., list[Path]],
    screen: Screen,
) -> None:
    model_server.models["colours"] = {1: DOGS}
    page = visit(start())
    page.touch("#show-known")
    eventually(lambda: page.shown(".known"))
    page.one(".known input").send_keys("germ")
    eventually(lambda: names(page) == ["Boxer"])
    assert page.one(".known li:not([hidden])").text.splitlines()[1:] == [
        "Bred as a guard dog",
        "Short coat · Large · Origin: Germany",
        "Similar breeds: Bullmastiff",
    ]
    page.touch(".known-head button")
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "Boxer"
    eventually(lambda: page.one(".facts").text == FACTS_OF_BOXERS)
    assert page.box(".facts")[3] <= screen.height, "without scrolling"


def test_facts_are_shown_only_if_a_model_of_dogs_has_answered_and_none_disagrees(
    visit: Callable[[httpx.Client], Page],
    start: Callable[..., httpx.Client],
    model_server: ColourServer,
    files: Callable[..., list[Path]],
) -> None:
    things = ColourModel(words={"labels": ["boxer", "beagle", "pug"]})
    dogs = ColourModel(words={"labels": ["BOXER", "beagle", "pug"], "noun": "dog breed"})
    model_server.models |= {"colours": {1: things}, "dogs": {1: dogs}, "other": {1: ColourModel()}}
    page = visit(start(models="colours,dogs,other"))
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "boxer"
    assert not page.shown(".facts")
    ask_too(page, "dogs")
    eventually(lambda: page.shown(".facts"))
    assert page.one(".facts").text == FACTS_OF_BOXERS, "however the label is written"
    ask_too(page, "other")
    eventually(lambda: not page.shown(".facts"))


def ask_too(page: Page, model: str) -> None:
    """Ask another model about the photo, too."""
    answers = len(page.browser.find_elements(By.CSS_SELECTOR, ".answers section"))
    Select(page.one("#model")).select_by_visible_text(model)
    eventually(lambda: page.shown("#again") and model in page.one("#again").text)
    page.click("#again")
    eventually(lambda: len(page.browser.find_elements(By.CSS_SELECTOR, ".answers section")) > answers)
