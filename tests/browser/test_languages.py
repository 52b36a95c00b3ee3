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

import testing.chromium
from testing import ROOT
from testing.chromium import Chromium, running_chromium
from testing.page import Page

WEB = ROOT / "gateway" / "web"
LANGUAGES = ("en", "de", "fr", "es", "ja")
ERROR = "error."
"""Errors are in English by the API itself."""


class Marked(HTMLParser):
    """Collects the messages that the page names, with the English text beside each."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._open: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Note what an element names."""
        given = dict(attrs)
        self._open = given.get("data-t")
        for name, attribute in (("data-t-label", "aria-label"), ("data-t-title", "title")):
            if key := given.get(name):
                self.found.append((key, given.get(attribute) or ""))

    def handle_data(self, data: str) -> None:
        """Note the text of the element that was just opened."""
        if self._open:
            self.found.append((self._open, data))
        self._open = None


@pytest.fixture(scope="module")
def messages(chromium: Chromium) -> dict[str, dict[str, Any]]:
    """The messages of each language, as a browser reads them."""
    read = {}
    for language in LANGUAGES:
        source = (WEB / f"messages-{language}.js").read_text("utf-8").replace("export default", "return")
        read[language] = chromium.execute_script(source)
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


def test_every_message_is_used_and_every_one_that_is_used_is_there(messages: dict[str, dict[str, Any]]) -> None:
    sources = [path for path in WEB.iterdir() if path.suffix in (".js", ".html") and "messages-" not in path.name]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    named = set(re.findall(r"""\bt\("([\w.]+)"|data-t(?:-label|-title)?="([\w.]+)\"""", text))
    used = {first or second for first, second in named}
    assert used <= set(messages["en"])
    composed = ("place.", "card.", "size.")
    quoted = set(re.findall(r'"([\w.]+)"', text))
    assert not [key for key in messages["en"] if key not in used | quoted and not key.startswith(composed)]


def test_the_html_has_the_english_messages(messages: dict[str, dict[str, Any]]) -> None:
    html = Marked()
    html.feed((WEB / "index.html").read_text("utf-8"))
    assert len(html.found) > 40
    assert [(key, text) for key, text in html.found if messages["en"][key] != text] == []


@pytest.fixture(params=["de", "ja"])
def foreign(request: pytest.FixtureRequest) -> Iterator[tuple[str, Chromium]]:
    """A browser of somebody who reads another language."""
    if missing := testing.chromium.missing():
        pytest.skip(missing)
    with running_chromium(language=f"{request.param}-XX,{request.param},en") as running:
        yield request.param, running


def test_the_page_speaks_the_language_of_the_browser_and_loads_no_other(
    foreign: tuple[str, Chromium],
    messages: dict[str, dict[str, Any]],
    gateway: httpx.Client,
    files: Callable[..., list[Path]],
) -> None:
    language, browser = foreign
    said = messages[language]
    page = Page(browser, str(gateway.base_url)).open()
    page.choose(files("red"))
    assert page.settled(1)["red-1.png"].heading == "red"
    assert page.browser.execute_script("return document.documentElement.lang") == language
    assert page.one('[data-source="photos"]').text == said["choose"]
    assert page.tiles()[0].detail == said["probably"].replace("{percent}", "89 %")
    assert page.one(".why").text == said["why"]
    loaded = page.browser.execute_script("return performance.getEntries().map(one => one.name)")
    [only] = [name for name in loaded if "messages-" in name]
    assert only.endswith(f"/messages-{language}.js")
    assert page.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert not browser.mistakes()
