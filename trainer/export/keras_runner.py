"""Probabilities of a Keras model, computed by Keras: the reference for exports."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.model_card import Card

BATCH = 4
"""Photos in one call. With 32 photos, the feature maps of EfficientNet-Lite2 take half a gigabyte."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def keras_runner(model: keras.Model, card: Card) -> Callable[[Pixels], Floats]:
    """Returns the reference: logits by Keras, the rest by NumPy in float64."""
    # As a graph, as Keras's own `predict` runs it: the first eager call of a large network takes a gigabyte.
    spec = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    keras_logits = tf.function(lambda images: model(images, training=False), [spec], autograph=False, jit_compile=False)

    def run(images: Pixels) -> Floats:
        with as_traced():
            logits = np.asarray(keras_logits(tf.constant(images, tf.float32)), np.float64) / card.temperature
        if card.multi_label:
            return np.asarray(1 / (1 + np.exp(-logits)), np.float32)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)

    return batched(run)


@contextmanager
def as_traced() -> Iterator[None]:
    """Runs graphs as they were traced: optimising a graph takes longer than running it on a few photos."""
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


def batched(run: Callable[[Pixels], Floats]) -> Callable[[Pixels], Floats]:
    """Makes a function that takes at most `BATCH` images take any number."""
    return lambda images: np.concatenate([run(images[at : at + BATCH]) for at in range(0, len(images), BATCH)])


def in_batches(run: Callable[[Pixels], dict[str, Floats]], images: Pixels) -> dict[str, Floats]:
    """Calls a function that takes at most `BATCH` images with any number, and returns all outputs."""
    batches = [run(images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
