"""What a model knows, and facts about breeds of dogs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from testing import ROOT
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from trainer.network.imagenet_classes import BREEDS, NAMES

FACTS = [line.split("|") for line in (ROOT / "gateway/web/breeds.txt").read_text("utf-8").splitlines()]
SIZES = ("", "toy", "small", "medium", "large", "giant")


def test_there_are_facts_about_each_breed_of_the_first_model() -> None:
    breeds = [NAMES[number] for number in BREEDS]
    assert [label for label, *_ in FACTS] == breeds
    for label, origin, size, alike in FACTS:
        assert size in SIZES, label
        assert origin == "" or (len(origin) == 2 and origin.isupper()), label  # browsers have no names for all regions
        others = alike.split(", ") if alike else []
        assert set(others) <= set(breeds) - {label}, label
        assert origin or size, label


def test_everything_that_a_model_knows_is_listed_and_found(page: Page) -> None:
    page.click("#show-known")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".known[open]"))
    assert page.one(".known h2").text == "It knows 3 things"
    assert names(page) == ["red", "green", "blue"]
    page.one(".known input").send_keys("RE")
    eventually(lambda: names(page) == ["red", "green"])
    page.one(".known input").send_keys("x")
    eventually(lambda: page.one(".known [role=status]").text == "None of them.")
    page.press(Keys.ESCAPE)  # empties the field in some browsers, and closes the list in others
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, ".known"))


def names(page: Page) -> list[str]:
    """The labels that the list shows."""
    found = page.browser.find_elements(By.CSS_SELECTOR, ".known li strong")
    return [one.text for one in found if one.is_displayed()]


class DogModel(ColourModel):
    """Calls its colours breeds of dogs."""

    def card(self) -> dict[str, object]:
        """The card with other labels."""
        return {**super().card(), "labels": ["Boxer", "Beagle", "Pug"], "noun": "dog breed"}


def test_an_answer_of_a_model_of_dogs_has_facts_beside_it(
    visit: Callable[[httpx.Client], Page],
    start: Callable[..., httpx.Client],
    model_server: ColourServer,
    files: Callable[..., list[Path]],
) -> None:
    model_server.models["colours"] = {1: DogModel()}
    page = visit(start())
    assert page.one("#question").text == "Which dog breed is it?"
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "Boxer"
    eventually(lambda: page.one(".facts").text == "Large. From Germany. Looks like: Bullmastiff.")
