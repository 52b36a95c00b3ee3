"""A `.keras` file of one's own as a backbone: its last feature map, with the weights and preprocessing in the file."""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.console import say
from trainer.errors import TrainerError
from trainer.network import kerashub
from trainer.network.architecture import Architecture
from trainer.network.backbone_names import check_own_file, content_of
from trainer.network.layers import all_layers
from trainer.network.weights import IMAGENET

UNKNOWN_SIZE: Final = 224
"""Height and width of an input that a file leaves open."""

HALF_PRECISION = re.compile(r'"(mixed_)?b?float16"')
"""The name of a dtype or a dtype policy in the configuration of a model."""


@dataclass(frozen=True)
class OwnFile(Architecture):
    """The network of a `.keras` file.

    Attributes:
        image_size: Height and width of its input in pixels; None if it takes any.
        content: A digest of the file.
    """

    image_size: int | None
    content: str

    has_classifier: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Height and width of the input, in pixels; `UNKNOWN_SIZE` if the network takes any."""
        return self.image_size or UNKNOWN_SIZE

    @property
    def model_name(self) -> str:
        """The name of a Keras model that is made from this network: that of the file, and the digest of the file."""
        return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', Path(self.name).stem)}_{self.content}"

    def preprocess(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Returns the pixels as they are, from 0 to 255, RGB: the network of the file contains what it does to them."""
        return pixels


def open_file(name: str) -> OwnFile:
    """Loads a `.keras` file, without running code in it.

    Args:
        name: The path of the file.

    Raises:
        WeightsUnavailable: There is no such file.
        TrainerError: It is not a model of layers that Keras can load, with one square image as its only input and one
            output.
    """
    check_own_file(name)
    model = load_own(name)
    shape = tuple(model.inputs[0].shape[1:])
    if shape[0] != shape[1]:
        raise TrainerError(f"{name} takes an input of shape {shape}; a backbone takes a square image (size, size, 3)")
    return OwnFile(name, partial(_build, name, model), shape[0], content_of(name))


def load_own(name: str) -> keras.Model:
    """Loads the model of a `.keras` file, without running code in it.

    Returns:
        A functional or sequential model in float32 with one image (n, height, width, 3) as its input and one output.

    Raises:
        TrainerError: It is another model, or cannot be loaded.
    """
    try:
        kerashub.import_if_needed(Path(name))
        model = keras.models.load_model(name, compile=False, safe_mode=True)
    except TrainerError:
        raise
    except Exception as error:  # Keras raises many kinds, TypeError, KeyError and AttributeError among them
        raise TrainerError(f"{name} cannot be loaded: {_reason(error)}") from error
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise TrainerError(f"{name} is not a functional or sequential model with a known input")
    if len(inputs) != 1 or len(outputs) != 1:
        raise TrainerError(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed")
    shape = tuple(inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] != 3:
        raise TrainerError(f"{name} takes an input of shape {shape}, not an RGB image (height, width, 3)")
    return _in_float32(model)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a model the weights of another one with the same layers."""
    target.set_weights(source.get_weights())
    for layer in all_layers(target):
        if hasattr(layer, "finalize_state"):  # Normalization computes with copies of its weights
            layer.finalize_state()


def learns(layer: keras.Operation) -> bool:
    """Returns whether a layer has weights, other than the mean and the variance of pixels."""
    if isinstance(layer, keras.Model):
        return any(map(learns, layer.layers))
    return bool(getattr(layer, "weights", ())) and not isinstance(layer, keras.layers.Normalization)


def _build(
    name: str, model: keras.Model, *, input_shape: tuple[int, int, int], weights: str | None, **_: object
) -> keras.Model:
    own_size, size = model.inputs[0].shape[1], input_shape[0]
    if own_size not in {None, size}:
        raise TrainerError(f"{name} takes {own_size}x{own_size} pixels, not {size}x{size}; leave out --size")
    if weights is None:
        model = keras.models.clone_model(model)  # initialises the weights anew
    elif weights != IMAGENET:
        model.load_weights(weights)
    last_features = _to_last_features(model)
    if last_features is None:
        raise TrainerError(f"{name} has no layer whose output is a feature map (n, height, width, channels)")
    layer, backbone = last_features
    if len(backbone.output.shape) == 3:
        raise TrainerError(
            f"{name} computes tokens (n, tokens, channels), not a feature map; use a convolutional network"
        )
    backbone.name = "backbone"
    if layer != model.layers[-1].name and weights is not None:
        say(f"{Path(name).name}: the features are the output of its layer {layer}, the last one with a feature map")
    try:
        backbone.compute_output_spec(keras.KerasTensor((None, *input_shape)))
    except Exception as error:
        raise TrainerError(f"{name} cannot take {size}x{size} pixels: {_reason(error)}") from error
    return backbone


def _in_float32(model: keras.Model) -> keras.Model:
    """Returns a model that computes in float32, as exports do, in place of one that computes in half precision."""
    text = model.to_json()
    if not HALF_PRECISION.search(text):
        return model
    rebuilt = keras.models.model_from_json(HALF_PRECISION.sub('"float32"', text))
    copy_weights(model, rebuilt)
    return rebuilt


def _to_last_features(model: keras.Model, *, learned: bool = False) -> tuple[str, keras.Model] | None:
    """Cuts a model behind its last feature map of more than one pixel, or its last tokens, and models inside likewise.

    Args:
        model: The model.
        learned: Whether a layer before the model learns. Until one does, there are images, not feature maps.

    Returns:
        The name of the layer with the features, and the model from the input to it; None if there is none.
    """
    features: tuple[str, keras.KerasTensor] | None = None

    def call(layer: keras.layers.Layer, *inputs: Any, **options: Any) -> Any:
        nonlocal features, learned
        output = layer(*inputs, **options)
        before, learned = learned, learned or learns(layer)
        if not learned or not isinstance(output, keras.KerasTensor):
            return output
        places = output.shape[1:-1]
        if len(places) in {1, 2} and any(side != 1 for side in places):
            features = layer.name, output
        elif isinstance(layer, keras.Model) and (inner := _to_last_features(layer, learned=before)):
            features = f"{layer.name}/{inner[0]}", inner[1](*inputs)
        return output

    # Calls the same layers once more, in their order.
    graph = keras.Model(model.inputs[0], model.outputs[0])
    again = keras.models.clone_model(graph, clone_function=lambda layer: layer, call_function=call)
    return features and (features[0], keras.Model(again.inputs[0], features[1], name=model.name))


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if custom := re.search(r"Could not locate (class|function) '(\w+)'", text):
        return f"Keras has no {custom[1]} {custom[2]}; a file with custom layers or functions cannot be used"
    if "deserialization of a `Lambda` layer" in text:
        return "it has a Lambda layer, whose Python code is not run; use layers of Keras"
    if "no item named 'config.json'" in text:
        return "it is not a model that Keras saved"
    return text.split("\n")[0] or type(error).__name__
