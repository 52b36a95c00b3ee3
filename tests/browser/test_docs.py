"""The API's documentation in a browser that reaches no other address."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from testing.axe import findings
from testing.browser import Browser
from testing.chromium import Chromium
from testing.colour_server import ColourModel, ColourServer
from testing.line import running_line
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere


@pytest.fixture
def open_docs(browser: Browser, screen: Screen) -> Iterator[Callable[[httpx.Client], Browser]]:  # noqa: ARG001
    """Opens the documentation page of a gateway, with its operations drawn."""

    def opened(client: httpx.Client) -> Browser:
        browser.get(f"{client.base_url}/docs")
        browser.execute_script("document.getElementById('swagger-ui').scrollIntoView()")  # which is loaded then
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".opblock"))
        return browser

    yield opened
    mistakes = browser.mistakes()
    browser.get("about:blank")
    assert not mistakes


@pytest.fixture
def docs(open_docs: Callable[[httpx.Client], Browser], gateway: httpx.Client) -> Browser:
    """The documentation page of a gateway that anyone may ask."""
    return open_docs(gateway)


def test_all_of_the_page_is_under_600_kb_most_of_it_only_when_scrolled_to(
    browser: Browser,
    gateway: httpx.Client,
) -> None:
    with running_line(gateway.base_url.port or 0) as line:
        browser.get(f"{line.url}/docs")
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, "#which option"))
        assert 10_000 < line.received < 100_000
        browser.execute_script("document.getElementById('swagger-ui').scrollIntoView()")
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".opblock"))
        assert 300_000 < line.received < 600_000
        browser.get("about:blank")


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_moves_while_the_page_loads(chromium: Chromium, gateway: httpx.Client, width: int) -> None:
    chromium.screen(width, 844, phone=width < 500)
    script = """const done = arguments[0];
        new PerformanceObserver((list) => done(list.getEntries().reduce((sum, one) => sum + one.value, 0)))
            .observe({type: 'layout-shift', buffered: true});
        setTimeout(() => done(0), 300);"""
    chromium.get(f"{gateway.base_url}/docs")
    eventually(lambda: chromium.find_elements(By.CSS_SELECTOR, "#which option"))
    assert chromium.execute_async_script(script) < 0.05


def test_operations_that_cannot_be_loaded_are_said_to_be_missing(chromium: Chromium, gateway: httpx.Client) -> None:
    chromium.execute_cdp_cmd("Network.enable", {})
    chromium.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*swagger-ui-bundle.js"]})
    try:
        chromium.get(f"{gateway.base_url}/docs")
        operations = chromium.find_element(By.ID, "swagger-ui")
        chromium.execute_script("arguments[0].scrollIntoView()", operations)
        eventually(lambda: operations.text.startswith("The operations could not be loaded."))
    finally:
        chromium.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    assert chromium.mistakes() == []


def test_many_photos_are_uploaded_from_the_page_and_answered(docs: Browser, files: Callable[..., list[Path]]) -> None:
    operation = opened(docs, "/api/v1/predict_breed/batch")
    file_input = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    file_input.send_keys(str(files("red")[0]))
    [only] = executed(operation)["results"]
    assert only["breed"] == "red"


@everywhere
def test_a_photo_is_tried_and_the_request_can_be_copied_in_four_languages(
    browser: Browser, screen: Screen, gateway: httpx.Client, files: Callable[..., list[Path]]
) -> None:
    docs = browser
    docs.get(f"{gateway.base_url}/docs")
    eventually(lambda: docs.find_elements(By.CSS_SELECTOR, "#which option"))
    page = Page(docs, "")
    for title in docs.find_elements(By.CSS_SELECTOR, ".try h2"):
        below = title.find_element(By.XPATH, "following-sibling::*[1]")
        assert below.rect["y"] - title.rect["y"] < 80, "right below its heading"
    assert page.box("h1")[3] < page.box("#choose")[3] < screen.height, "ready to be tried"
    ground = page.picture()[-20:, 2:8].mean()
    assert (ground < 60) if screen.scheme == "dark" else (ground > 200)
    if isinstance(docs, Chromium):
        docs.drop(files("blue")[0])
    else:
        docs.find_element(By.ID, "photo").send_keys(str(files("blue")[0]))
    eventually(lambda: "blue" in docs.find_element(By.ID, "answer").text)
    answer = json.loads(docs.find_element(By.ID, "answer").text)
    assert (answer["label"], answer["model"]) == ("blue", {"name": "colours", "version": 1})
    assert not docs.find_element(By.ID, "key-form").is_displayed(), "no key is needed"
    tabs = docs.find_elements(By.CSS_SELECTOR, ".tabs button")
    assert [tab.text for tab in tabs] == ["curl", "Python", "JavaScript", "Go"]
    for tab in tabs:
        page.touch(tab)
        code = docs.find_element(By.CSS_SELECTOR, "#request code").text
        assert f"{str(gateway.base_url).rstrip('/')}/api/v1/models/colours/predict" in code
        assert "blue-1.png" in code
        assert "API_KEY" not in code
    page.touch("#request .primary")
    eventually(lambda: page.one("#request .primary").text == "Copied")
    assert docs.execute_script("return document.documentElement.scrollWidth") <= screen.width


@everywhere
def test_a_key_is_shared_with_the_page_and_never_printed(
    open_docs: Callable[[httpx.Client], Browser],
    start: Callable[..., httpx.Client],
    files: Callable[..., list[Path]],
) -> None:
    docs = open_docs(start(api_keys=(hashlib.sha256(b"sesame").hexdigest(),)))
    operation = opened(docs, "/api/v1/predict_breed")
    file_input = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    file_input.send_keys(str(files("blue")[0]))
    assert executed(operation)["code"] == "unauthorized"
    docs.find_element(By.ID, "key-value").send_keys("sesame")
    click(docs, docs.find_element(By.CSS_SELECTOR, "#key-form button"))
    eventually(lambda: executed(operation).get("breed") == "blue")
    docs.find_element(By.ID, "photo").send_keys(str(files("red")[0]))
    eventually(lambda: '"red"' in docs.find_element(By.ID, "answer").text)
    assert "$API_KEY" in docs.find_element(By.CSS_SELECTOR, "#request code").text
    assert "sesame" not in docs.execute_script("return document.documentElement.outerHTML")
    assert docs.execute_script("return sessionStorage.getItem('gateway-api-key')") == "sesame"
    docs.execute_script("sessionStorage.clear()")


EDGES_OF_METHODS_AND_PATHS = """
    return [...document.querySelectorAll('.opblock-summary')].map((summary) => {
        const [method, path] = ['method', 'path'].map((part) =>
            summary.querySelector(`.opblock-summary-${part}`).getBoundingClientRect());
        return [method.right, path.left, method.bottom, path.top];
    });
