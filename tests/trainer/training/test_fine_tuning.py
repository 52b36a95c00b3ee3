"""Fine-tuning: what is published, and what is taken back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder
from tests.trainer.training.runs import TINY, card_of
from trainer.config import make
from trainer.training import fit, stages
from trainer.training.checkpoints import Epoch

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def test_the_last_layers_are_fine_tuned_to_a_sigmoid_in_mixed_precision_and_exported_in_float32(
    trainer: Trainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_in: list[str] = []

    def watched(model: keras.Model, *rest: Any, **more: Any) -> list[Epoch]:
        computed_in.append(model.compute_dtype)
        return fit.fit(model, *rest, **more)

    monkeypatch.setattr(stages, "fit", watched)
    status, _, error = trainer(
        "train", data, "--name", "colours", "--recipe", "cats-dogs", *TINY, "--pooling", "avg", "--hidden", "8",
        "--fine-tune-epochs", "2", "--views", "2", "--training-precision", "mixed_float16",
    )  # fmt: skip
    assert status == 0, error
    version = tmp_path / "models" / "colours" / "1"
    assert card_of(version).labels == ("red", "green")
    model = keras.models.load_model(version / "assets.extra" / "model.keras", compile=False)
    assert model.output_shape == (None, 1)
    assert getattr(model, "optimizer", None) is None
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert computed_in == ["float16"]


@pytest.mark.parametrize(
    ("wanted", "devices", "precision"),
    [
        ("auto", 0, "float32"),
        ("auto", 1, "mixed_float16"),
        ("float32", 1, "float32"),
        ("mixed_float16", 0, "mixed_float16"),
    ],
)
def test_half_precision_is_for_gpus_and_where_it_is_asked_for(
    wanted: str, devices: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda _: ["GPU"] * devices)
    assert stages.training_precision(wanted) == precision


@pytest.mark.parametrize(("schedule", "rates"), [("cosine", [1e-3, 5e-4, 0]), ("constant", [1e-3, 1e-3, 1e-3])])
def test_the_learning_rate_falls_along_a_cosine_unless_it_is_constant(schedule: str, rates: list[float]) -> None:
    optimizer = fit._optimizer(make({"data": "x", "name": "x", "schedule": schedule}), 1e-3, 10)
    actual = []
    for step in (0, 5, 10):
        optimizer.iterations.assign(step)
        actual.append(float(optimizer.learning_rate))
    assert actual == pytest.approx(rates, abs=1e-9)


def test_fine_tuning_that_ruins_the_model_is_taken_back(
    trainer: Trainer, write_photos: WriteFolder, tmp_path: Path
) -> None:
    colours = ("red", "green", "blue", "yellow")  # more than a ruined network gets right by chance
    data = write_photos(tmp_path / "photos" / "train", dict.fromkeys(colours, 10)).parent
    write_photos(data / "valid", dict.fromkeys(colours, 8), first=100)
    tuning = ["--fine-tune", "4", "--fine-tune-epochs", "2", "--fine-tune-learning-rate", "9"]
    head = ["--epochs", "10", "--views", "1", "--learning-rate", "0.05"]
    status, out, error = trainer("train", data, "--name", "colours", *TINY, *head, *tuning)
    assert status == 0, error
    assert "fine-tuning did not improve" in out
    # The card has the figures of the model from before; those of the evaluation are of the version that is published.
    figures = card_of(tmp_path / "models" / "colours" / "1").metrics["validation"]
    (run,) = (tmp_path / "runs" / "colours").iterdir()
    evaluated = json.loads((run / "evaluation.json").read_text())
    assert evaluated["accuracy"] > 0.75  # a ruined network gets one in four right
    for name in ("accuracy", "expected_calibration_error"):
        assert evaluated[name] == pytest.approx(figures[name], abs=1e-3)
