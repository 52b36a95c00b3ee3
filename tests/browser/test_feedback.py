"""Feedback on the page, from the click to the record in the prediction log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gateway.prediction_log.records import RECORD, Feedback, Prediction
from testing.axe import findings
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from testing.polling import until
from tests.browser.screens import Screen, everywhere
from tests.browser.test_layout import content_width, small_targets
from tests.gateway.prediction_log.written import lines
from trainer.cli import main

Files = Callable[..., list[Path]]
Start = Callable[..., httpx.Client]
Visit = Callable[[httpx.Client], Page]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The folder of the prediction log."""
    return tmp_path / "log"


@pytest.fixture
def page(visit: Visit, start: Start, log: Path) -> Page:
    """The page of a gateway that keeps a prediction log."""
    return visit(start(prediction_log=str(log), prediction_log_photos="all"))


def feedback(log: Path, number: int) -> list[Feedback]:
    """The feedback in the log, once there is so much; each is about an answer that is in the log, too."""

    def complete() -> tuple[list[Feedback]] | None:
        records = [RECORD.validate_json(line) for line in lines(log)]
        log_records = [one for one in records if isinstance(one, Feedback)]
        answered = {(one.request_id, one.model) for one in records if isinstance(one, Prediction)}
        is_answered = {(one.request_id, one.model) for one in log_records} <= answered
        return (log_records,) if len(log_records) >= number and is_answered else None

    result = until(complete)
    assert result is not None
    assert len(result[0]) == number
    return result[0]


def buttons(page: Page, answer: int = 0) -> dict[str, WebElement]:
    """What can be pressed below an answer, by its text."""
    row = until(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".feedback")[answer : answer + 1])[0]
    return {one.text: one for one in row.find_elements(By.TAG_NAME, "button")}


def press(page: Page, text: str, answer: int = 0) -> None:
    """Press a button below an answer."""
    page.browser.execute_script("arguments[0].focus(); arguments[0].click()", buttons(page, answer)[text])


def feedback_text(page: Page) -> str:
    """What the page says that the person said."""
    return page.one(".feedback p").text


def choices(page: Page) -> list[str]:
    """What the dialog offers."""
    elements = page.browser.find_elements(By.CSS_SELECTOR, ".pick li button, .pick .row button")
    return [one.text for one in elements if one.is_displayed()]


def focused(page: Page) -> WebElement:
    """The element with the focus."""
    return page.browser.switch_to.active_element


def test_right_is_recorded_and_undo_takes_it_back(page: Page, files: Files, log: Path, tmp_path: Path) -> None:
    page.choose(files("red"))
    page.settled(1)
    assert list(buttons(page)) == ["Right", "Wrong? It is …"]
    press(page, "Right")
    assert eventually(lambda: feedback_text(page)) == "You said: right."
    assert page.announced() == "You said: right."
    assert focused(page).text == "Undo"
    [right] = feedback(log, 1)
    assert (right.verdict, right.label, right.index) == ("right", None, 0)
    until(lambda: list((log / "photos").rglob("*.jpg")))
    assert main(["collect", str(log), str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "red").iterdir())) == 1
    press(page, "Undo")
    eventually(lambda: list(buttons(page)) == ["Right", "Wrong? It is …"])
    assert focused(page).text == "Right"
    withdrawn = feedback(log, 2)[-1]
    assert (withdrawn.request_id, withdrawn.verdict) == (right.request_id, "withdrawn")
    assert main(["collect", str(log), str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out" / "red").iterdir())


def test_the_right_label_is_found_by_typing_a_part_of_it(page: Page, files: Files, log: Path) -> None:
    page.choose(files("red"))
    page.settled(1)
    press(page, "Wrong? It is …")
    eventually(lambda: page.shown(".pick"))
    assert sorted(choices(page)) == ["None of these", "blue", "green"]  # not red, which is wrong
    assert focused(page).get_attribute("type") == "search"
    page.press("E")
    page.press("N")
    eventually(lambda: choices(page) == ["green", "EN: new to the model", "None of these"])
    page.press(Keys.ENTER)
    assert eventually(lambda: feedback_text(page)) == "You said: green."
    assert focused(page).text == "Undo"
    [wrong] = feedback(log, 1)
    assert (wrong.verdict, wrong.label, wrong.new_label) == ("wrong", "green", False)


def test_a_new_label_may_be_typed(page: Page, files: Files, log: Path) -> None:
    page.choose(files("red"))
    page.settled(1)
    press(page, "Wrong? It is …")
    eventually(lambda: page.shown(".pick"))
    page.one(".pick input").send_keys("  purple ")
    eventually(lambda: choices(page) == ["purple: new to the model", "None of these"])
    page.press(Keys.ENTER)
    assert eventually(lambda: feedback_text(page)) == "You said: purple."
    [wrong] = feedback(log, 1)
    assert (wrong.verdict, wrong.label, wrong.new_label) == ("wrong", "purple", True)


def test_none_of_these_is_an_answer_and_cancelling_is_none(page: Page, files: Files, log: Path) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)
    press(page, "Wrong? It is …", answer=1)
    eventually(lambda: page.shown(".pick"))
    page.click(".pick .known-head button")
    eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, ".pick"))
    assert list(buttons(page, 1)) == ["Right", "Wrong? It is …"]
    press(page, "Wrong? It is …", answer=1)
    eventually(lambda: page.shown(".pick"))
    page.click(".pick .row button:last-child")
    assert eventually(lambda: feedback_text(page)) == "You said: none of these."
    assert list(buttons(page)) == ["Right", "Wrong? It is …"]
    [none] = feedback(log, 1)
    assert (none.verdict, none.label) == ("none", None)


