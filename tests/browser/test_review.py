"""The review page in a browser, from the keys that are pressed to the records in the prediction log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from gateway.prediction_log.records import RECORD, Feedback
from testing.axe import findings
from testing.browser import Browser
from testing.colour_server import ColourModel, ColourServer
from testing.page import Page, eventually
from testing.photos import photo
from testing.polling import until
from tests.browser.screens import Screen, everywhere
from tests.browser.test_layout import content_width, small_targets
from tests.gateway.prediction_log.written import lines

Start = Callable[..., httpx.Client]

KEY = "key-of-ann"
KEYS = f"ann:{hashlib.sha256(KEY.encode()).hexdigest()},bob:{hashlib.sha256(b'key-of-bob').hexdigest()}"
PHOTOS = "/api/v1/review/photos"
BOB = {"X-API-Key": "key-of-bob"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def gateway(start: Start, log: Path, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """A gateway that has kept three photos, red, green and blue."""
    monkeypatch.setattr("gateway.prediction_log.review.REFRESH_SECONDS", 0.0)
    client = start(prediction_log=str(log), prediction_log_photos="all", review_keys=KEYS)
    for number, colour in enumerate(("red", "green", "blue")):
        assert client.post("/api/v1/predict_breed", content=photo(colour, (40 + number, 30))).status_code == 200
    until(lambda: len(client.get(PHOTOS, headers=BOB).json()["photos"]) == 3)
    return client


@pytest.fixture
def page(browser: Browser, screen: Screen, gateway: httpx.Client) -> Iterator[Page]:  # noqa: ARG001
    """The review page, with a reviewer's key."""
    page = Page(browser, f"{gateway.base_url}/review")
    browser.get(page.url)
    eventually(lambda: page.shown("#key"))
    assert findings(browser) == []
    page.one("#key-value").send_keys(KEY, Keys.ENTER)
    eventually(lambda: len(tiles(page)) == 3)
    yield page
    mistakes = browser.mistakes()
    browser.execute_script("sessionStorage.clear()")
    browser.get("about:blank")
    assert not mistakes


def tiles(page: Page) -> list[WebElement]:
    return page.browser.find_elements(By.CSS_SELECTOR, ".tile")


def heading(tile: WebElement) -> str:
    """The label in a tile, without the score."""
    return tile.find_element(By.CSS_SELECTOR, "h2 bdi").text


def decisions(page: Page) -> list[str]:
    """What each tile shows of decisions."""
    script = (
        "return [...document.querySelectorAll('.tile')]"
        ".map(tile => [...tile.querySelectorAll('.decision')].map(one => one.textContent).join('; '))"
    )
    texts: list[str] = page.browser.execute_script(script)
    return texts


def focused(page: Page) -> int:
    """Number of the tile with the focus, from 0."""
    return tiles(page).index(page.browser.switch_to.active_element)


def reviews(log: Path, number: int) -> list[Feedback]:
    """The reviews in the log, in order, once there are so many."""

    def complete() -> list[Feedback]:
        log_records = [one for one in map(RECORD.validate_json, lines(log)) if isinstance(one, Feedback) and one.review]
        return sorted(log_records, key=lambda one: one.time) if len(log_records) == number else []

    return until(complete)


def test_photos_are_confirmed_relabelled_and_discarded_by_keys(page: Page, log: Path) -> None:
    first, second, third = (heading(tile) for tile in tiles(page))
    eventually(
        lambda: page.browser.execute_script(
            "return [...document.querySelectorAll('.tile img')].every(i => i.naturalWidth)"
        )
    )
    page.browser.execute_script("arguments[0].focus()", tiles(page)[0])
    page.press("c")
    eventually(lambda: decisions(page)[0] == f"ann confirmed it: {first}")
    assert eventually(lambda: focused(page) == 1)
    page.press("r")
    eventually(lambda: page.shown(".pick"))
    offered = [one.text for one in page.browser.find_elements(By.CSS_SELECTOR, ".pick li button")]
    assert sorted([*offered, second]) == ["blue", "green", "red"]
    page.press("purple")
    page.press(Keys.ENTER)
    eventually(lambda: decisions(page)[1] == "ann relabelled it: purple")
    assert eventually(lambda: focused(page) == 2)
    page.press("d")
    eventually(lambda: decisions(page)[2] == "ann discarded it")
    page.press("u")
    eventually(lambda: decisions(page)[2] == "")
    assert [(one.review, one.label, one.key) for one in reviews(log, 4)] == [
        ("confirmed", first, "ann"),
        ("relabelled", "purple", "ann"),
        ("discarded", None, "ann"),
        ("withdrawn", None, "ann"),
    ]
    assert page.one("#count").text == "1 not reviewed, 2 reviewed, 0 in conflict"
    assert heading(tiles(page)[2]) == third


