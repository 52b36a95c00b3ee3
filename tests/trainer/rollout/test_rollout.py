"""Rollouts with real gateways in front of a real gRPC model server, while callers send photos."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
from tests.trainer.rollout.callers import Callers, url
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.rollout import rollout
from trainer.rollout.metrics import SHARE, Gateways, Sample, Source
from trainer.rollout.rollout import Plan, RolledBack, Rollout
from trainer.rollout.split_file import read_split, write_split


@dataclass(frozen=True)
class Failing(ColourModel):
    """Fails half of the calls."""

    calls: Iterator[int] = field(default_factory=itertools.count)

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name == "pixels" and next(self.calls) % 2:
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
    ("model", "wrong", "message"),
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
    message: str,
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
        pytest.raises(RolledBack, match=rf"^colours version 2 is back at 0 % of the traffic after .*{message}"),
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
            "request_timeout_seconds": 60,
        }
    )
    with running_gateway(settings) as gateway:
        for _ in range(rollout.STABLE_ANSWERS):
            gateway.post("/api/v1/predict_breed?version=1", content=photo())
        run = Run(tmp_path, Gateways([url(gateway)]))
        errors: list[BaseException] = []

        def watch() -> None:
            try:
                run()
            except RolledBack as error:
                errors.append(error)

        thread = threading.Thread(target=watch)
        thread.start()
        until(lambda: run.records, "the first step is taken")
    thread.join()
    assert "the rollout cannot be watched: no metrics from http" in str(errors[0])
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


class Quiet:
    """Metrics of a gateway that uses the split and has no callers."""

    def read(self, model: str) -> list[Sample]:
        return [Sample("gateway", SHARE, (("model", model), ("target", "stable")), 1.0)]


class Deaf:
    """Metrics of a gateway that has callers and does not use the split: each reading has more answers."""

    def __init__(self) -> None:
        self._answers = 0.0

    def read(self, model: str) -> list[Sample]:
        self._answers += rollout.STABLE_ANSWERS
        answered = (("model", model), ("status", "200"), ("version", "1"))
        return [
            Sample("gateway", SHARE, (("model", model), ("target", "stable")), 0.9),
            Sample("gateway", "gateway_requests_total", answered, self._answers),
        ]


def test_a_rollout_with_answers_enough_does_not_say_that_they_are_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout, "EFFECT_SECONDS", 1.0)
    monkeypatch.setattr(rollout, "BLIND_SECONDS", 0.5)
    run = Run(tmp_path, Deaf(), first_answers_seconds=0.3)
    with pytest.raises(RolledBack, match=r"the gateways do not use .*split\.json"):
        run()
    assert not run.finished


def test_a_rollout_without_callers_ends_with_what_is_missing_instead_of_waiting_on(tmp_path: Path) -> None:
    run = Run(tmp_path, Quiet(), first_answers_seconds=0.3)
    with pytest.raises(TrainerError, match=r"version 1 of colours gave 0 of 100 answers in 0\.3 s.*--metrics") as ended:
        run()
    assert not isinstance(ended.value, RolledBack)
    assert (run.finished, run.records) == (False, [])
    assert read_split(run.split) == {"colours": {"stable": 100}}