def test_arrow_keys_go_through_the_labels(page: Page, files: Files, log: Path) -> None:
    page.choose(files("red"))
    page.settled(1)
    press(page, "Wrong? It is …")
    eventually(lambda: page.shown(".pick"))
    first, second = choices(page)[:2]
    for key, text in ((Keys.ARROW_DOWN, first), (Keys.ARROW_DOWN, second), (Keys.ARROW_UP, first)):
        page.press(key)
        assert focused(page).text == text
    page.press(Keys.ENTER)
    assert eventually(lambda: feedback_text(page)) == f"You said: {first}."
    assert [one.label for one in feedback(log, 1)] == [first]


class UnsureModel(ColourModel):
    """Names nothing."""

    def card(self) -> dict[str, object]:
        """The card with a threshold that no score reaches."""
        return {**super().card(), "unknown_threshold": 0.99}


def test_an_answer_that_names_nothing_cannot_be_right_but_can_be_corrected(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, log: Path
) -> None:
    model_server.models["colours"] = {1: UnsureModel()}
    page = visit(start(prediction_log=str(log)))
    page.choose(files("red"))
    page.settled(1)
    assert list(buttons(page)) == ["It is …"]
    press(page, "It is …")
    eventually(lambda: page.shown(".pick"))
    assert choices(page)[0] == "red", "the best guess first"
    page.click(".pick li button")
    assert eventually(lambda: feedback_text(page)) == "You said: red."
    assert [one.label for one in feedback(log, 1)] == ["red"]


def test_each_of_several_answers_has_its_own_feedback(
    visit: Visit, start: Start, model_server: ColourServer, files: Files, log: Path
) -> None:
    model_server.models["colours"] = {2: ColourModel(), 1: ColourModel()}
    page = visit(start(prediction_log=str(log)))
    page.choose(files("red"))
    page.settled(1)
    press(page, "Right")
    assert eventually(lambda: feedback_text(page)) == "You said: right."
    page.browser.execute_script(
        "arguments[0].value = '1'; arguments[0].dispatchEvent(new Event('change'))", page.one("#version")
    )
    eventually(lambda: "version 1" in page.one("#again").text)
    page.click("#again")
    eventually(lambda: list(buttons(page, 1)) == ["Right", "Wrong? It is …"])
    assert feedback_text(page) == "You said: right.", "what was said of the first answer stays"
    press(page, "Right", answer=1)
    first, second = feedback(log, 2)
    assert first.request_id != second.request_id


def test_feedback_that_cannot_be_sent_is_not_shown_as_said(page: Page, files: Files, log: Path) -> None:
    page.choose(files("red"))
    page.settled(1)
    script = "XMLHttpRequest.prototype.send = function () { setTimeout(() => this.onerror()); }"
    page.browser.execute_script(script)
    press(page, "Right")
    assert eventually(page.message) == "The service did not answer."
    assert list(buttons(page)) == ["Right", "Wrong? It is …"]
    assert feedback(log, 0) == []


def test_the_page_says_where_photos_go(page: Page, visit: Visit, start: Start) -> None:
    assert eventually(lambda: page.one("#private").text).endswith("It may keep them to improve the model.")
    assert eventually(lambda: visit(start()).one("#private").text).endswith("this server and nowhere else.")


def test_nothing_is_shown_where_there_is_no_log(visit: Visit, gateway: httpx.Client, files: Files) -> None:
    page = visit(gateway)
    page.choose(files("red"))
    page.settled(1)
    assert not page.browser.find_elements(By.CSS_SELECTOR, ".feedback")
    loaded = page.browser.execute_script("return performance.getEntries().map(one => one.name)")
    assert not [name for name in loaded if "feedback" in name]


@everywhere
def test_right_and_wrong_are_said_on_every_screen(page: Page, files: Files, screen: Screen) -> None:
    page.choose(files("red", "blue"))
    page.settled(2)

    def is_well() -> bool:
        return (
            findings(page.browser) == []
            and content_width(page) <= screen.width
            and not small_targets(page, 44 if screen.phone else 24)
        )

    assert is_well()
    press(page, "Wrong? It is …")
    eventually(lambda: page.shown(".pick"))
    assert is_well()
    page.one(".pick input").send_keys("of the far islands in the north-west " * 4)
    assert is_well()
    page.press(Keys.ENTER)
    eventually(lambda: feedback_text(page))
    assert is_well()
    page.touch(buttons(page, 1)["Right"])
    eventually(lambda: page.browser.find_elements(By.CSS_SELECTOR, ".feedback")[1].text.startswith("You said: right."))
    assert is_well()