def test_a_photo_is_deleted_after_a_question(page: Page, log: Path) -> None:
    digest = tiles(page)[0].get_attribute("data-digest")
    page.browser.execute_script("arguments[0].focus()", tiles(page)[0])
    page.press(Keys.DELETE)
    eventually(lambda: page.shown("#delete"))
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.shown("#delete"))
    assert (log / "photos").exists()
    assert list((log / "photos").rglob(f"{digest}.jpg"))
    page.click(".tile .delete")
    eventually(lambda: page.shown("#delete"))
    page.click("#delete .primary")
    eventually(lambda: "deleted" in tiles(page)[0].text)
    assert not list(log.rglob(f"*{digest}.jpg"))
    assert [one.review for one in reviews(log, 1)] == ["deleted"]


def test_a_decision_of_somebody_else_is_shown_and_not_overwritten(page: Page, gateway: httpx.Client, log: Path) -> None:
    digest = tiles(page)[0].get_attribute("data-digest")
    body = {"decision": "relabelled", "label": "pink", "seen": 0}
    assert gateway.post(f"{PHOTOS}/{digest}/decision", json=body, headers=BOB).status_code == 200
    page.click(".tile .actions button")
    assert eventually(page.message).startswith("Somebody else has decided")
    eventually(lambda: decisions(page)[0] == "bob relabelled it: pink")
    assert len(reviews(log, 1)) == 1
    page.click(".tile .actions button")
    eventually(lambda: decisions(page)[0].startswith("bob relabelled it: pink; ann confirmed it"))
    assert page.one(".tile").get_attribute("data-status") == "conflicts"


def test_versions_of_a_multi_label_model_that_gave_other_labels_are_named(
    page: Page, gateway: httpx.Client, model_server: ColourServer
) -> None:
    both, red = ColourModel(thresholds=(0.4, 0.4, 0.9)), ColourModel(thresholds=(0.4, 0.9, 0.9))
    model_server.models["colours"] |= {2: both, 3: red, 4: red}
    for version in (2, 3, 4):
        answer = gateway.post(f"/api/v1/models/colours/predict?version={version}", content=photo("grey"))
        assert answer.json()["label"] == "red", answer.text
    until(lambda: len(gateway.get(PHOTOS, headers=BOB).json()["photos"]) == 4)
    page.browser.refresh()
    eventually(lambda: len(tiles(page)) == 4)
    [tile] = [one for one in tiles(page) if "colours 4" in one.text]
    assert "Versions disagree" in tile.text
    assert "colours 2 said: green, red" in tile.text
    assert "colours 3 said" not in tile.text


def test_the_same_feedback_is_said_once_with_its_number(page: Page, gateway: httpx.Client) -> None:
    red = photo("red", (40, 30))
    for label in ("pink", "purple", "pink"):
        answer = gateway.post("/api/v1/predict_breed", content=red)
        request_id = answer.headers["x-request-id"]
        said = {"request_id": request_id, "model": "colours", "version": 1, "verdict": "wrong", "label": label}
        assert gateway.post("/api/v1/feedback", json=said).is_success
    until(lambda: any(len(one["feedback"]) == 3 for one in gateway.get(PHOTOS, headers=BOB).json()["photos"]))
    page.browser.refresh()
    eventually(lambda: len(tiles(page)) == 3)
    [tile] = [one for one in tiles(page) if heading(one) == "red"]
    said_lines = [one.text for one in tile.find_elements(By.CSS_SELECTOR, ".said")]
    assert sorted(said_lines) == ["Somebody said 2 times: pink", "Somebody said: purple"]
    assert "Reported as wrong" in tile.text


def test_the_list_is_filtered(page: Page) -> None:
    def choose(name: str, value: str) -> None:
        select = page.one(f"[name={name}]")
        page.browser.execute_script("arguments[0].value = arguments[1]", select, value)
        page.browser.execute_script("arguments[0].dispatchEvent(new Event('change', {bubbles: true}))", select)

    choose("label", "=red")
    eventually(lambda: [heading(tile) for tile in tiles(page)] == ["red"])
    choose("label", "")
    choose("version", "colours/1")
    eventually(lambda: len(tiles(page)) == 3)
    choose("days", "1")
    eventually(lambda: len(tiles(page)) == 3)
    choose("status", "reviewed")
    eventually(lambda: page.one("#none").text == "There is nothing to review here.")


@everywhere
def test_the_review_fits_every_screen(page: Page, screen: Screen) -> None:

    def is_well() -> bool:
        return (
            findings(page.browser) == []
            and content_width(page) <= screen.width
            and not small_targets(page, 44 if screen.phone else 24)
        )

    assert is_well()
    page.click(".tile .actions button")
    eventually(lambda: decisions(page)[0])
    assert is_well()
    page.click(".tile .delete")
    eventually(lambda: page.shown("#delete"))
    assert is_well()
