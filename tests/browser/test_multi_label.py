"""Answers with several labels, or none."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually

Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


SAVE = """const [answer, done] = arguments;
    import("/web/download.js").then(({ asCsv, asJson }) => {
        const photo = { path: "a.png", state: "done", error: null, answers: new Map([["m", answer]]) };
        done([asCsv([photo]), asJson([photo])]);
    });"""


def test_all_labels_of_a_photo_are_named_and_a_photo_without_any_is_none_of_them(
    visit: Visit, start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(thresholds=(0.5, 0.5, 0.5))}
    page = visit(start())
    assert page.one("h1").text == "What is in the photo?"
    assert "The model says which of 3 things it sees" in page.one("main").text
    page.paste("orange.png", (250, 150, 10))
    page.paste("lime.png", (150, 250, 10))
    page.paste("red.png", (250, 10, 10))
    page.paste("night.png", (20, 20, 30))
    tiles = page.settled(4)
    assert tiles["orange.png"].heading == "red and green"
    assert tiles["orange.png"].detail == "How sure it is: red 98 % and green 59 %."
    assert tiles["red.png"].heading == "red"
    assert tiles["red.png"].detail == "Almost certainly: 98 % sure."
    assert tiles["night.png"].heading == "None of these"
    assert tiles["night.png"].detail == "The closest is blue, but 12 % is too low to be sure."
    assert tiles["night.png"].state == "done"
    assert page.count() == "4 of 4 photos answered"
    assert "breed" not in page.one("main").text.lower()
    page.click("#group")
    headings = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, "#tiles h2")]
    assert headings == ["green and red 2", "red 1", "None of these 1"]
    page.click("#show-card")
    assert "A photo can have several of them, or none." in eventually(lambda: page.one("#card").text)


def test_models_disagree_about_a_photo_only_if_they_give_it_other_labels(
    visit: Visit, start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {
        1: ColourModel(thresholds=(0.5, 0.5, 0.5)),
        2: ColourModel(("green", "blue", "red"), thresholds=(0.7, 0.5, 0.5)),
    }
    page = visit(start())
    page.paste("orange.png", (250, 150, 10))
    page.paste("red.png", (250, 10, 10))
    page.settled(2)
    Select(page.one("#version")).select_by_visible_text("1")
    eventually(lambda: page.shown("#again"))
    page.click("#again")
    eventually(lambda: page.settled(2)["orange.png"].heading == "red or red and green")
    assert page.settled(2)["red.png"].heading == "red"


def test_saved_answers_have_all_labels(page: Page) -> None:
    answer = {
        "label": "red",
        "labels": ["red", "green"],
        "looks_like": None,
        "confidence": 0.9,
        "predictions": [{"label": "red", "score": 0.9}],
        "model": {"name": "m", "version": 1},
    }
    table, saved = page.browser.execute_async_script(SAVE, answer)
    assert "file,state,label,labels,looks_like" in table
    assert "a.png,named,red,red|green," in table
    assert json.loads(saved)[0]["labels"] == ["red", "green"]
