"""The API's documentation in a browser that reaches no other address."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from testing.axe import findings
from testing.browser import Browser, Scheme
from testing.chromium import Chromium
from testing.page import eventually


@pytest.fixture
def open_docs(browser: Browser) -> Iterator[Callable[[httpx.Client], Browser]]:
    """Opens the documentation page of a gateway, with its operations drawn."""

    def opened(client: httpx.Client) -> Browser:
        browser.screen(1280, 1000)
        browser.get(f"{client.base_url}/docs")
        browser.execute_script("document.getElementById('swagger-ui').scrollIntoView()")  # which is loaded then
        eventually(lambda: browser.find_elements(By.CSS_SELECTOR, ".opblock"))
        return browser

    yield opened
    found = browser.mistakes()
    browser.get("about:blank")
    assert not found


@pytest.fixture
def docs(open_docs: Callable[[httpx.Client], Browser], gateway: httpx.Client) -> Browser:
    """The documentation page of a gateway that anyone may ask."""
    return open_docs(gateway)


def test_operations_are_grouped(docs: Browser) -> None:
    groups = [one.get_attribute("data-tag") for one in docs.find_elements(By.CSS_SELECTOR, ".opblock-tag")]
    assert groups[:2] == ["predictions", "models"]
    assert "health" in groups


@pytest.mark.parametrize("width", [390, 1440])
def test_request_and_answer_are_right_below_their_headings(docs: Browser, width: int) -> None:
    docs.screen(width, 900)
    for title in docs.find_elements(By.CSS_SELECTOR, ".try h2"):
        below = title.find_element(By.XPATH, "following-sibling::*[1]")
        assert below.rect["y"] - title.rect["y"] < 80, title.text


def test_all_of_the_page_is_under_600_kb_most_of_it_only_when_scrolled_to(
    chromium: Chromium, gateway: httpx.Client
) -> None:
    def loaded() -> int:
        sizes = "return performance.getEntries().reduce((sum, one) => sum + (one.transferSize ?? 0), 0)"
        total: int = chromium.execute_script(sizes)
        return total

    chromium.screen(390, 844, phone=True)
    chromium.get("about:blank")
    chromium.get(f"{gateway.base_url}/docs")
    eventually(lambda: chromium.find_elements(By.CSS_SELECTOR, "#which option"))
    assert 10_000 < loaded() < 100_000
    chromium.execute_script("document.getElementById('swagger-ui').scrollIntoView()")
    eventually(lambda: chromium.find_elements(By.CSS_SELECTOR, ".opblock"))
    assert 300_000 < loaded() < 600_000


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


def test_a_photo_is_uploaded_from_the_page_and_answered(docs: Browser, files: Callable[..., list[Path]]) -> None:
    operation = opened(docs, "/api/v1/predict_breed")
    chosen = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    chosen.send_keys(str(files("blue")[0]))
    answer = executed(operation)
    assert (answer["breed"], answer["model"]) == ("blue", {"name": "colours", "version": 1})


def test_many_photos_are_uploaded_from_the_page_and_answered(docs: Browser, files: Callable[..., list[Path]]) -> None:
    operation = opened(docs, "/api/v1/predict_breed/batch")
    chosen = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    chosen.send_keys(str(files("red")[0]))
    [only] = executed(operation)["results"]
    assert only["breed"] == "red"


def test_a_photo_is_tried_and_the_request_can_be_copied_in_four_languages(
    docs: Browser, gateway: httpx.Client, files: Callable[..., list[Path]]
) -> None:
    docs.find_element(By.ID, "photo").send_keys(str(files("blue")[0]))
    eventually(lambda: "blue" in docs.find_element(By.ID, "answer").text)
    answer = json.loads(docs.find_element(By.ID, "answer").text)
    assert (answer["label"], answer["model"]) == ("blue", {"name": "colours", "version": 1})
    assert not docs.find_element(By.ID, "key-form").is_displayed(), "no key is needed"
    tabs = docs.find_elements(By.CSS_SELECTOR, ".tabs button")
    assert [tab.text for tab in tabs] == ["curl", "Python", "JavaScript", "Go"]
    for tab in tabs:
        click(docs, tab)
        code = docs.find_element(By.CSS_SELECTOR, "#request code").text
        assert f"{str(gateway.base_url).rstrip('/')}/api/v1/models/colours/predict" in code
        assert "blue-1.png" in code
        assert "API_KEY" not in code


def test_a_key_is_shared_with_the_page_and_never_printed(
    open_docs: Callable[[httpx.Client], Browser],
    start: Callable[..., httpx.Client],
    files: Callable[..., list[Path]],
) -> None:
    docs = open_docs(start(api_keys=(hashlib.sha256(b"sesame").hexdigest(),)))
    operation = opened(docs, "/api/v1/predict_breed")
    chosen = eventually(lambda: operation.find_elements(By.CSS_SELECTOR, "input[type=file]"))[0]
    chosen.send_keys(str(files("blue")[0]))
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


def test_interfaces_for_other_clients_and_health_are_folded(docs: Browser) -> None:
    def folded() -> list[str | None]:
        tags = docs.find_elements(By.CSS_SELECTOR, ".opblock-tag")
        return [one.get_attribute("data-tag") for one in tags if one.get_attribute("data-is-open") == "false"]

    eventually(lambda: folded() == ["tensorflow serving", "open inference protocol", "health"])


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_axe_finds_nothing_with_all_groups_and_operations_of_each_kind_open(
    open_docs: Callable[[httpx.Client], Browser], gateway: httpx.Client, width: int, scheme: Scheme
) -> None:
    docs = open_docs(gateway)
    docs.screen(width, 900, phone=width < 500)
    docs.prefers(scheme)
    for tag in docs.find_elements(By.CSS_SELECTOR, '.opblock-tag[data-is-open="false"]'):
        click(docs, tag)
    for kind in ("predictions-predict_breed", "tensorflow_serving-predict_tensors", "health-readyz"):
        operation = docs.find_element(By.ID, f"operations-{kind}")
        click(docs, operation.find_element(By.CSS_SELECTOR, ".opblock-summary-control"))
        eventually(partial(operation.find_elements, By.CSS_SELECTOR, ".responses-wrapper"))
    assert findings(docs) == []
    assert docs.execute_script("return document.documentElement.scrollWidth") <= width


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
    shown = eventually(
        lambda: operation.find_elements(By.CSS_SELECTOR, ".live-responses-table .response-col_description code")
    )
    text = eventually(lambda: shown[0].text)
    answer: dict[str, Any] = json.loads(text)
    return answer
