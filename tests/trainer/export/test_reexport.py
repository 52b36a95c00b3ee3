"""A version that is exported again in another precision."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer import tiny
from tests.trainer.training.runs import TINY, card_of

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.add(monkeypatch)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf")
def test_a_model_is_trained_in_int8_and_exported_again_in_another_precision(
    trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    pytest.importorskip("nncf", reason="NNCF is not installed")
    loose = ("--precision", "int8", "--max-accuracy-loss", "100", "--min-same-top1", "0")
    status, out, error = trainer("train", data, "--name", "colours", *TINY, "--epochs", "1", "--views", "1", *loose)
    assert status == 0, error
    assert "OpenVINO in int8: " in out
    model = tmp_path / "models" / "colours"
    quantization = card_of(model / "1").quantization
    assert quantization is not None
    assert (quantization["calibration_photos"], quantization["validation_photos"]) == (20, 6)

    status, _, error = trainer("export", model, "--precision", "int8")
    assert status == 1
    assert "int8 needs photos that the model knows, to quantize with and to measure on: give DATA; breed" in error
    places = ("--models-dir", model.parent, "--cache-dir", tmp_path / "cache")
    status, out, error = trainer("export", model, *places)
    assert status == 0, error
    assert f"{model / '1'} is published as colours version 2: {model / '2'}" in out
    again = card_of(model / "2")
    assert again.quantization is None
    assert (again.labels, again.metrics) == (card_of(model / "1").labels, card_of(model / "1").metrics)
    assert (model / "2" / "assets.extra" / "config.toml").is_file()
    status, out, error = trainer("export", model / "2", data, *places, *loose)
    assert status == 0, error
    assert card_of(model / "3").quantization == quantization
