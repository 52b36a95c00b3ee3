"""Photos while something is away: the model server, the gateway, a key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from selenium.webdriver.common.keys import Keys
from starlette.types import Receive, Scope, Send

from gateway.app import create_app
from gateway.settings import Settings
from testing.browser import Browser
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import FORK_SERVER, running_gateway
from testing.page import Page, eventually
from tests.browser.screens import everywhere
from tests.browser.test_messages import assert_seen

Files = Callable[..., list[Path]]
Visit = Callable[[httpx.Client], Page]
Start = Callable[..., httpx.Client]


KEY = "sesame"
KEYED = {"api_keys": (hashlib.sha256(KEY.encode()).hexdigest(),)}


@everywhere
def test_a_failed_photo_can_be_tried_again_and_its_error_goes(
    page: Page, files: Files, model_server: ColourServer
) -> None:
    good, model = files("red"), model_server.models["colours"]
    model_server.models["colours"] = {1: BrokenModel()}
    page.choose(good)
    tile = page.settled(1)["red-1.png"]
    assert tile.heading == "No answer"
    assert tile.detail.startswith("Bad answer from the model server")
    model_server.models["colours"] = model
    model_server.stalled.set()
    page.touch(".tile .retry")
    eventually(lambda: model_server.waiting)
    assert "Bad answer" not in page.tiles()[0].detail, "it may be right now"
    model_server.stalled.clear()
    assert page.settled(1)["red-1.png"].heading == "red"
    assert page.tiles()[0].detail == "Probably: 89 % sure."
    assert not page.shown(".tile .retry")


class BrokenModel(ColourModel):
    """Answers with scores that are not numbers."""

    def predict(self, name: str, inputs):  # type: ignore[no-untyped-def]
        answer = super().predict(name, inputs)
        if "probabilities" in answer:
            answer["probabilities"].tensor_content = np.full(3, np.nan, "<f4").tobytes()
        return answer


def test_photos_wait_while_no_model_answers_and_go_on_by_themselves(
    visit: Visit, start: Start, model_server: ColourServer, files: Files
) -> None:
    page = visit(start())
    page.choose(files("red"))
    page.settled(1)
    models = model_server.models.copy()
    model_server.models.clear()
    page.choose(files("blue", "green"))
    eventually(lambda: page.shown("#service"))
    eventually(lambda: page.one("#service strong").text == "Not ready yet.")
    eventually(lambda: "Your photos are waiting" in page.one("#service").text)
    assert page.tiles()[0].state == "done"
    model_server.models.update(models)
    assert [tile.heading for tile in page.settled(3).values()] == ["red", "blue", "green"]
    eventually(lambda: not page.shown("#service"))


def test_photos_wait_while_the_gateway_is_gone_and_go_on_by_themselves(
    visit: Visit, model_server: ColourServer, files: Files, port: int
) -> None:
    settings = Settings(serving_target=model_server.address, default_model="colours")
    with running_gateway(settings, port=port) as client:
        page = visit(client)
        page.ready()
    page.choose(files("red", "green"))
    eventually(lambda: page.shown("#service"))
    assert page.one("#service strong").text == "The service cannot be reached."
    eventually(lambda: all(tile.thumbnail for tile in page.tiles()))
    assert {tile.state for tile in page.tiles()} <= {"waiting", "working"}
    with running_gateway(settings, port=port):
        page.click("#service button")
        assert [tile.heading for tile in page.settled(2).values()] == ["red", "green"]
        eventually(lambda: not page.shown("#service"))
        eventually(
            lambda: page.announced() == "red-1.png: red, probably: 89 % sure. green-2.png: green, probably: 83 % sure."
        )


def test_photos_are_sent_as_they_are_if_the_script_that_prepares_them_is_missing(
    visit: Visit, model_server: ColourServer, files: Files
) -> None:
    settings = Settings(serving_target=model_server.address, default_model="colours")
    app = create_app(settings, fork_server=FORK_SERVER)

    async def without_script(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/prepare-worker.js"):
            scope = {**scope, "path": "/web/nothing.js"}
        await app(scope, receive, send)

    with running_gateway(settings, without_script) as client:
        page = visit(client)
        page.choose(files("red", "green", "blue"))
        assert [tile.heading for tile in page.settled(3).values()] == ["red", "green", "blue"]
        eventually(lambda: all(tile.thumbnail for tile in page.tiles()))
        page.browser.mistakes()  # Firefox reports the script that is missing


def test_parts_of_the_page_that_cannot_be_loaded_are_said_to_be_missing(
    browser: Browser, visit: Visit, model_server: ColourServer, files: Files
) -> None:
    """As in a page that was opened before the gateway was updated: its files have other addresses now."""
    settings = Settings(serving_target=model_server.address, default_model="colours", api_keys=KEYED["api_keys"])
    app = create_app(settings, fork_server=FORK_SERVER)
    missing = ["/key.js", "/session.js", "/known.js"]

    async def updated(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(tuple(missing)):
            scope = {**scope, "path": "/web/nothing.js"}
        await app(scope, receive, send)

    said = "This part of the page cannot be loaded. Try again, or reload the page."
    with running_gateway(settings, updated) as client:
        page = Page(browser, str(client.base_url))
        browser.get(page.url)
        try:
            assert_seen(page, said)
            eventually(lambda: page.one("#service strong").text == "An API key is needed.")
            browser.execute_script("sessionStorage.setItem('gateway-api-key', arguments[0])", KEY)
            page = visit(client)
            page.choose(files("red"))
            assert_seen(page, said)
            page.click("#toast .dismiss")
            eventually(lambda: page.message() == "")
            page.touch("#show-known")
            assert_seen(page, said)
        finally:
            browser.execute_script("sessionStorage.clear()")
            browser.get("about:blank")  # which asks for no more parts
            browser.mistakes()  # browsers report what is missing


def test_a_key_is_asked_for_once_and_kept_for_the_tab(
    browser: Browser, visit: Visit, start: Start, files: Files
) -> None:
    client = start(**KEYED)
    page = Page(browser, str(client.base_url))
    page.browser.get(page.url)
    for key, title in (("wrong", "An API key is needed"), (KEY, "That key was not accepted")):
        eventually(partial(key_asked, page, title))
        page.one("#key-value").send_keys(key + Keys.ENTER)
    eventually(lambda: page.one("#show-card").is_enabled())
    assert not page.shown("#key")
    again = visit(client)  # the same tab, loaded anew
    again.choose(files("red"))
    assert again.settled(1)["red-1.png"].heading == "red"
    assert not again.shown("#key")
    page.browser.execute_script("sessionStorage.clear()")


def key_asked(page: Page, title: str) -> bool:
    """Whether the dialog that asks for a key is open, under this title."""
    return page.shown("#key") and page.one("#key-title").text == title


def test_without_a_key_the_page_says_what_is_missing(browser: Browser, start: Start) -> None:
    page = Page(browser, str(start(**KEYED).base_url))
    page.browser.get(page.url)
    eventually(lambda: page.shown("#key"))
    page.click("#key button[formnovalidate]")
    eventually(lambda: page.one("#service strong").text == "An API key is needed.")
    assert page.one("#service button").text == "Enter a key"
    page.click("#service button")
    eventually(lambda: page.shown("#key"))
    page.browser.get("about:blank")
