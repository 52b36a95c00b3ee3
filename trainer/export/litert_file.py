"""LiteRT (formerly TensorFlow Lite), for Android, iOS, browsers and small computers.

The card is an associated file: the model file is also a zip archive with `card.json` and `labels.txt`, as described in
the documentation of TensorFlow Lite's metadata. `unzip model.tflite` extracts them.
"""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.export.formats import CARD_FILE, Pixels, Reference, Runner, one_by_one
from trainer.export.graph_functions import images_spec, outputs_of_images
from trainer.export.precision import Precision
from trainer.export.tf_logging import quiet
from trainer.model_card import Card

LABELS_FILE = "labels.txt"
SIGNATURE = "pixels"


def write(model: keras.Model, card: Card, path: Path, precision: Precision, reference: Reference) -> str | None:
    """Writes the file, without its card; returns how it was quantized."""
    # A batch of one: what devices compute, and every delegate takes a fixed shape.
    outputs = outputs_of_images(model, card)
    function = tf.function(
        lambda images: outputs(images), input_signature=[images_spec(card, batch=1)], autograph=False, jit_compile=False
    )
    with tempfile.TemporaryDirectory() as folder, quiet():
        tf.saved_model.save(tf.Module(), folder, signatures={SIGNATURE: function.get_concrete_function()})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        method = None
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
            method = f"weights in float16, TensorFlow {tf.__version__}"
        elif precision == "int8":
            calibration = reference.calibration
            assert calibration is not None

            def photos() -> Iterator[list[Pixels]]:
                for photo in calibration:
                    yield [photo[np.newaxis]]

            converter.representative_dataset = photos
            # What has no 8-bit form, such as the conversion of the pixels, stays in float32.
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                tf.lite.OpsSet.TFLITE_BUILTINS,
            ]
            method = f"post-training quantization with {len(calibration)} photos, TensorFlow {tf.__version__}"
        path.write_bytes(converter.convert())
    return method


def runner(path: Path) -> Runner:
    """Loads a file into LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        run_one = Interpreter(model_path=str(path)).get_signature_runner(SIGNATURE)
    return one_by_one(lambda images: run_one(images=images))


def add_card(path: Path, text: str) -> None:
    """Adds the card and the labels to a file, which then is an archive as well."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CARD_FILE, text)
        archive.writestr(LABELS_FILE, "".join(f"{label}\n" for label in Card.from_json(text).labels))


def read_card(path: Path) -> str:
    """Returns the card in a file."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(CARD_FILE).decode()
