"""Rollouts with real gateways in front of a real gRPC model server, while callers send photos."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import numpy as np
import pytest

from gateway.pb import serving_pb2 as pb
from gateway.settings import Settings
from gateway.tensors.wire import number_array
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until
from testing.tensors import number_tensor
from tests.trainer.registry.drafts import put
from tests.trainer.registry.test_promote import PollingServer, config, labels, server
from trainer.cli import main
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.rollout import rollout
from trainer.rollout.command import read_disagreement
from trainer.rollout.metrics import Gateways, Increases, Prometheus, Sample, Source
from trainer.rollout.rollout import Plan, RolledBack, Rollout
from trainer.rollout.split_file import read_split, write_split

__all__ = ["config", "server"]

CANARY = {"stable": 1, "canary": 2}


@dataclass(frozen=True)
class Failing(ColourModel):
    """Fails half of the calls."""

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name == "pixels" and time.monotonic_ns() // 1000 % 2:
            raise RuntimeError("out of memory")
        return super().predict(name, inputs)


@dataclass(frozen=True)
class Mistaken(ColourModel):
    """Takes the first colour for the last."""

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        outputs = super().predict(name, inputs)
        if name == "pixels":
            scores = number_array(outputs["probabilities"], max_elements=10**6)
            outputs["probabilities"] = number_tensor(np.ascontiguousarray(scores[:, ::-1], np.float32))
        return outputs


class Callers:
    """Callers who send photos one after the other, and say whether an answer was right."""

    def __init__(self, client: httpx.Client, wrong_version: int | None) -> None:
        self._client, self._wrong_version = client, wrong_version
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(3)]
        self.failed = 0

    def _send(self) -> None:
        with httpx.Client(base_url=self._client.base_url, timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post("/api/v1/predict_breed", content=photo("red"))
                if answer.status_code != 200:
                    self.failed += 1
                elif self._wrong_version is not None:
                    version = answer.json()["model"]["version"]
                    said: dict[str, object] = {"request_id": answer.headers["x-request-id"], "version": version}
                    wrong = version == self._wrong_version
                    said |= {"verdict": "wrong", "label": "green"} if wrong else {"verdict": "right"}
                    client.post("/api/v1/feedback", json=said)

    @contextmanager
    def sending(self) -> Iterator[Callers]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


@pytest.fixture
def model_server() -> Iterator[ColourServer]:
    """Version 1 is stable and version 2 the canary."""
    served = ColourServer(models={"colours": {1: ColourModel(), 2: ColourModel()}})
    served.labels |= {("colours", label): version for label, version in CANARY.items()}
    with served.serving():
        yield served


@pytest.fixture
def start(model_server: ColourServer, tmp_path: Path) -> Iterator[Callable[..., httpx.Client]]:
    with ExitStack() as stack:

        def start_gateway(**settings: object) -> httpx.Client:
            values: dict[str, object] = {
                "serving_target": model_server.address,
                "default_model": "colours",
                "model_refresh_seconds": 0.05,
                "request_timeout_seconds": 60,
                "traffic_split_file": tmp_path / "split.json",
                "prediction_log": str(tmp_path / "log"),
            }
            return stack.enter_context(running_gateway(Settings.model_validate(values | settings)))

        yield start_gateway


class Run:
    """A rollout of version 2, and what was recorded."""

    def __init__(self, tmp_path: Path, source: Source, **plan: object) -> None:
        self.records: list[dict[str, JSON]] = []
        self.finished = False
        values: dict[str, object] = {"steps": (20, 50, 100), "answers": 20, "seconds": 0}
        self.split = tmp_path / "split.json"
        self._rollout = Rollout(
            Plan("colours", 1, 2, self.split, **(values | plan)),  # type: ignore[arg-type]
            source,
            lambda: None,
            self._finish,
            self.records.append,
            poll_seconds=0.05,
        )

    def _finish(self) -> None:
        self.finished = True

    def __call__(self) -> None:
        self._rollout.run()


def url(client: httpx.Client) -> str:
    return str(client.base_url)


def test_a_version_that_is_as_good_takes_every_step_and_no_request_fails(
    start: Callable[..., httpx.Client], tmp_path: Path
) -> None:
    gateways = [start(), start()]
    write_split(tmp_path / "split.json", "others", {"beta": 1})
    run = Run(tmp_path, Gateways([url(gateway) for gateway in gateways]))
    with Callers(gateways[0], None).sending() as one, Callers(gateways[1], None).sending() as other:
        run()
    assert (one.failed, other.failed) == (0, 0)
    assert run.finished
    assert [(one["share"], one["outcome"]) for one in run.records] == [(20, "step"), (50, "step"), (100, "completed")]
    assert read_split(run.split) == {"colours": {"stable": 100}, "others": {"beta": 1}}


def test_what_fails_after_the_last_step_takes_nothing_back(
    start: Callable[..., httpx.Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = start()
    run = Run(tmp_path, Gateways([url(gateway)]), steps=(100,))

    def refuse(_: dict[str, JSON]) -> None:
        raise TrainerError("no space left")

    monkeypatch.setattr(run._rollout, "_record", refuse)
    with Callers(gateway, None).sending(), pytest.raises(TrainerError, match=r"^no space left$"):
        run()
    assert run.finished


@pytest.mark.parametrize(
    ("model", "wrong", "said"),
    [
        (Failing(), None, r"errors: requests that failed"),
        (ColourModel(threshold=0.9999), None, r"unknown: photos that are unknown: \d+ of \d+ \(100\.0%\)"),
        (ColourModel(), 2, r"feedback: answers that people called wrong: \d+ of \d+ \(100\.0%\) of the new version"),
        (Mistaken(), None, r"disagreement: shadowed photos .* at most 1\.0% were expected"),
    ],
    ids=["errors", "unknown", "feedback", "disagreement"],
)
def test_a_version_that_is_worse_is_back_at_zero(
    model: ColourModel,
    wrong: int | None,
    said: str,
    model_server: ColourServer,
    start: Callable[..., httpx.Client],
    tmp_path: Path,
) -> None:
    model_server.models["colours"][2] = model
    shadow = {"colours": {"percent": 100, "version_label": "canary"}} if isinstance(model, Mistaken) else {}
    gateway = start(shadows=shadow)
    steps = (1, 100) if shadow else (30, 100)
    run = Run(tmp_path, Gateways([url(gateway)]), steps=steps, answers=5000, expected_disagreement=0.0)
    with (
        Callers(gateway, wrong).sending(),
        pytest.raises(RolledBack, match=rf"^colours version 2 is back at 0 % of the traffic after .*{said}"),
    ):
        run()
    assert not run.finished
    assert read_split(run.split) == {"colours": {"stable": 100}}
    last = run.records[-1]
    assert (last["share"], last["outcome"], last["from"]) == (0, "rolled back", steps[0])
    assert isinstance(last["seconds_to_zero"], float)
    answers = {gateway.post("/api/v1/predict_breed", content=photo()).json()["model"]["version"] for _ in range(5)}
    assert answers == {1}


class Interrupted:
    """Metrics of which a person has seen enough once something is recorded."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.records: list[dict[str, JSON]] = []

    def read(self, model: str) -> list[Sample]:
        if self.records:
            raise KeyboardInterrupt
        return self._source.read(model)


