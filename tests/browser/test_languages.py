"""The page in the languages that it has words for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing import ROOT
from testing.browser import Browser
from testing.page import Page
from tests.browser.screens import Screen, everywhere

WEB = ROOT / "gateway" / "web"
LANGUAGES = ("en", "de", "fr", "es", "ja")
ERROR = "error."
"""Errors are in English by the API itself."""


class Marked(HTMLParser):
    """Collects the messages that the page names, with the English text beside each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self.untranslated: list[str] = []
        self._open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Note what an element names."""
        attributes = dict(attrs)
        self._open = attributes.get("data-t")
        for name, attribute in (("data-t-label", "aria-label"), ("data-t-title", "title")):
            if key := attributes.get(name):
                self.found.append((key, attributes.get(attribute) or ""))
            elif attribute in attributes and "hidden" not in attributes:
                self.untranslated.append(attributes[attribute] or "")

    def handle_data(self, data: str) -> None:
        """Note the text of the element that was just opened."""
        if self._open:
            self.found.append((self._open, data))
        self._open = None


@pytest.fixture
def messages(browser: Browser) -> dict[str, dict[str, Any]]:
    """The messages of each language, as a browser reads them."""
    read = {}
    for language in LANGUAGES:
        source = (WEB / f"messages-{language}.js").read_text("utf-8").replace("export default", "return")
        read[language] = browser.execute_script(source)
    return read


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_language_has_every_message_with_the_same_values(
    messages: dict[str, dict[str, Any]], language: str
) -> None:
    def values(message: str | dict[str, str]) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", json.dumps(message)))

    english, other = messages["en"], messages[language]
    assert [key for key in other if not key.startswith(ERROR)] == list(english)
    assert {key for key in other if key.startswith(ERROR)} == {key for key in messages["de"] if key.startswith(ERROR)}
    assert {key: values(other[key]) for key in english} == {key: values(english[key]) for key in english}
    assert not [key for key in other if not json.dumps(other[key]).strip('"{} ')]


def test_no_line_begins_with_a_sign_that_belongs_to_the_word_before(messages: dict[str, dict[str, Any]]) -> None:
    """In French there is a space before some signs, and nearly everywhere one before a percent sign."""
    texts = [
        (language, text)
        for language, said in messages.items()
        for message in said.values()
        for text in (message.values() if isinstance(message, dict) else [message])
    ]
    assert [one for one in texts if re.search(r" [:;?!»%…]|« ", one[1])] == []


WRONG_REQUESTS = {"bad_request", "unsupported_request", "invalid_parameter", "image_not_fetched"}
"""Errors in requests that the page never sends."""


def test_every_error_that_a_photo_can_cause_is_translated(messages: dict[str, dict[str, Any]]) -> None:
    operation = json.loads((ROOT / "openapi.json").read_text("utf-8"))["paths"]["/api/v1/models/{model}/predict"][
        "post"
    ]
    bodies = [body for answer in operation["responses"].values() for body in answer["content"].values()]
    codes = {code for body in bodies for code in body.get("examples", {})}
    assert len(codes) > 10
    assert {f"{ERROR}{code}" for code in codes - WRONG_REQUESTS} <= set(messages["de"])


def test_every_message_is_used_and_every_one_that_is_used_is_there(messages: dict[str, dict[str, Any]]) -> None:
    sources = [path for path in WEB.iterdir() if path.suffix in (".js", ".html") and "messages-" not in path.name]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r"""\bt\("([\w.]+)"|data-t(?:-label|-title)?="([\w.]+)\"""", text))
    used = {first or second for first, second in named}
    assert used <= set(messages["en"])
    breeds = [line.split("|") for line in (WEB / "breeds.txt").read_text("utf-8").splitlines()]
    kinds = ("work.", "coat.", "size.")
    facts = {f"{kind}{breed[at]}" for breed in breeds for at, kind in enumerate(kinds, 1) if breed[at]}
    assert facts == {key for key in messages["en"] if key.startswith(kinds)}
    quoted = set(re.findall(r'"([\w.]+)"', text))
    assert not [
        key for key in messages["en"] if key not in used | quoted | facts and not key.startswith(("place.", "card."))
    ]


def test_the_html_has_the_english_messages(messages: dict[str, dict[str, Any]]) -> None:
    html = Marked()
    html.feed((WEB / "index.html").read_text("utf-8"))
    assert len(html.found) > 40
    assert [(key, text) for key, text in html.found if messages["en"][key] != text] == []
    assert html.untranslated == []


@pytest.fixture
def reads(browser: Browser) -> Iterator[Callable[[str], None]]:
    """Lets the person read another language, until the end of the test."""
    yield lambda language: browser.reads(f"{language}-XX,{language},en")
    browser.reads("en")


@everywhere
def test_the_page_speaks_the_language_of_the_browser_and_loads_no_other(
    visit: Callable[[httpx.Client], Page],
    reads: Callable[[str], None],
    messages: dict[str, dict[str, Any]],
    gateway: httpx.Client,
    files: Callable[..., list[Path]],
    screen: Screen,
) -> None:
    photos = files("red")
    for language in LANGUAGES[1:]:
        reads(language)
        translations = messages[language]
        page = visit(gateway)
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= screen.width
        page.choose(photos)
        assert page.settled(1)["red-1.png"].heading == "red"
        assert page.browser.execute_script("return document.documentElement.lang") == language
        assert page.one('[data-source="photos"]').text == translations["choose"]
        assert page.tiles()[0].detail == translations["probably"].replace("{percent}", "89 %").replace("\u00a0", " ")
        assert page.one(".why").text == translations["why"].replace("\u00a0", " ")
        loaded = page.browser.execute_script("return performance.getEntries().map(one => one.name)")
        [only] = [name for name in loaded if "messages-" in name]
        assert only.endswith(f"/messages-{language}.js")
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= screen.width
        page.browser.get("about:blank")
