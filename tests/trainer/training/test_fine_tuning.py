"""Fine-tuning: what is published, and what is taken back."""

import re
from collections.abc import Callable
from pathlib import Path

import keras
import pytest

from tests.trainer import tiny
from tests.trainer.conftest import WriteFolder
from tests.trainer.training.runs import TINY, card_of

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


def test_the_last_layers_are_fine_tuned_to_a_sigmoid_in_mixed_precision_and_exported_in_float32(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
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
    version = tmp_path / "models" / "colours" / "1"
    status, out, error = trainer("evaluate", version, data / "valid", "--output", tmp_path / "evaluation")
    assert status == 0, error
    measured = re.match(r"32 photos: accuracy ([\d.]+)", out)
    assert measured, out
    assert float(measured[1]) >= 0.75  # a ruined network gets one in four right
