"""ONNX, which ONNX Runtime and many others run. The card is in the metadata of the model."""

from pathlib import Path

import keras
import onnx
import onnxruntime
import tf2onnx

from trainer.export.formats import Reference, Runner, one_by_one
from trainer.export.graph_functions import images_spec, outputs_of_images
from trainer.export.precision import Precision
from trainer.export.tf_logging import quiet
from trainer.model_card import Card

OPSET = 17
"""Version of the operators; ONNX Runtime runs it since 1.12 (2022)."""

CARD, LABELS = "card", "labels"


def write(model: keras.Model, card: Card, path: Path, precision: Precision, reference: Reference) -> None:  # noqa: ARG001
    """Writes the file, without its card."""
    with quiet():
        tf2onnx.convert.from_function(
            outputs_of_images(model, card), input_signature=[images_spec(card)], opset=OPSET, output_path=str(path)
        )


def runner(path: Path) -> Runner:
    """Loads a file into ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]

    return one_by_one(lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True)))


def add_card(path: Path, text: str) -> None:
    """Puts the card, as JSON, into the metadata of a file; the labels stand there alone as well, one a line."""
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {CARD: text, LABELS: "\n".join(Card.from_json(text).labels)})
    onnx.save(model, str(path))


def read_card(path: Path) -> str:
    """Returns the card in a file."""
    [text] = [one.value for one in onnx.load(str(path)).metadata_props if one.key == CARD]
    return str(text)
