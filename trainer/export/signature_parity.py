"""Compare the signatures, the network for OpenVINO and the written file with the Keras model."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.export import openvino_network, parity, signatures
from trainer.export.keras_runner import as_traced, batched, in_batches
from trainer.export.saved_classifier import SavedClassifier
from trainer.model_card import Card

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def answers(endpoints: Mapping[str, tf.types.experimental.GenericFunction], pixels: Pixels) -> dict[str, Floats]:
    """Runs every signature that takes pixels.

    One function calls all of them, so TensorFlow optimises a single graph and computes common parts once.

    Returns:
        The outputs by the names of signature and output, such as `explain heatmap`.
    """
    spec = endpoints["pixels"].input_signature[0]
    called = {name: one for name, one in endpoints.items() if one.input_signature[0] == spec}

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {f"{name} {output}": value for name, one in called.items() for output, value in one(images).items()}

    together = tf.function(run, input_signature=[spec], autograph=False, jit_compile=False)
    return in_batches(lambda images: {name: one.numpy() for name, one in together(tf.constant(images)).items()}, pixels)


def best_of_encoded(
    serving_default: tf.types.experimental.GenericFunction, photos: Sequence[bytes], card: Card
) -> list[dict[int, float] | None]:
    """Returns the scores of the best labels of each photo by index; None if TensorFlow cannot decode the photo."""
    index = {label.encode(): number for number, label in enumerate(card.labels)}
    # Called by a function that is forgotten afterwards, with the memory that TensorFlow uses to run it.
    run = tf.function(lambda photos: serving_default(photos), serving_default.input_signature, autograph=False)

    def answer(photo: bytes) -> dict[int, float] | None:
        try:
            outputs = run(tf.constant([photo]))
        except tf.errors.InvalidArgumentError:
            return None
        best = zip(outputs["classes"][0].numpy(), outputs["scores"][0].numpy(), strict=True)
        return {index[label]: float(score) for label, score in best}

    with as_traced():  # so only the traced graph of `serving_default` is checked here
        return [answer(photo) for photo in photos]


def with_openvino(
    differences: parity.Parity,
    expected: Floats,
    exact: Mapping[str, Floats],
    extra: Path,
    pixels: Pixels,
    labels: int,
) -> parity.Parity:
    """Compares the network for OpenVINO with Keras (probabilities) and the SavedModel (heat maps and embeddings).

    Args:
        differences: Those of the other exports, to which those of the network are added.
        expected: Probabilities by Keras.
        exact: Result of `answers` for signatures in float32.
        extra: The folder `assets.extra`.
        pixels: The photos.
        labels: Number of labels.
    """
    network = openvino_network.runner(extra / openvino_network.NETWORK)
    outputs = in_batches(network, pixels)
    heatmaps, embeddings = exact["explain heatmap"], exact[f"embed {signatures.EMBEDDING}"]
    probabilities = float(np.abs(expected - outputs["probabilities"]).max())
    parity.check(probabilities, "the network for OpenVINO")
    # Where two labels are as likely as each other, a heat map may be that of either.
    best = np.sort(outputs["probabilities"][:, :labels], axis=1)
    clear = best[:, -1] - best[:, -2] > parity.LIMIT if labels > 1 else np.ones(len(pixels), bool)
    heatmap = float(np.abs(heatmaps - outputs["heatmap"])[clear].max(initial=0.0))
    parity.check(heatmap, "the heat map of the network for OpenVINO")
    apart = float(np.abs(embeddings - outputs[signatures.EMBEDDING]).max())
    parity.check(apart, "the embedding of the network for OpenVINO")
    return dataclasses.replace(differences, openvino=probabilities, openvino_heatmap=heatmap)


def check_written(directory: Path, card: Card, expected: Floats, pixels: Pixels) -> SavedClassifier:
    """Reads a SavedModel back, and compares its probabilities and card with those of the export.

    Raises:
        TrainerError: It answers something else, or its card is another.
    """
    written = SavedClassifier(directory)
    probabilities = batched(written.probabilities)(pixels)
    parity.check(float(np.abs(probabilities - expected).max()), "`pixels` of the file written")
    if written.card != Card.from_json(card.to_json()):
        raise TrainerError("the export is refused: the model card in the SavedModel is not the one that was written")
    return written
