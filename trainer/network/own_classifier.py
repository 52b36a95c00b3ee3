"""A classifier in a `.keras` file of one's own as the trainer exports them: pixels to logits, without models inside."""

from functools import partial
from itertools import takewhile
from typing import Any, Final

import keras
import numpy as np
from keras.applications.imagenet_utils import preprocess_input
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.network.architecture import normalised
from trainer.network.layers import all_layers
from trainer.network.own_file import UNKNOWN_SIZE, copy_weights, learns, load_own

TOLERANCE: Final = 1e-4
"""Largest difference between the scores of the file and those of the exported model; of logits, relative to the
largest."""

LINEAR: Final = (
    keras.layers.Reshape,
    keras.layers.Flatten,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.GlobalAveragePooling2D,
)
"""Layers without weights that may follow the last one with weights and leave logits what they are."""


def load_classifier(name: str, preprocessing: str, labels: int) -> tuple[keras.Model, bool]:
    """Loads a classifier, puts the normalisation of the pixels into it, and takes the softmax or sigmoid off.

    Args:
        name: The path of the file.
        preprocessing: What was done to pixels before they reached the model: `none`, `rescale` (a division by 255), or
            a mode of `keras.applications.imagenet_utils.preprocess_input`: `caffe`, `torch` or `tf`.
        labels: Number of labels.

    Returns:
        The model: pixels float32 (n, height, width, 3), 0 to 255, RGB -> logits float32 (n, labels); (n, 1) for one
        sigmoid. And whether the model of the file seems to scale pixels itself.

    Raises:
        TrainerError: The file cannot be loaded, its model does not give a score for each label, or the scores would
            change.
    """
    model = load_own(name)
    outputs = model.outputs[0].shape
    if len(outputs) != 2 or (outputs[1] != labels and (outputs[1], labels) != (1, 2)):
        raise TrainerError(f"{name} gives scores of shape {tuple(outputs)}, and there are {labels} labels")
    height, width = (side or UNKNOWN_SIZE for side in model.inputs[0].shape[1:3])
    images = keras.Input((height, width, 3), name="images")
    pixels = _normalised(images, preprocessing)
    examples = _examples(height, width)
    scores = np.asarray(model(keras.Model(images, pixels)(examples), training=False))
    _make_names_unique(model)
    scales_pixels = _scales_pixels(keras.Model(images, _inlined(model, images)))
    flat = keras.Model(images, _inlined(model, pixels))
    # The layers have been called before, by the models that they were inside of; new ones have one output each.
    fresh = keras.models.clone_model(flat)
    copy_weights(flat, fresh)
    logits, has_activation = _to_logits(fresh, name)
    _check_same(np.asarray(logits(examples, training=False)), scores, name, has_activation=has_activation)
    return logits, scales_pixels


def _examples(height: int, width: int) -> NDArray[np.float32]:
    """Images of random colours, float32 (4, height, width, 3), 0 to 255."""
    colours = np.random.default_rng(0).uniform(0, 255, (4, 4, 4, 3)).astype(np.float32)
    return colours[:, np.arange(height) * 4 // height][:, :, np.arange(width) * 4 // width]


def _scales_pixels(model: keras.Model) -> bool:
    """Whether there is a layer that scales, or arithmetic such as `x / 127.5 - 1`, before the first layer that learns.

    Args:
        model: A model without models inside.
    """
    return any(
        isinstance(one, keras.layers.Rescaling | keras.layers.Normalization) or not isinstance(one, keras.layers.Layer)
        for one in takewhile(lambda one: not learns(one), model.operations)
    )


def _normalised(images: keras.KerasTensor, preprocessing: str) -> keras.KerasTensor:
    if preprocessing == "none":
        return images
    if preprocessing == "rescale":
        return keras.layers.Rescaling(1 / 255, name="normalise", dtype="float32")(images)
    return normalised(images, partial(preprocess_input, data_format="channels_last", mode=preprocessing))


def _make_names_unique(model: keras.Model) -> None:
    names = {"images", "normalise"}  # the layers that load_classifier adds
    for at, layer in enumerate(dict.fromkeys(all_layers(model))):
        if layer.name in names:
            layer.name = f"{layer.name}_{at}"
        names.add(layer.name)


def _inlined(model: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
    """Calls the layers of a model, and of models inside it, one by one: heat maps need the output of each."""
    outputs = images

    def call(layer: Any, *inputs: Any, **options: Any) -> Any:
        nonlocal outputs
        is_graph = isinstance(layer, keras.Model) and len(getattr(layer, "outputs", None) or ()) == 1
        outputs = _inlined(layer, *inputs) if is_graph and len(layer.inputs) == 1 else layer(*inputs, **options)
        return outputs

    graph = keras.Model(model.inputs[0], model.outputs[0])
    keras.models.clone_model(graph, images, clone_function=lambda layer: layer, call_function=call)
    return outputs


def _to_logits(model: keras.Model, name: str) -> tuple[keras.Model, bool]:
    """Returns the model without the softmax or sigmoid at its end, and whether it had one."""
    multi_class = model.output_shape[-1] > 1
    # Layers that are passed over have one input, so the operation before each in this list is the one that feeds it.
    last = next(one for one in reversed(model.operations) if not _is_linear(one))
    if isinstance(last, keras.layers.Softmax) and len(last.input.shape) == 2:
        return keras.Model(model.input, last.input, name=model.name), True
    activation = getattr(last, "activation", keras.activations.linear)
    if multi_class and activation is keras.activations.sigmoid:
        raise TrainerError(
            f"{name} ends in several sigmoids; export it with model.export(FOLDER), publish that, and set multi_label"
        )
    expected = keras.activations.softmax if multi_class else keras.activations.sigmoid
    if activation not in {keras.activations.linear, expected}:
        raise TrainerError(f"{name} ends in {activation.__name__}; it must end in logits, a softmax or one sigmoid")
    if activation is expected:
        last.activation = keras.activations.linear
    elif not isinstance(last, keras.layers.Dense | keras.layers.Conv2D):
        _check_unbounded(model, name)
    return model, activation is expected


def _is_linear(operation: keras.Operation) -> bool:
    if isinstance(operation, keras.layers.Activation):
        return operation.activation is keras.activations.linear
    return isinstance(operation, LINEAR)


def _check_unbounded(model: keras.Model, name: str) -> None:
    """Refuses logits that are probabilities or their logarithms, which operations that are no layers may give."""
    scores = np.asarray(model(_examples(*model.input_shape[1:3]), training=False))
    if scores.max() <= 0 or (scores.min() >= 0 and scores.max() <= 1):
        raise TrainerError(
            f"{name} seems to give probabilities or their logarithms, but does not end in a softmax or sigmoid layer; "
            "add or use one"
        )


def _check_same(logits: NDArray[np.float32], scores: NDArray[np.float32], name: str, *, has_activation: bool) -> None:
    if has_activation:
        logits = np.asarray(keras.ops.softmax(logits) if logits.shape[1] > 1 else keras.ops.sigmoid(logits))
    limit = TOLERANCE * max(1.0, float(np.abs(scores).max()))
    difference = float(np.abs(logits - scores).max())
    if not difference <= limit:  # not a number either
        raise TrainerError(
            f"{name} cannot be published: its scores would differ by {difference:.2g}; export it with "
            "model.export(FOLDER) and publish that"
        )
