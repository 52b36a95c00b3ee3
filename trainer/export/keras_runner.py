"""Probabilities of a Keras model, computed by Keras: what an export is held to."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.model_card import Card

BATCH = 8
"""Photos in one call of a comparison: of 32, the feature maps of EfficientNet-Lite2 take half a gigabyte."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def keras_runner(model: keras.Model, card: Card) -> Callable[[Pixels], Floats]:
    """Returns the reference: logits by Keras, the rest by NumPy in float64."""
    keras_logits = _as_graph(model)

    def run(images: Pixels) -> Floats:
        logits = np.asarray(keras_logits(tf.constant(images, tf.float32)), np.float64) / card.temperature
        if card.multi_label:
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    return batched(run)


def probabilities_runner(model: keras.Model) -> Callable[[Pixels], Floats]:
    """Runs a model of probabilities (n, classes), or (n, 1) of the second of two."""
    keras_probabilities = _as_graph(model)

    def run(images: Pixels) -> Floats:
        found = np.asarray(keras_probabilities(tf.constant(images, tf.float32)), np.float32)
        return np.concatenate([1 - found, found], axis=1) if found.shape[1] == 1 else found

    return batched(run)


def _as_graph(model: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    # As a graph, as Keras's own `predict` runs it: the first eager call of a large network takes seconds.
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    return tf.function(lambda images: model(images, training=False), [spec], jit_compile=False)  # type: ignore[no-any-return]


def batched(run: Callable[[Pixels], Floats]) -> Callable[[Pixels], Floats]:
    """Returns a function of any number of images for one of at most `BATCH`."""
    return lambda images: np.concatenate([run(images[at : at + BATCH]) for at in range(0, len(images), BATCH)])


def in_batches(run: Callable[[Pixels], dict[str, Floats]], images: Pixels) -> dict[str, Floats]:
    """Returns all outputs of a function of at most `BATCH` images for any number of images."""
    parts = [run(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
