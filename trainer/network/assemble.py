"""The network of a run: normalisation, backbone, pooling and head in one Keras model, and its parts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce

import keras
import numpy as np

from trainer.config import Config
from trainer.network import backbones


@dataclass(frozen=True)
class Network:
    """One network seen from three sides that share their weights.

    `model`: pixels float32 (n, height, width, 3), 0 to 255, RGB -> logits float32 (n, classes); (n, 1) for a sigmoid.
    `features`: the same pixels -> what the head takes, float32 (n, ...). `head`: that -> logits.
    """

    model: keras.Model
    features: keras.Model
    head: keras.Model
    backbone: keras.Model


def build(config: Config, classes: int, *, precision: str = "float32") -> Network:
    """Builds the network that a configuration describes, with its weights loaded; the same every time.

    Args:
        config: What to build.
        classes: Number of labels.
        precision: `float32`, or `mixed_float16` for GPUs with fast half precision; logits are float32 in both.

    Raises:
        TrainerError: The backbone cannot be built or its weights not be had.
    """
    keras.utils.set_random_seed(config.seed)
    which = backbones.architecture(config.backbone)
    size = config.size or which.size
    with _precision(precision):
        backbone = backbones.load(which, config.weights, size, alpha=config.alpha)
        images = keras.Input((size, size, 3), name="images")
        # In inference mode whatever is trained: small data sets would spoil the statistics of batch normalisation.
        maps = backbone(which.normalise(images), training=False)
        pooling = keras.layers.GlobalAveragePooling2D() if config.pooling == "avg" else keras.layers.Flatten()
        features = pooling(maps)
        layers = _head(config, classes)
        logits = reduce(lambda tensor, layer: layer(tensor), layers, features)
        taken = keras.Input(features.shape[1:])
        return Network(
            model=keras.Model(images, logits, name=which.name),
            features=keras.Model(images, features, name=f"{which.name}_features"),
            head=keras.Model(taken, reduce(lambda tensor, layer: layer(tensor), layers, taken), name="head"),
            backbone=backbone,
        )


def _head(config: Config, classes: int) -> list[keras.layers.Layer]:
    layers: list[keras.layers.Layer] = []
    if config.hidden:
        layers.append(keras.layers.Dense(config.hidden, activation="relu"))
    layers.append(keras.layers.Dropout(config.dropout))
    # Zeros: features have a norm of about 20, and the noise of other initialisers would outlast the training.
    outputs = 1 if config.output == "sigmoid" else classes
    layers.append(keras.layers.Dense(outputs, kernel_initializer="zeros", dtype="float32", name="logits"))
    return layers


def with_other(model: keras.Model, logit: float) -> keras.Model:
    """Returns a model that gives one more logit, always the same, which stands for anything else than the classes.

    In a softmax it takes what is left where no class has a large logit: the sum of the classes' scores is then the
    sigmoid of their free energy (Liu et al. 2020, eq. 4) over that of this logit.

    Args:
        model: Pixels -> logits float32 (n, classes).
        logit: The value.
    """
    classes = model.output_shape[-1]
    layer = keras.layers.Dense(classes + 1, trainable=False, dtype="float32", name="logits_and_other")
    widened = keras.Model(model.input, layer(model.output), name=model.name)
    layer.set_weights([np.eye(classes, classes + 1, dtype=np.float32), np.eye(classes + 1)[-1] * logit])
    return widened


def unfreeze(network: Network, layers: int) -> None:
    """Makes the last layers of the backbone trainable, all others of it not; batch normalisation never is."""
    network.backbone.trainable = True
    first = len(network.backbone.layers) - layers
    for at, layer in enumerate(network.backbone.layers):
        layer.trainable = at >= first and not isinstance(layer, keras.layers.BatchNormalization)


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
