"""From wrong answers to a better version in production, while a caller sees no failed request."""

from __future__ import annotations

import io
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

from testing.gateway import gateway_process
from testing.modelserver import Server
from testing.polling import DEADLINE_SECONDS, until
from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder, picture

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.slow,
]

BLUE = (30, 30, 230)
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
    """Sends photos of known colours all the time."""

    def __init__(self, url: str) -> None:
        self.answered: list[int] = []
        self.failed: list[str] = []
        self._url, self._stop = url, threading.Event()

    def _send(self) -> None:
        with httpx.Client(base_url=self._url, timeout=DEADLINE_SECONDS) as client:
            seed = 10_000
            while not self._stop.is_set():
                seed += 1
                answer = client.post("/api/v1/models/colours/predict", content=encoded((230, 30, 30), seed))
                if answer.status_code == 200:
                    self.answered.append(answer.json()["model"]["version"])
                else:
                    self.failed.append(answer.text)

    @contextmanager
    def sending(self) -> Iterator[Caller]:
        thread = threading.Thread(target=self._send)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], tuple[str, httpx.Client]]]:
    """Starts a model server that polls its configuration, and a gateway that keeps all photos."""
    with ExitStack() as stack:

        def start() -> tuple[str, httpx.Client]:
            config = tmp_path / "models" / "models.config"
            config.write_text(CONFIG.format(path=tmp_path / "models" / "colours"))
            server = Server(
                *(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"),
                "--allow_version_labels_for_unavailable_models=true",
            )
            stack.callback(server.close)
            address = server.address
            settings = {
                "PREDICTION_LOG": str(tmp_path / "log"), "PREDICTION_LOG_PHOTOS": "all",
                "PREDICTION_LOG_SEGMENT_SECONDS": "1", "TRAFFIC_SPLIT_FILE": str(tmp_path / "split.json"),
            }  # fmt: skip
            client, _ = stack.enter_context(gateway_process(address, None, **settings))
            return address, client

        yield start


def version_that_answers(gateway: httpx.Client) -> int:
    answer = gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 1))
    assert answer.status_code == 200, answer.text
    version: int = answer.json()["model"]["version"]
    return version


def test_a_new_class_is_learned_from_corrections_and_rolled_out(
    trainer: Callable[..., tuple[int, str, str]],
    data: Path,
    tmp_path: Path,
    write_photos: WriteFolder,
    serve: Callable[[], tuple[str, httpx.Client]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny.add(monkeypatch)
    weights = tmp_path / "tiny.weights.h5"
    keras.utils.set_random_seed(3)
    tiny.build(False, (32, 32, 3), None).save_weights(weights)
    train = ["train", data, "--name", "colours", *tiny.OPTIONS, "--weights", weights, "--force"]
    status, _, error = trainer(*train)
    assert status == 0, error
    address, gateway = serve()
    models, log = tmp_path / "models", tmp_path / "log"
    places = ["--models-dir", models, "--server", address]
    status, _, error = trainer("promote", "colours", "1", *places)
    assert status == 0, error

    (tmp_path / "split.json").write_text('{"colours": {"stable": 1}}')
    until(lambda: version_that_answers(gateway) == 1, "all traffic goes to `stable`")

    # Photos of another colour arrive, and people say what they are.
    for seed in range(20):
        answer = gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 5000 + seed))
        assert answer.status_code == 200, answer.text
        said = {"request_id": answer.headers["x-request-id"], "verdict": "wrong", "label": "blue"}
        assert gateway.post("/api/v1/feedback", json=said).json() == {"status": "recorded", "new_label": True}
    until(lambda: "20 photos of 1 labels" in trainer("collect", log, tmp_path / "corrected")[1], "they are collected")

    status, out, error = trainer(*train, "--add", tmp_path / "corrected")
    assert status == 0, error
    assert "new classes: blue" in out
    tested = write_photos(tmp_path / "tested", {"red": 10, "green": 10}, first=800)
    (tested / "blue").mkdir()
    for seed in range(10):
        (tested / "blue" / f"{seed}.png").write_bytes(encoded(BLUE, 7000 + seed))
    compare = ["compare", "colours/1", "colours/2", tested, "--models-dir", models, "--seconds", "0"]
    status, out, error = trainer(*compare, "--output", tmp_path / "comparison")
    assert status == 0, error
    found = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    blue = next(one for one in found["classes"] if one["name"] == "blue")
    assert blue["b"] >= 0.8
    assert found["accuracy_on_common_classes"]["mcnemar_p"] > 0.05

    (tmp_path / "gate.toml").write_text(
        'photos = "tested"\nmin_photos = 20\nmax_accuracy_loss = 0.4\nmin_accuracy = 0.8\nagainst = "stable"\n'
    )
    status, out, error = trainer("promote", "colours", "2", "canary", "--gate", tmp_path / "gate.toml", *places)
    assert status == 0, error
    assert "compared with version 1, meets all conditions" in out
    with Caller(str(gateway.base_url)).sending() as caller:
        status, out, error = trainer(
            *("rollout", "colours", "2", "--steps", "50,100", "--answers", "15", "--seconds", "0"),
            *("--split", tmp_path / "split.json", "--metrics", gateway.base_url, *places),
        )
        assert status == 0, error
        until(lambda: set(caller.answered[-50:]) == {2}, "the new version answers everything")
    assert caller.failed == []
    assert set(caller.answered) == {1, 2}
    answers = [gateway.post("/api/v1/predict_breed", content=encoded(BLUE, 9000 + seed)).json() for seed in range(10)]
    # The best label: with so few photos of three colours, many are also called unknown.
    assert sum(answer["predictions"][0]["label"] == "blue" for answer in answers) >= 8
