"""The signatures, the network for OpenVINO and the file written, held to what the Keras model computes."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.export import openvino_network, parity, signatures
from trainer.export.keras_runner import batched, in_batches
from trainer.export.saved_classifier import SavedClassifier
from trainer.model_card import Card

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def runners_of(
    endpoints: dict[str, tf.types.experimental.GenericFunction],
    card: Card,
    expected: Callable[[Pixels], Floats],
    h5: Callable[[Pixels], Floats] | None,
) -> parity.Runners:
    """Returns what `parity.measure` compares: `pixels` and `serving_default` beside functions of Keras and of HDF5."""
    index = {label.encode(): number for number, label in enumerate(card.labels)}

    def serving_default(photo: bytes) -> dict[int, float] | None:
        try:
            found = endpoints["serving_default"](image_bytes=tf.constant([photo]))
        except tf.errors.InvalidArgumentError:
            return None
        best = zip(found["classes"][0].numpy(), found["scores"][0].numpy(), strict=True)
        return {index[label]: float(score) for label, score in best}

    pixels = batched(_output_of(endpoints["pixels"], "probabilities"))
    return parity.Runners(expected, pixels, h5, serving_default)


def with_openvino(
    found: parity.Parity,
    expected: Floats,
    exact: Mapping[str, tf.types.experimental.GenericFunction],
    extra: Path,
    pixels: Pixels,
    labels: int,
) -> parity.Parity:
    """Holds the network for OpenVINO to Keras's probabilities, and to heat maps and embeddings of the SavedModel."""
    network = openvino_network.runner(extra / openvino_network.NETWORK)
    ours = in_batches(network, pixels)
    heatmaps = batched(_output_of(exact["explain"], "heatmap"))(pixels)
    embeddings = batched(_output_of(exact["embed"], signatures.EMBEDDING))(pixels)
    probabilities = float(np.abs(expected - ours["probabilities"]).max())
    parity.check(probabilities, "the network for OpenVINO")
    # Where two labels are as likely as each other, a heat map may be that of either.
    best = np.sort(ours["probabilities"][:, :labels], axis=1)
    clear = best[:, -1] - best[:, -2] > parity.LIMIT if labels > 1 else np.ones(len(pixels), bool)
    heatmap = float(np.abs(heatmaps - ours["heatmap"])[clear].max(initial=0.0))
    parity.check(heatmap, "the heat map of the network for OpenVINO")
    apart = float(np.abs(embeddings - ours[signatures.EMBEDDING]).max())
    parity.check(apart, "the embedding of the network for OpenVINO")
    return dataclasses.replace(found, openvino=probabilities, openvino_heatmap=heatmap)


def check_written(directory: Path, card: Card, expected: Floats, pixels: Pixels) -> SavedClassifier:
    """Reads a SavedModel back and holds it to probabilities and card of the export; returns it.

    Raises:
        TrainerError: It answers something else, or its card is another.
    """
    written = SavedClassifier(directory)
    parity.check(float(np.abs(written.probabilities(pixels) - expected).max()), "`pixels` of the file written")
    if written.card != Card.from_json(card.to_json()):
        raise TrainerError("the export is refused: the SavedModel does not hold the card that was given")
    return written


def _output_of(function: Callable[..., dict[str, tf.Tensor]], name: str) -> Callable[[Pixels], Floats]:
    return lambda images: function(images=tf.constant(images))[name].numpy()
