"""Runs that are stopped: the same command goes on where they were."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trainer import tiny
from tests.trainer.training.runs import TINY, weights_of
from trainer.data import record_store as records
from trainer.evaluation import tally as evaluation
from trainer.training import bottleneck_features as features
from trainer.training import checkpoints

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def test_a_run_that_was_stopped_in_every_stage_goes_on_to_the_same_weights(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", data, *TINY, "--head", "dense", "--epochs", "4", "--patience", "9", "--dropout", "0.5"]
    command += ["--fine-tune", "4", "--fine-tune-epochs", "3"]

    def stopped() -> str:
        status, _, error = trainer(*command, "--name", "colours")
        assert status == 130
        assert "run the same command again to resume" in error
        return error

    add, calls = records.RecordStore.add, iter(range(100))

    def stop_at_third_batch(*args: object) -> None:
        if args[2].dtype == np.float32 and next(calls) == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        add(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(features, "BATCH_SIZE", 8)
        patch.setattr(records.RecordStore, "add", stop_at_third_batch)
        stopped()

    save = checkpoints.Checkpoints._save
    stage = "head"

    def stop_after_second_epoch(self: checkpoints.Checkpoints) -> None:
        save(self)
        if self._stage == stage and len(self.history) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SECONDS_BETWEEN_STATES", 0.0)
        patch.setattr(checkpoints.Checkpoints, "_save", stop_after_second_epoch)
        assert "Computing features: 24/24" in stopped()  # 16 of the 40 were kept
        stage = "fine-tuning"
        assert "Fitting, head: 2/2" in stopped()
    assert not list((tmp_path / "models").rglob("saved_model.pb"))

    status, _, error = trainer(*command, "--name", "colours")
    assert status == 0, error
    assert "Fitting, head" not in error
    assert "Fitting, fine-tuning: 1/1" in error
    (run,) = (tmp_path / "runs" / "colours").iterdir()
    history = json.loads((run / "history.json").read_text())
    assert {name: len(epochs) for name, epochs in history.items()} == {"head": 4, "fine-tuning": 3}
    for kept in (tmp_path / "cache").glob("*-*"):
        if not kept.name.startswith("exportable"):
            kept.unlink()
    status, _, error = trainer(*command, "--name", "not-stopped")
    assert status == 0, error
    assert "Computing features: 40/40" in error
    for one, other in zip(
        *(weights_of(tmp_path / "models" / name / "1") for name in ("colours", "not-stopped")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_stopped_after_it_has_published_says_what_is_missing_and_how_to_get_it(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluation.Tally, "add", stop)
        status, _, error = trainer("train", data, "--name", "colours", *TINY, "--epochs", "1", "--views", "1")
    assert status == 130
    line, command = error.splitlines()[-1].split(": breed ")
    assert line == "breed-trainer train: stopped; published as colours version 1; only the report is missing"
    status, out, error = trainer(*shlex.split(command))
    assert status == 0, error
    assert "6 photos: accuracy" in out
    (run,) = (tmp_path / "runs" / "colours").iterdir()
    assert (run / "report.html").is_file()
    assert len(list((tmp_path / "models" / "colours").iterdir())) == 1