def test_a_rollout_that_is_stopped_by_hand_goes_back_to_zero(
    start: Callable[..., httpx.Client], tmp_path: Path
) -> None:
    gateway = start()
    for _ in range(rollout.STABLE_ANSWERS):
        gateway.post("/api/v1/predict_breed?version=1", content=photo())
    source = Interrupted(Gateways([url(gateway)]))
    run = Run(tmp_path, source)
    source.records = run.records
    with pytest.raises(KeyboardInterrupt) as stopped:
        run()
    assert read_split(run.split) == {"colours": {"stable": 100}}
    assert run.records[-1]["reason"] == "stopped by hand"
    assert "version 2 is back at 0 % of the traffic" in stopped.value.__notes__[0]


def test_a_rollout_that_nobody_can_watch_goes_back_to_zero(
    model_server: ColourServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "BLIND_SECONDS", 1.0)
    settings = Settings.model_validate(
        {
            "serving_target": model_server.address,
            "default_model": "colours",
            "traffic_split_file": tmp_path / "split.json",
        }
    )
    with running_gateway(settings) as gateway:
        for _ in range(rollout.STABLE_ANSWERS):
            gateway.post("/api/v1/predict_breed?version=1", content=photo())
        run = Run(tmp_path, Gateways([url(gateway)]))
        found: list[BaseException] = []

        def watch() -> None:
            try:
                run()
            except RolledBack as error:
                found.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        until(lambda: run.records, "the first step is taken")
    thread.join()
    assert "the rollout cannot be watched: no metrics from http" in str(found[0])
    assert read_split(run.split) == {"colours": {"stable": 100}}


