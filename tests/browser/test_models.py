"""Which model answers, and what it is said to be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from gateway.pb import serving_pb2 as pb
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from testing.polling import until
from tests.browser.screens import Screen, everywhere
from tests.browser.test_messages import assert_seen

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]

DOGS = ColourModel(words={"labels": ["Boxer", "Beagle", "Pug"], "noun": "dog breed"})


@everywhere
def test_answers_of_several_models_are_beside_each_other_and_compared(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, screen: Screen
) -> None:
    model_server.models["colours"] = {2: ColourModel(), 1: ColourModel(labels=("blue", "green", "red"))}
    model_server.models["other"] = {7: ColourModel(threshold=0.87)}  # sure of red only
    page = visit(start(models="colours,other"))
    choice = Select(page.one("#model"))
    assert [one.text for one in choice.options] == ["colours", "other"]
    assert [one.text for one in Select(page.one("#version")).options] == ["newest (2)", "2", "1"]
    page.choose(files("red", "red", "blue", "green"))
    page.settled(4)
    Select(page.one("#version")).select_by_visible_text("1")
    again = page.one("#again")
    eventually(lambda: again.is_displayed() and "colours version 1" in again.text)
    choice.select_by_visible_text("other")
    eventually(lambda: again.text == "Ask other version 7 too (4)")
    _, top, _, bottom = page.box(".bar")
    assert bottom - top < screen.height / 4, "it leaves the photos room"
    page.touch("#again")
    eventually(lambda: not again.is_displayed())
    headings = ["red", "red", "blue or not sure", "green or not sure"]
    eventually(lambda: [tile.heading for tile in page.tiles()] == headings)
    tiles = page.browser.find_elements(By.CSS_SELECTOR, ".tile")
    chips = [tile.find_element(By.CSS_SELECTOR, ".differ").is_displayed() for tile in tiles]
    assert chips == [False, False, True, True]
    for tile in tiles:
        page.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile)  # others are not laid out
        first, second = tile.find_elements(By.CSS_SELECTOR, ".answers section")
        assert first.text.splitlines()[-1] == "colours, version 2"
        assert second.text.splitlines()[-1] == "other, version 7"
        (left, top, right, _), (next_left, next_top, next_right, _) = page.box(first), page.box(second)
        assert top == next_top, "beside each other"
        assert left < right <= next_left < next_right <= screen.width
        lines = [[page.box(part)[1] for part in one.find_elements(By.CSS_SELECTOR, ".by")] for one in (first, second)]
        assert lines[0] == lines[1], "line by line"
    Select(page.one("#filter")).select_by_visible_text("Disagree (2)")
    assert [tile.is_displayed() for tile in tiles] == [False, False, True, True]
    assert_code_of_each_answer(page, tiles[2])
    choice.select_by_visible_text("colours")
    Select(page.one("#version")).select_by_visible_text("1")
    eventually(lambda: again.text == "Ask colours version 1 too (4)")
    page.touch("#again")
    given = ["colours, version 2", "other, version 7", "colours, version 1"]
    eventually(lambda: [one.text for one in tiles[2].find_elements(By.CSS_SELECTOR, ".by")] == given)


def assert_code_of_each_answer(page: Page, tile: WebElement) -> None:
    """Whether the request behind each answer of a tile can be copied."""
    page.touch(tile.find_element(By.CSS_SELECTOR, ".photo"))
    page.touch("#viewer .code")
    choice = Select(eventually(lambda: page.one("dialog.tool .which select")))
    assert choice.first_selected_option.text == "other, version 7"
    for option, path in (
        ("other, version 7", "other/predict?version=7"),
        ("colours, version 2", "colours/predict?version=2"),
    ):
        choice.select_by_visible_text(option)
        eventually(lambda path=path: f"/api/v1/models/{path}" in page.one("dialog.tool code").text)  # type: ignore[misc]
        page.touch("dialog.tool .tabs button:last-child")
        eventually(lambda: page.one("dialog.tool code").text.startswith("package main"))
    choice.select_by_visible_text("other, version 7")
    assert page.one("dialog.tool code").text.startswith("package main"), "in the chosen language"
    for dialog in ("dialog.tool", "#viewer"):
        page.press(Keys.ESCAPE)
        eventually(lambda dialog=dialog: not page.browser.find_elements(By.CSS_SELECTOR, f"{dialog}[open]"))  # type: ignore[misc]


LONG = ColourModel(words={"labels": ["American Staffordshire Terrier", "green", "blue"]})


def ask_both(page: Page, photos: list[Path]) -> None:
    """Sends photos to the default model, and then to the one named ``other``."""
    page.choose(photos)
    page.settled(1)
    Select(page.one("#model")).select_by_visible_text("other")
    eventually(lambda: page.one("#again").is_displayed())
    page.touch("#again")
    eventually(lambda: len(page.browser.find_elements(By.CSS_SELECTOR, ".answers section")) == 2)


@everywhere
def test_labels_are_whole_in_narrow_columns(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models |= {"colours": {1: LONG}, "other": {7: LONG}}
    page = visit(start(models="colours,other"))
    ask_both(page, files("red"))
    for guesses in page.browser.find_elements(By.CSS_SELECTOR, ".guesses:not([open]) summary"):
        page.touch(guesses)
    labels = page.browser.find_elements(By.CSS_SELECTOR, ".bars li:first-child span:first-child")
    assert len(labels) == 2
    widths = [
        page.browser.execute_script("return [arguments[0].scrollWidth, arguments[0].clientWidth]", one)
        for one in labels
    ]
    assert all(0 < needed <= given for needed, given in widths), widths


CAPITALS = ColourModel(words={"labels": ["Red", "Green", "Blue"]})


def test_a_label_that_two_models_write_differently_is_no_disagreement(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["other"] = {7: CAPITALS}
    page = visit(start(models="colours,other"))
    ask_both(page, files("red"))
    assert page.tiles()[0].heading == "Red"
    assert not page.shown(".differ")


FLOWERS = ColourModel(
    words={"labels": ["Ox-eye daisy", "rosa_canina", "TULIP"], "noun": "flower", "question": "Which flower is it?"}
)


@everywhere
def test_the_words_are_those_of_the_model(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, screen: Screen
) -> None:
    model_server.models |= {"dogs": {1: DOGS}, "flowers": {1: FLOWERS}}
    page = visit(start(models="colours,flowers,dogs"))

    def question_and_words() -> tuple[str, str]:
        words = page.one("main").text
        assert page.one("#question").text in words
        return page.one("#question").text, words

    question, words = question_and_words()
    assert question == "What is in the photo?"
    assert "one of 3 things" in words
    assert "It knows 3 things" in words
    assert not {"dog", "breed", "flower"} & set(words.lower().split())
    choice = Select(page.one("#model"))
    choice.select_by_visible_text("flowers")
    eventually(lambda: page.one("#question").text == "Which flower is it?")
    words = question_and_words()[1]
    assert "one of 3 flowers" in words
    for label in FLOWERS.words["labels"]:  # type: ignore[attr-defined]
        assert label in words.splitlines(), "as written"
    assert "dog" not in words
    choice.select_by_visible_text("dogs")
    eventually(lambda: page.one("#question").text == "Which dog breed is it?")
    assert "one of 3 dog breeds" in question_and_words()[1]
    assert "Add a photo of a dog" in question_and_words()[1]
    assert page.browser.title == "Which dog breed is it?"
    left, top, right, bottom = page.box("#question")
    assert 0 <= left < right <= screen.width
    assert 0 <= top < bottom <= screen.height
    choice.select_by_visible_text("flowers")
    page.choose(files("green"))
    assert page.settled(1)["green-1.png"].heading == "rosa_canina"


@everywhere
def test_a_link_chooses_the_model_and_its_version(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["other"] = {7: ColourModel(), 6: ColourModel(words={"labels": ["one", "two", "three"]})}
    page = visit(start(models="colours,other"))
    page.browser.get(f"{page.url}?model=other&version=6")
    eventually(lambda: page.one("#show-card").is_enabled())
    selection = [Select(page.one(f"#{name}")).first_selected_option.text for name in ("model", "version")]
    assert selection == ["other", "6"]
    page.choose(files("blue"))
    assert page.settled(1)["blue-1.png"].heading == "three"
    Select(page.one("#version")).select_by_visible_text("7")
    assert page.browser.execute_script("return location.search") == "?model=other&version=7", (
        "the address can be shared"
    )
    Select(page.one("#model")).select_by_visible_text("colours")
    assert page.browser.execute_script("return location.search") == "?model=colours"
    for query, missing, instead in (
        ("model=cats&version=2", "cats, version 2", "?model=colours"),
        ("model=other&version=5", "other, version 5", "?model=other"),
    ):
        page.browser.get(f"{page.url}?{query}")
        assert_seen(page, f"The link asks for {missing}, which is not served here.")
        assert page.browser.execute_script("return location.search") == instead


def test_what_a_link_misses_is_said_over_the_list_that_it_opens(page: Page) -> None:
    page.browser.get(f"{page.url}?model=cats#known")
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".known[open] #toast[data-shown]"))
    assert_seen(page, "The link asks for cats, which is not served here.")


def wake_up(page: Page, client: httpx.Client, model: str, versions: list[int]) -> None:
    """Make the page ask for the models at once, as when a laptop wakes up, when the gateway knows these versions."""
    until(lambda: client.get("/readyz").json().get("models", {}).get(model) == versions, "the versions")
    page.browser.execute_script("dispatchEvent(new Event('online'))")


def test_a_link_waits_for_its_version_and_keeps_it_when_another_comes(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    model_server.models["other"] = {}
    client = start(models="colours,other")
    page = visit(client)
    page.browser.get(f"{page.url}?model=other&version=6")
    eventually(lambda: Select(page.one("#model")).first_selected_option.text.startswith("other"))
    assert page.browser.execute_script("return location.search") == "?model=other&version=6"
    assert not page.shown("#toast")

    def versions_chosen(versions: dict[int, ColourModel], text: str) -> None:
        model_server.models["other"] = dict(versions)
        wake_up(page, client, "other", list(versions))
        eventually(lambda: Select(page.one("#version")).first_selected_option.text == text)

    versions_chosen({6: ColourModel()}, "6")
    versions_chosen({7: ColourModel(), 6: ColourModel()}, "6")
    page.choose(files("red"))
    page.settled(1)
    assert page.one(".tile .by").get_attribute("textContent") == "other, version 6"
    versions_chosen({8: ColourModel(), 7: ColourModel()}, "newest (8)")
    assert page.browser.execute_script("return location.search") == "?model=other"


def test_a_link_waits_for_a_version_that_is_being_loaded(
    visit: Visit, start: Start, model_server: ColourServer
) -> None:
    model_server.models["other"] = {8: ColourModel(), 7: ColourModel()}
    model_server.states["other", 8] = pb.ModelVersionStatus.LOADING
    client = start(models="colours,other")
    page = visit(client)
    page.browser.get(f"{page.url}?model=other&version=8")
    eventually(lambda: page.one("#show-card").is_enabled())
    assert page.one("#version").text == "7"
    assert page.browser.execute_script("return location.search") == "?model=other&version=8"
    assert not page.shown("#toast")
    model_server.states.clear()
    wake_up(page, client, "other", [8, 7])
    eventually(lambda: Select(page.one("#version")).first_selected_option.text == "8")
    assert page.browser.execute_script("return location.search") == "?model=other&version=8"


def test_a_new_version_is_noticed(visit: Visit, start: Start, model_server: ColourServer, files: Files) -> None:
    client = start()
    page = visit(client)
    assert page.one("#version").text == "1"
    model_server.models["colours"] = {5: ColourModel()}
    wake_up(page, client, "colours", [5])
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