"""


@everywhere
def test_operations_are_grouped_and_folded_and_can_be_tried(
    docs: Browser, files: Callable[..., list[Path]], screen: Screen
) -> None:
    tags = docs.find_elements(By.CSS_SELECTOR, ".opblock-tag")
    names = [one.get_attribute("data-tag") for one in tags]
    assert names[:2] == ["predictions", "models"]

    def folded() -> list[str | None]:
        return [one.get_attribute("data-tag") for one in tags if one.get_attribute("data-is-open") == "false"]

    eventually(lambda: folded() == ["tensorflow serving", "open inference protocol", "health"])
    for right, path_left, bottom, path_top in docs.execute_script(EDGES_OF_METHODS_AND_PATHS):
        assert path_left >= right, "the path is beside the method"
        assert path_top < bottom, "not below it"
    assert not docs.find_elements(By.CSS_SELECTOR, "#swagger-ui .filter, #swagger-ui .operation-filter-input")
    letters = docs.execute_script("return getComputedStyle(document.querySelector('.opblock-tag')).color")
    assert (int(re.findall(r"\d+", letters)[0]) > 128) is (screen.scheme == "dark"), "dark only if the user prefers it"
    operation = opened(docs, "/api/v1/predict_breed")
    file_input = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    fields = operation.find_elements(By.CSS_SELECTOR, ".opblock-section-request-body :is(input, textarea, select)")
    fields = [one for one in fields if one.is_displayed() and "content-type" not in str(one.get_attribute("class"))]
    assert fields[0] == file_input, "the file first"
    for other in ("dog_breed", "Boxer"):
        assert other not in operation.text, "the examples are about the model that is served"
    predictions = str(operation.find_element(By.CSS_SELECTOR, ".responses-wrapper").get_attribute("textContent"))
    assert all(label in predictions for label in ("red", "green", "blue"))
    file_input.send_keys(str(files("blue")[0]))
    answer = executed(operation)
    assert (answer["breed"], answer["model"]) == ("blue", {"name": "colours", "version": 1})
    for tag in tags:
        if tag.get_attribute("data-is-open") == "false":
            click(docs, tag)
    for kind in ("tensorflow_serving-predict_tensors", "health-readyz"):
        operation = docs.find_element(By.ID, f"operations-{kind}")
        click(docs, operation.find_element(By.CSS_SELECTOR, ".opblock-summary-control"))
        eventually(partial(operation.find_elements, By.CSS_SELECTOR, ".responses-wrapper"))
    assert findings(docs) == []
    assert docs.execute_script("return document.documentElement.scrollWidth") <= screen.width


def test_examples_about_a_model_with_fewer_labels_have_no_gaps(
    open_docs: Callable[[httpx.Client], Browser], start: Callable[..., httpx.Client], model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(labels=("red", "green"))}
    operation = opened(open_docs(start()), "/api/v1/predict_breed")
    responses = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, ".responses-wrapper"))[0]
    text = str(responses.get_attribute("textContent"))
    [example] = set(re.findall(r'"label_set":\s*(\[[^]]*\])', text))
    assert json.loads(example) == ["red", "green"]
    assert set(re.findall(r'"label":\s*([^,]+),', text)) == {'"red"', '"green"'}


def opened(docs: Browser, path: str) -> WebElement:
    """Unfold an operation."""
    [operation] = [
        one
        for one in docs.find_elements(By.CSS_SELECTOR, ".opblock-post")
        if one.find_element(By.CSS_SELECTOR, ".opblock-summary-path").get_attribute("data-path") == path
    ]
    click(docs, operation.find_element(By.CSS_SELECTOR, ".opblock-summary-control"))
    eventually(lambda: operation.find_elements(By.CSS_SELECTOR, ".execute"))
    return operation


def click(docs: Browser, element: WebElement) -> None:
    """Click wherever it has scrolled to."""
    docs.execute_script("arguments[0].click()", element)


def executed(operation: WebElement) -> dict[str, Any]:
    """Press Execute, and the answer that is shown."""
    click(operation.parent, operation.find_element(By.CSS_SELECTOR, ".execute"))
    answer_elements = eventually(
        lambda: operation.find_elements(By.CSS_SELECTOR, ".live-responses-table .response-col_description code")
    )
    text = eventually(lambda: answer_elements[0].text)
    answer: dict[str, Any] = json.loads(text)
    return answer