def test_gateways_that_do_not_use_the_file_are_noticed_before_anything_is_rolled_out(
    start: Callable[..., httpx.Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "EFFECT_SECONDS", 0.5)
    monkeypatch.setattr(rollout, "BLIND_SECONDS", 0.5)
    gateway = start(traffic_split_file=None, traffic_split={"colours": {"stable": 90, "canary": 10}})
    run = Run(tmp_path, Gateways([url(gateway)]))
    with pytest.raises(RolledBack, match=r"do not use .*split.json: .* is 90\.0% instead of 100\.0%"):
        run()
    assert [one["outcome"] for one in run.records] == ["rolled back"]


def test_a_prometheus_is_asked_for_the_metrics_of_all_gateways() -> None:
    asked: list[str] = []
    result = {
        "metric": {"__name__": "gateway_requests_total", "model": "dogs", "version": "2", "status": "200", "pod": "a"},
        "value": [1767225600.0, "42"],
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(parse_qs(urlparse(self.path).query)["query"][0])
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [result]}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as prometheus:
        thread = threading.Thread(target=prometheus.serve_forever)
        thread.start()
        [sample] = Prometheus(f"http://127.0.0.1:{prometheus.server_port}/").read("dogs")
        prometheus.shutdown()
        thread.join()
    assert (sample.name, sample.value, sample.by_label["pod"]) == ("gateway_requests_total", 42.0, "a")
    assert asked[0].endswith('gateway_traffic_share",model="dogs"}')


def test_counters_go_on_after_a_gateway_was_restarted_or_missed_once() -> None:
    increases = Increases()

    def added(*values: tuple[str, float]) -> list[float]:
        return [one.value for one in increases.of([Sample(name, "c", (), value) for name, value in values])]

    assert added(("a", 5), ("b", 7)) == [5, 7]
    assert added(("a", 8), ("b", 7)) == [3]
    assert added(("a", 2), ("b", 9)) == [2, 2]


def test_the_expected_disagreement_comes_from_a_comparison_of_the_same_versions(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    found = {"a": {"path": "models/dogs/4"}, "b": {"path": "models/dogs/5"}, "disagreement": {"interval": [0.01, 0.04]}}
    file.write_text(json.dumps(found))
    assert read_disagreement(file, 4, 5) == 0.04
    with pytest.raises(TrainerError, match="compares versions 4 and 5, not 4 and 6"):
        read_disagreement(file, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("5",), "has no label 'stable' of dogs"),
        (("5", "--steps", "5,1"), "expected ascending percentages"),
        (("x",), "is not a version"),
        (("5", "--comparison", "none.json"), "is not a comparison.json"),
    ],
)
def test_a_mistake_is_answered_before_anything_changes(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.config"
    if "none.json" in arguments:
        config.write_text(
            'model_config_list { config { name: "dogs" base_path: "/models/dogs" model_platform: "tensorflow" '
            'version_labels { key: "stable" value: 4 } } }'
        )
    command = ["rollout", "dogs", *arguments, "--split", str(tmp_path / "split.json"), "--config", str(config)]
    with pytest.raises(SystemExit) if "--steps" in arguments else nullcontext():
        assert main(command) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "split.json").exists()


def test_the_command_moves_the_labels_of_the_model_server(
    start: Callable[..., httpx.Client],
    config: Path,
    server: tuple[PollingServer, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        put(tmp_path / "models", "colours")
    places = ["--models-dir", str(tmp_path / "models"), "--config", str(config), "--server", server[1]]
    assert main(["promote", "colours", "1", *places]) == 0
    gateway = start()
    steps = ["--steps", "40,100", "--answers", "5", "--seconds", "0", "--split", str(tmp_path / "split.json")]
    with Callers(gateway, None).sending():
        status = main(["rollout", "colours", "2", *steps, "--metrics", url(gateway), *places])
    assert status == 0, capsys.readouterr().err
    assert labels(config, "colours") == {"stable": 2, "stable-previous": 1, "canary": 2}
    records = [json.loads(line) for line in (config.parent / "models.history.jsonl").read_text().splitlines()]
    assert [(one["event"], one.get("share")) for one in records] == [
        ("promote", None), ("rollout", 40), ("rollout", 100),
    ]  # fmt: skip
    assert records[-1]["evidence"]["errors"]["answers"] >= 5
