"""Exports in int8: what they lose is measured, limited and written on the card; the SavedModel stays in float32."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from testing.modelserver import Server
from trainer.errors import TrainerError
from trainer.export import precision
from trainer.export.openvino_network import NETWORK, runner
from trainer.export.precision import Limits, check_available
from trainer.export.quantization import Int8
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import Exported, export_model
from trainer.model_card import Card

pytest.importorskip("openvino", reason="OpenVINO is not installed")

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of; NNCF uses what its own dependencies deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf"),
]

IMAGES = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
ANYTHING = Limits(max_accuracy_loss=100, min_same_top1=0)

Build = Callable[..., keras.Model]
MakeCard = Callable[..., Card]


@pytest.fixture(autouse=True, scope="module")
def nncf_is_installed() -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed")  # not at collection, because it takes half a second


def int8(model: keras.Model, limits: Limits = ANYTHING) -> Int8:
    """Photos of which the model knows the truth."""
    truth = np.asarray(model(IMAGES.astype(np.float32))).argmax(axis=1)
    return Int8(IMAGES[:20], IMAGES, truth, limits)


@pytest.fixture(scope="module")
def model(small_model: Build) -> keras.Model:
    return small_model()


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, model: keras.Model, make_card: MakeCard
) -> tuple[Path, Exported]:
    directory = tmp_path_factory.mktemp("int8") / "small" / "1"
    directory.mkdir(parents=True)
    return directory, export_model(model, make_card(), directory, precision="int8", int8=int8(model))


def test_convolutions_and_products_are_computed_in_8_bits_close_to_float32(
    exported: tuple[Path, Exported], model: keras.Model
) -> None:
    directory, model_export = exported
    assert model_export.quantization is not None
    assert model_export.quantization.quantized_operations == model_export.quantization.operations == 2
    layers = ET.parse(directory / "assets.extra" / NETWORK).getroot().iter("layer")  # noqa: S314, written by us
    types = [layer.get("type") for layer in layers]
    assert types.count("FakeQuantize") >= 3
    assert types.count("Convolution") == 1  # the embedding comes from the same pass
    ours = runner(directory / "assets.extra" / NETWORK)(IMAGES)
    exact = keras.ops.convert_to_numpy(keras.ops.softmax(model(IMAGES.astype(np.float32))))
    assert ours["probabilities"] == pytest.approx(exact, abs=0.1)
    assert ours["probabilities"] != pytest.approx(exact, abs=1e-6)
    assert ours["heatmap"].shape == (200, 8, 8)


def test_what_it_loses_is_on_the_card_and_the_savedmodel_stays_in_float32(
    exported: tuple[Path, Exported], model: keras.Model
) -> None:
    directory, model_export = exported
    card = Card.from_json((directory / "assets.extra" / "card.json").read_text())
    assert card.precision == "float32"
    assert card.quantization is not None
    quantization = dict(card.quantization)
    assert (quantization["precision"], quantization["calibration_photos"], quantization["validation_photos"]) == (
        "int8",
        20,
        200,
    )
    assert quantization["float32_accuracy"] == 1.0
    assert quantization["accuracy"] == quantization["same_top1"]  # since the truth is what float32 says
    assert 0.8 <= float(str(quantization["same_top1"])) <= 1.0
    assert str(quantization["method"]).startswith("post-training quantization, NNCF ")
    assert (quantization["max_accuracy_loss"], quantization["min_same_top1"]) == (100, 0)
    assert "OpenVINO in int8: 2 of 2 operations; on 200 photos accuracy" in model_export.summary()
    written = SavedClassifier(directory)
    assert written.card == card
    exact = keras.ops.convert_to_numpy(keras.ops.softmax(model(IMAGES.astype(np.float32))))
    assert written.probabilities(IMAGES) == pytest.approx(exact, abs=1e-5)


def test_the_model_server_answers_from_the_network_in_8_bits_and_says_so(exported: tuple[Path, Exported]) -> None:
    directory, _ = exported
    server = Server(f"--model_base_path={directory.parent}", "--model_name=small", "--engine=openvino")
    try:
        answer = server.client.predict("small", "pixels", {"images": IMAGES})["probabilities"]
        expected = runner(directory / "assets.extra" / NETWORK)(IMAGES)["probabilities"]
        assert answer.astype(float) == pytest.approx(expected, abs=0.02)
        [text] = server.client.predict("small", "describe", {"request": np.zeros(1, np.int32)})["card"]
        assert json.loads(text)["quantization"]["precision"] == "int8"
        assert "model small version 1, on OpenVINO in int8" in server.output
    finally:
        server.close()


def test_an_export_beyond_the_limits_is_refused_and_says_what_was_lost(
    tmp_path: Path, model: keras.Model, make_card: MakeCard
) -> None:
    strict = int8(model, Limits(max_accuracy_loss=0.0, min_same_top1=100.0))
    with pytest.raises(TrainerError, match=r"export in int8 is refused: on 200 validation photos it loses .* points"):
        export_model(model, make_card(), tmp_path, precision="int8", int8=strict)
    assert not (tmp_path / "saved_model.pb").exists()


def test_operations_that_lose_too_much_stay_in_float32(
    tmp_path: Path, model: keras.Model, make_card: MakeCard, exported: tuple[Path, Exported]
) -> None:
    lost = exported[1].quantization
    assert lost is not None
    between = int8(model, Limits(max_accuracy_loss=100, min_same_top1=100 * lost.same_top1 + 4))
    quantization = export_model(model, make_card(), tmp_path, precision="int8", int8=between).quantization
    assert quantization is not None
    assert (quantization.quantized_operations, quantization.operations) == (1, 2)
    assert quantization.same_top1 > lost.same_top1


def test_int8_without_photos_or_without_its_packages_is_refused_before_anything_slow(
    tmp_path: Path, model: keras.Model, make_card: MakeCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="needs photos"):
        export_model(model, make_card(), tmp_path, precision="int8")
    check_available("int8")
    monkeypatch.setitem(precision.PACKAGES, "no_such_package", "no-such-package==1")
    with pytest.raises(
        TrainerError, match=r"int8 needs the Python package no_such_package: .* -m pip install 'no-such"
    ):
        check_available("int8")
