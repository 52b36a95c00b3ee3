"""A network that photos can be described with: how it is built, and what it wants pixels to be."""

import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import numpy as np
from numpy.typing import NDArray

SIZES = {
    r"inception|xception": 299,
    r"nasnet_large": 331,
    r"efficientnet_(v2_b|b|lite)1": 240,
    r"efficientnet_(v2_b|b|lite)2": 260,
    r"efficientnet_(v2_)?b3": 300,
    r"efficientnet_b4": 380,
    r"efficientnet_b5": 456,
    r"efficientnet_b6": 528,
    r"efficientnet_b7": 600,
    r"efficientnet_v2_s": 384,
    r"efficientnet_v2_(m|l)": 480,
}
"""Input size of the pretraining in pixels, by a pattern for the start of the name; 224 for all others (see their
docstrings)."""


@dataclass(frozen=True)
class Architecture:
    """A network: its name, and the function that builds it, which takes the arguments of keras.applications."""

    name: str
    build: Callable[..., keras.Model]

    has_classifier: ClassVar[bool] = True
    """Whether the network can be built with its classifier of the 1,000 classes of ImageNet."""

    @property
    def has_alpha(self) -> bool:
        """Whether the network can be built with a width multiplier, as MobileNets can."""
        return "alpha" in inspect.signature(self.build).parameters

    @property
    def size(self) -> int:
        """Height and width of the pretraining, in pixels."""
        return next((size for pattern, size in SIZES.items() if re.match(pattern, self.name)), 224)

    @property
    def model_name(self) -> str:
        """The name of a Keras model that is made from this network."""
        return self.name

    def preprocess(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Returns what the network wants for pixels from 0 to 255, RGB: an affine map of their channels."""
        normalised: NDArray[Any] = sys.modules[self.build.__module__].preprocess_input(
            pixels.copy(), data_format="channels_last"
        )
        return normalised

    def normalise(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Adds the normalisation of this network as Keras layers, for pixels from 0 to 255, RGB."""
        return normalised(images, self.preprocess)

    def feature_map(self, backbone: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the last feature map of a network that `build` gave, (n, h, w, channels), for normalised images.

        The network is in inference mode, because small data sets would spoil the statistics of batch normalisation.
        """
        return backbone(images, training=False)


def normalised(
    images: keras.KerasTensor, preprocess: Callable[[NDArray[np.float32]], NDArray[Any]]
) -> keras.KerasTensor:
    """Adds a normalisation as Keras layers, for pixels from 0 to 255, RGB.

    keras.applications has a function for it: an affine map of each channel, and RGB to BGR for the Caffe weights. The
    map is derived from the results of that function. So this works for every network, and the saved model can be loaded
    without custom code.

    Args:
        images: float32 (n, height, width, 3).
        preprocess: The function, of float32 (n, height, width, 3).
    """
    probe = np.zeros((1, 1, 4, 3), np.float32)
    probe[0, 0, [1, 2, 3], [0, 1, 2]] = 255.0
    black, red, green, blue = preprocess(probe)[0, 0].astype(np.float64)
    matrix = np.stack([red - black, green - black, blue - black]) / 255.0
    # float32 even with mixed precision: half precision is too coarse for values around 255.
    if not np.count_nonzero(matrix - np.diag(matrix.diagonal())):
        scale = matrix.diagonal()
        if np.allclose(scale, 1) and np.allclose(black, 0):
            return images
        return keras.layers.Rescaling(scale.tolist(), black.tolist(), name="normalise", dtype="float32")(images)
    # A 1x1 convolution swaps the channels, because HDF5 files cannot contain keras.ops.flip.
    layer = keras.layers.Conv2D(3, 1, trainable=False, name="normalise", dtype="float32")
    outputs = layer(images)
    layer.set_weights([matrix[np.newaxis, np.newaxis], black])
    return outputs
