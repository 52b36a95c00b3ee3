"""OpenVINO's own format: `model.xml` and `model.bin`. The card is beside them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from trainer.errors import TrainerError
from trainer.export import openvino_network
from trainer.export.formats import CARD_FILE, Reference, Runner
from trainer.export.graph_functions import outputs_of_images
from trainer.export.precision import Precision
from trainer.export.quantization import Int8, quantize_network
from trainer.export.tf_logging import quiet
from trainer.model_card import Card


def write(model: keras.Model, card: Card, path: Path, precision: Precision, reference: Reference) -> str | None:
    """Writes the files, without the card; returns how they were quantized."""
    method = None
    with TemporaryDirectory() as folder:
        network = Path(folder) / openvino_network.NETWORK
        with quiet():
            reason = openvino_network.write_network(outputs_of_images(model, card), Path(folder))
        if reason is not None:
            raise TrainerError(f"OpenVINO cannot convert this network: {reason}")
        if precision == "int8":
            assert reference.calibration is not None
            assert reference.truth is not None
            int8 = Int8(reference.calibration, reference.photos, reference.truth, reference.limits)
            method = quantize_network(Path(folder), int8, len(card.labels)).method
        for suffix in (".xml", ".bin"):
            path.with_suffix(suffix).write_bytes(network.with_suffix(suffix).read_bytes())
    return method


def runner(path: Path) -> Runner:
    """Loads a network into OpenVINO."""
    return openvino_network.runner(path)


def add_card(path: Path, text: str) -> None:
    """Writes the card beside the network."""
    path.with_name(CARD_FILE).write_text(text, encoding="utf-8")


def read_card(path: Path) -> str:
    """Returns the card beside the network."""
    return path.with_name(CARD_FILE).read_text(encoding="utf-8")
