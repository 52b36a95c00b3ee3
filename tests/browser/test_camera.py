"""The live camera. Its picture is one that the browser draws for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import httpx
import numpy as np
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from starlette.types import Receive, Scope, Send

from gateway.app import create_app
from gateway.pb import serving_pb2 as pb
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import FORK_SERVER, running_gateway
from testing.page import Page, eventually
from tests.browser.screens import Screen, everywhere

Visit = Callable[[httpx.Client], Page]

FRAMES = 5
LEAST_SECONDS = 0.3
"""From one frame to the next."""


@everywhere
def test_the_live_camera_names_what_it_sees_two_or_three_times_a_second_until_it_is_hidden(
    visit: Visit, model_server: ColourServer, screen: Screen
) -> None:
    settings = Settings(serving_target=model_server.address, default_model="colours", request_timeout_seconds=60)
    app = create_app(settings, fork_server=FORK_SERVER)
    times: list[float] = []

    async def recording_app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/predict"):
            times.append(time.monotonic())
        await app(scope, receive, send)

    with running_gateway(settings, recording_app) as client:
        page = visit(client)
        page.touch("#live")
        answer = eventually(lambda: page.one("dialog.tool .spoken small").text)
        assert "%" in answer
        eventually(lambda: len(times) > FRAMES)
        pauses = [after - before for before, after in pairwise(times)]
        assert min(pauses[:FRAMES]) >= LEAST_SECONDS
        left, top, right, bottom = page.box("dialog.tool")
        assert 0 <= left < right <= screen.width
        assert 0 <= top < bottom <= screen.height
        assert page.picture("dialog.tool video").std() > 5, "the picture is shown"
        if screen.phone:
            words_top, picture_bottom = page.browser.execute_script(WORDS_AND_PICTURE)
            assert words_top >= picture_bottom, "the words do not cover it, which is small"
        page.browser.execute_script(WATCH)
        with elsewhere(page, str(client.base_url)):
            pass
        assert page.browser.execute_script("return window.seen[0]") == [True, "ended"], "not looking while hidden"
        before = len(times)
        eventually(lambda: len(times) > before)
        page.touch("dialog.tool .primary")
        [name] = page.settled(1)
        assert name.startswith("camera-")
        assert not page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool")
        assert page.browser.execute_script("return window.light().readyState") == "ended"


@dataclass(frozen=True)
class Undecided(ColourModel):
    """Mostly sees red, in some frames perhaps green, and in each fourth rather blue."""

    asked: list[str] = field(default_factory=list)

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        answer = super().predict(name, inputs)
        if "probabilities" in answer:
            at = len(self.asked)
            scores = [0.3, 0.1, 0.6] if at % 4 == 3 else [0.7, 0.25, 0.05] if at % 3 == 2 else [0.95, 0.03, 0.02]
            self.asked.append(self.labels[int(np.argmax(scores))])
            answer["probabilities"].tensor_content = np.array(scores, "<f4").tobytes()
        return answer


def test_the_label_of_the_live_camera_is_steady(
    visit: Visit, start: Callable[..., httpx.Client], model_server: ColourServer
) -> None:
    model = Undecided(least_set_score=0.2)
    model_server.models["colours"] = {1: model}
    page = visit(start())
    model.asked.clear()  # the test images of the readiness check
    page.browser.execute_script(TITLES)
    page.click("#live")
    eventually(lambda: len(model.asked) > FRAMES_OF_AN_UNDECIDED_MODEL)
    page.press(Keys.ESCAPE)
    eventually(lambda: not page.browser.find_elements(By.CSS_SELECTOR, "dialog.tool"))
    assert "blue" in model.asked[:-1]
    assert set(page.browser.execute_script("return window.titles")) - {"Starting the camera"} == {"red"}


FRAMES_OF_AN_UNDECIDED_MODEL = 9

TITLES = """
    window.titles = [];
    new MutationObserver(() => {
        const title = document.querySelector('.spoken')?.firstChild?.textContent;
        if (title) titles.push(title);
    }).observe(document.body, {subtree: true, childList: true});
"""

WORDS_AND_PICTURE = """
    const [words, picture] = ['.spoken', 'dialog.tool video'].map((one) =>
        document.querySelector(one).getBoundingClientRect());
    return [words.top, picture.bottom];
"""

WATCH = """
    const video = document.querySelector('video'), stream = video.srcObject;
    window.light = () => video.srcObject.getTracks()[0];
    window.seen = [];
    document.addEventListener('visibilitychange', () =>
        setTimeout(() => {
            seen.push([document.hidden, stream.getTracks()[0].readyState]);
            if (document.hidden) localStorage.hidden = 'seen';
        }));
"""


@contextmanager
def elsewhere(page: Page, address: str) -> Iterator[None]:
    """Meanwhile another tab is in front. A tab that is hidden too briefly gets no event."""
    tab = page.browser.current_window_handle
    page.browser.switch_to.new_window("tab")
    page.browser.get(address)
    eventually(lambda: page.browser.execute_script("return localStorage.hidden"))
    page.browser.execute_script("delete localStorage.hidden")
    yield
    page.browser.close()
    page.browser.switch_to.window(tab)
    eventually(lambda: page.browser.execute_script("return !document.hidden && window.seen.length > 1"))
