"""Build the network of a run: normalisation, backbone, pooling and head in one Keras model."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Final

import keras
import numpy as np

from trainer.config import Config
from trainer.network import backbones
from trainer.network.layers import all_layers, inner_layers

MEAN_OF_VIEWS: Final = "mean_of_views"
"""The name of the last layer of a model that answers by a photo and its mirror image."""


@dataclass(frozen=True)
class Network:
    """A network as models that share their weights.

    `model`: pixels float32 (n, height, width, 3), 0 to 255, RGB -> logits float32 (n, classes); (n, 1) for a sigmoid.
    `features`: the same pixels -> features float32 (n, ...). `head`: features -> logits.
    """

    model: keras.Model
    features: keras.Model
    head: keras.Model
    backbone: keras.Model


def build(config: Config, classes: int, *, precision: str = "float32") -> Network:
    """Builds the network of a configuration and loads its weights. The result is deterministic.

    Args:
        config: The configuration.
        classes: Number of labels.
        precision: `float32`, or `mixed_float16` for GPUs with fast half precision; logits are float32 in both.

    Raises:
        TrainerError: The backbone cannot be built, or its weights are not available.
    """
    keras.utils.set_random_seed(config.seed)
    which = backbones.architecture(config.backbone)
    size = config.size or which.size
    with _precision(precision):
        backbone = backbones.load(which, config.weights, size, alpha=config.alpha)
        images = keras.Input((size, size, 3), name="images")
        maps = which.feature_map(backbone, which.normalise(images))
        pooling = keras.layers.GlobalAveragePooling2D() if config.pooling == "avg" else keras.layers.Flatten()
        features = pooling(maps)
        layers = _head(config, classes)
        logits = reduce(lambda tensor, layer: layer(tensor), layers, features)
        head_input = keras.Input(features.shape[1:])
        return Network(
            model=keras.Model(images, logits, name=which.model_name),
            features=keras.Model(images, features, name=f"{which.model_name}_features"),
            head=keras.Model(head_input, reduce(lambda tensor, layer: layer(tensor), layers, head_input), name="head"),
            backbone=backbone,
        )


def _head(config: Config, classes: int) -> list[keras.layers.Layer]:
    layers: list[keras.layers.Layer] = []
    if config.hidden:
        layers.append(keras.layers.Dense(config.hidden, activation="relu"))
    layers.append(keras.layers.Dropout(config.dropout))
    # Features have a norm of about 20, so the noise of a random initialiser would remain after training.
    outputs = 1 if config.output == "sigmoid" else classes
    layers.append(keras.layers.Dense(outputs, kernel_initializer="zeros", dtype="float32", name="logits"))
    return layers


def with_other(model: keras.Model, logit: float) -> keras.Model:
    """Returns a model with an additional, constant logit for images of no class.

    After a softmax, the sum of the scores of the classes is then the sigmoid of the difference between their free
    energy (Liu et al. 2020, eq. 4) and this logit.

    Args:
        model: Pixels -> logits float32 (n, classes).
        logit: The value of the additional logit.
    """
    classes = model.output_shape[-1]
    layer = keras.layers.Dense(classes + 1, trainable=False, dtype="float32", name="logits_and_other")
    widened = keras.Model(model.input, layer(model.output), name=model.name)
    layer.set_weights([np.eye(classes, classes + 1, dtype=np.float32), np.eye(classes + 1)[-1] * logit])
    return widened


def with_mirror(model: keras.Model) -> keras.Model:
    """Returns a model whose logits are the mean of those of an image and of its mirror image.

    Args:
        model: Pixels -> logits float32 (n, classes).
    """
    both = [model(model.input), model(keras.ops.flip(model.input, axis=2))]
    return keras.Model(model.input, keras.layers.Average(name=MEAN_OF_VIEWS)(both), name=model.name)


def unfreeze(network: Network, layers: int) -> None:
    """Makes only the last layers of the backbone trainable, except batch normalisation.

    A block of a transformer counts as one layer, and so does a model inside the backbone, such as the stem of
    ConvNeXt. If most weights are in that model, it is the network itself, and its layers count.
    """
    network.backbone.trainable = True
    weights = network.backbone.count_params()
    blocks = [block for layer in network.backbone.layers for block in _blocks(layer, weights)]
    for at, block in enumerate(blocks):
        block.trainable = at >= len(blocks) - layers
    for layer in all_layers(network.backbone):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _blocks(layer: keras.layers.Layer, weights: int) -> list[keras.layers.Layer]:
    """Returns the layer itself, the layers of a model with most of the weights, or the blocks of a stack.

    A stack is a layer with several composed layers of one kind.
    """
    if isinstance(layer, keras.Model) and 2 * layer.count_params() > weights:
        return [block for one in layer.layers for block in _blocks(one, weights)]
    inner = inner_layers(layer)
    kinds = Counter(type(one) for one in inner if inner_layers(one))
    if max(kinds.values(), default=0) < 2:
        return [layer]
    return [block for one in inner for block in _blocks(one, weights)]


@contextmanager
def _precision(name: str) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
