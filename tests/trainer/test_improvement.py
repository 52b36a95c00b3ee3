"""From wrong answers to a better version in production, while a caller sees no failed request."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trainer.model_card  # noqa: F401 # isort: skip - sets what TensorFlow reads when it is imported

import httpx
import keras
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

import testing.chromium
from testing.gateway import gateway_process
from testing.modelserver import Server
from testing.page import Page, eventually
from testing.polling import DEADLINE_SECONDS, until
from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder, picture

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.slow,
]

RED = (230, 30, 30)
BLUE = (30, 30, 230)
KEY = "key-of-ann"
"""Of a reviewer."""

CONFIG = """model_config_list {{ config {{
  name: "colours" base_path: "{path}" model_platform: "tensorflow"
  model_version_policy {{ specific {{ versions: 1 }} }}
}} }}
"""


def encoded(colour: tuple[int, int, int], seed: int) -> bytes:
    """A photo whose colour is clearer than its pattern, so that a network of random weights can tell it."""
    content = io.BytesIO()
    tinted = 0.7 * picture(colour, seed) + 0.3 * np.array(colour)
    Image.fromarray(tinted.astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


class Caller:
    """Sends photos of a known colour all the time."""

    PHOTOS = 5
    PAUSE_SECONDS = 0.05

    def __init__(self, url: str) -> None:
        self.answered: list[int] = []
        self.failed: list[str] = []
        self._url, self._stop = url, threading.Event()

    def _send(self) -> None:
        photos = [encoded(RED, 10_000 + number) for number in range(self.PHOTOS)]
        with httpx.Client(base_url=self._url, timeout=DEADLINE_SECONDS) as client:
            for photo in itertools.cycle(photos):
                answer = client.post("/api/v1/models/colours/predict", content=photo)
                if answer.status_code == 200:
                    self.answered.append(answer.json()["model"]["version"])
                else:
                    self.failed.append(answer.text)
                if self._stop.wait(self.PAUSE_SECONDS):
                    break

    @contextmanager
    def sending(self) -> Iterator[Caller]:
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


class Improvement:
    """A served model of two colours, and the commands that make its next version.

    Args:
        trainer: Runs the command line of the trainer.
        folder: Where everything is.
        write_photos: Writes photos of the old classes.
    """

    def __init__(
        self, trainer: Callable[..., tuple[int, str, str]], folder: Path, write_photos: WriteFolder, weights: Path
    ) -> None:
        self._trainer, self.folder, self._write_photos = trainer, folder, write_photos
        options = [*tiny.OPTIONS, "--weights", str(weights), "--force"]
        self._train = ["train", str(folder / "photos"), "--name", "colours", *options]

    def run(self, *command: str | Path) -> str:
        """Run a command of the trainer that must succeed; returns its output."""
        status, out, error = self._trainer(*command)
        assert status == 0, error
        return out

    @contextmanager
    def serving(self) -> Iterator[httpx.Client]:
        """Serve version 1 by a model server that polls its configuration, and a gateway that keeps all photos."""
        self.run(*self._train)
        models, split = self.folder / "models", self.folder / "split.json"
        config = models / "models.config"
        config.write_text(CONFIG.format(path=models / "colours"))
        with ExitStack() as stack:
            server = Server(
                *(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"),
                "--allow_version_labels_for_unavailable_models=true",
            )
            stack.callback(server.close)
            settings = {
                "PREDICTION_LOG": str(self.folder / "log"), "PREDICTION_LOG_PHOTOS": "all",
                "PREDICTION_LOG_SEGMENT_SECONDS": "1", "TRAFFIC_SPLIT_FILE": str(split),
                "REVIEW_KEYS": f"ann:{hashlib.sha256(KEY.encode()).hexdigest()}",
            }  # fmt: skip
            self._places = ["--models-dir", str(models), "--server", server.address]
            gateway, _ = stack.enter_context(gateway_process(server.address, None, **settings))
            self.run("promote", "colours", "1", *self._places)
            split.write_text('{"colours": {"stable": 1}}')
            until(lambda: version_that_answers(gateway) == 1, "all traffic goes to `stable`")
            yield gateway

    def bring_out(self, gateway: httpx.Client, corrected: str) -> None:
        """From corrections to the rollout of version 2, which knows blue.

        Args:
            gateway: A client of the gateway.
            corrected: What `collect` says once it has found all corrections.
        """
        log, added = self.folder / "log", self.folder / "corrected"
        until(lambda: corrected in self.run("collect", log, added), "all corrections are collected")
        assert "new classes: blue" in self.run(*self._train, "--add", added)

        tested = self._write_photos(self.folder / "tested", {"red": 10, "green": 10}, first=800)
        (tested / "blue").mkdir()
        for seed in range(10):
            (tested / "blue" / f"{seed}.png").write_bytes(encoded(BLUE, 7000 + seed))
        models, comparison = self.folder / "models", self.folder / "comparison"
        options = ["--models-dir", str(models), "--seconds", "0", "--output", str(comparison)]
        self.run("compare", "colours/1", "colours/2", tested, *options)
        content = json.loads((comparison / "comparison.json").read_text())
        blue = next(one for one in content["classes"] if one["name"] == "blue")
        assert blue["b"] >= 0.8
        assert content["accuracy_on_common_classes"]["mcnemar_p"] > 0.05

        gate = self.folder / "gate.toml"
        gate.write_text(
            'photos = "tested"\nmin_photos = 20\nmax_accuracy_loss = 0.4\nmin_accuracy = 0.8\nagainst = "stable"\n'
        )
        out = self.run("promote", "colours", "2", "canary", "--gate", gate, *self._places)
        assert "compared with version 1, meets all conditions" in out
        steps = ["--steps", "50,100", "--answers", "15", "--seconds", "0"]
        where = ["--split", str(self.folder / "split.json"), "--metrics", str(gateway.base_url), *self._places]
        self.run("rollout", "colours", "2", *steps, *where)


@pytest.fixture
def improvement(
    trainer: Callable[..., tuple[int, str, str]],
    data: Path,
    tmp_path: Path,
    write_photos: WriteFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> Improvement:
    """Photos of red and green, and a small network with random weights."""
    assert data == tmp_path / "photos"
    tiny.add(monkeypatch)
    weights = tmp_path / "tiny.weights.h5"
    keras.utils.set_random_seed(3)
    tiny.build(False, (32, 32, 3), None).save_weights(weights)
    return Improvement(trainer, tmp_path, write_photos, weights)


def version_that_answers(gateway: httpx.Client) -> int:
    answer = gateway.post("/api/v1/predict_breed", content=encoded(RED, 10_000))
    assert answer.status_code == 200, answer.text
    version: int = answer.json()["model"]["version"]
    return version


def blue_is_known(gateway: httpx.Client) -> bool:
    """Whether most other photos of blue get that label first: of so few photos, many are also called unknown."""
    answers = [gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 9000 + seed)).json() for seed in range(10)]
    named = [answer for answer in answers if answer["predictions"][0]["label"] == "blue"]
    return len(named) >= 8


def test_a_new_class_is_learned_from_corrections_and_rolled_out(improvement: Improvement) -> None:
    with improvement.serving() as gateway, Caller(str(gateway.base_url)).sending() as caller:
        # Photos of another colour arrive, and people say what they are.
        for seed in range(20):
            answer = gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 5000 + seed))
            assert answer.status_code == 200, answer.text
            feedback = {"request_id": answer.headers["x-request-id"], "verdict": "wrong", "label": "blue"}
            assert gateway.post("/api/v1/feedback", json=feedback).json() == {"status": "recorded", "new_label": True}
        improvement.bring_out(gateway, "20 photos of 1 labels")
        until(lambda: set(caller.answered[-50:]) == {2}, "the new version answers everything")
        assert blue_is_known(gateway)
    assert caller.failed == []
    assert set(caller.answered) == {1, 2}


@pytest.mark.browser
@pytest.mark.skipif(bool(testing.chromium.missing()), reason=testing.chromium.missing())
def test_corrections_made_on_the_page_and_in_the_review_bring_a_version_that_knows_the_new_class(
    improvement: Improvement,
) -> None:
    with improvement.serving() as gateway, Caller(str(gateway.base_url)).sending() as caller:
        with testing.chromium.running_chromium() as browser:
            browser.screen(1280, 900)
            page = Page(browser, str(gateway.base_url)).open()
            correct_on_the_page(page, [write(improvement.folder / f"mine-{seed}.png", seed) for seed in range(8)])
            for seed in range(8, 20):  # photos of callers who say nothing
                assert gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 5000 + seed)).status_code == 200
            review_all(browser, gateway, photos=20 + Caller.PHOTOS)
            assert browser.mistakes() == []
        improvement.bring_out(gateway, f"{20 + Caller.PHOTOS} photos of 2 labels")
        until(lambda: set(caller.answered[-50:]) == {2}, "the new version answers everything")
        assert blue_is_known(gateway)
    assert caller.failed == []
    assert set(caller.answered) == {1, 2}


def write(path: Path, seed: int) -> Path:
    path.write_bytes(encoded(BLUE, 5000 + seed))
    return path


def correct_on_the_page(page: Page, photos: list[Path]) -> None:
    """Choose photos, and say below each that it is blue."""
    page.choose(photos)
    page.settled(len(photos))
    rows = eventually(lambda: all_of(page, ".feedback", len(photos)))
    for row in rows:
        page.browser.execute_script("arguments[0].click()", row.find_element(By.CSS_SELECTOR, "button:last-child"))
        eventually(lambda: page.shown(".pick"))
        page.one(".pick input").send_keys("blue", Keys.ENTER)
        assert eventually(lambda row=row: row.find_element(By.TAG_NAME, "p").text) == "You said: blue."  # type: ignore[misc]


def review_all(browser: testing.chromium.Chromium, gateway: httpx.Client, photos: int) -> None:
    """Say by keys what each kept photo shows, as a reviewer who looks at it."""
    listed = "/api/v1/review/photos?status=open"
    until(lambda: len(gateway.get(listed, headers={"X-API-Key": KEY}).json()["photos"]) == photos, "all are kept")
    page = Page(browser, f"{gateway.base_url}/review")
    browser.get(page.url)
    eventually(lambda: page.shown("#key"))
    page.one("#key-value").send_keys(KEY, Keys.ENTER)
    tiles = eventually(lambda: all_of(page, ".tile", photos))
    browser.execute_script("arguments[0].focus()", tiles[0])
    for tile in tiles:
        assert eventually(lambda: browser.switch_to.active_element) == tile, "each decision goes on to the next photo"
        label = eventually(lambda tile=tile: colour_of(page, tile))  # type: ignore[misc]
        if f", answered {label}," in str(tile.get_attribute("aria-label")):
            page.press("c")
        else:
            page.press("r")
            eventually(lambda: page.shown(".pick"))
            page.one(".pick input").send_keys(label, Keys.ENTER)
        decided = eventually(lambda tile=tile: tile.find_element(By.CSS_SELECTOR, ".decision strong").text)  # type: ignore[misc]
        assert decided == label
    assert page.one("#count").text == f"0 not reviewed, {photos} reviewed, 0 in conflict"


def all_of(page: Page, selector: str, number: int) -> list[WebElement]:
    """The elements of a selector, once there are so many."""
    elements = page.browser.find_elements(By.CSS_SELECTOR, selector)
    return elements if len(elements) == number else []


def colour_of(page: Page, tile: WebElement) -> str:
    """The colour of the picture in a tile; empty until it is there."""
    script = """const image = arguments[0].querySelector('img');
        arguments[0].scrollIntoView();
        if (!image.complete || !image.naturalWidth) return null;
        const context = new OffscreenCanvas(1, 1).getContext('2d');
        context.drawImage(image, 0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];"""
    pixel = page.browser.execute_script(script, tile)
    if not pixel:
        return ""
    return "red" if pixel[0] > pixel[2] else "blue"
