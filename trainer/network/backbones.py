"""Networks by name: those of `keras.applications` and EfficientNet-Lite, with input size, normalisation and weights."""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from trainer.errors import TrainerError
from trainer.network import efficientnet_lite
from trainer.network.downloads import downloads_with_timeout
from trainer.network.weights import IMAGENET, NONE, WeightsUnavailable, check_weights_file

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

    @property
    def size(self) -> int:
        """Height and width of the pretraining, in pixels."""
        return next((size for pattern, size in SIZES.items() if re.match(pattern, self.name)), 224)

    def normalise(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Adds the normalisation of this network as Keras layers, for pixels from 0 to 255, RGB.

        keras.applications has a function for it: an affine map of each channel, and RGB to BGR for the Caffe weights.
        The map is derived from the results of that function. So this works for every network, and the saved model can
        be loaded without custom code.
        """
        preprocess = sys.modules[self.build.__module__].preprocess_input
        probe = np.zeros((1, 1, 4, 3), np.float32)
        probe[0, 0, [1, 2, 3], [0, 1, 2]] = 255.0
        black, red, green, blue = preprocess(probe.copy(), data_format="channels_last")[0, 0].astype(np.float64)
        matrix = np.stack([red - black, green - black, blue - black]) / 255.0
        # float32 even with mixed precision: half precision is too coarse for values around 255.
        if not np.count_nonzero(matrix - np.diag(matrix.diagonal())):
            scale = matrix.diagonal()
            if np.allclose(scale, 1) and np.allclose(black, 0):
                return images
            return keras.layers.Rescaling(scale.tolist(), black.tolist(), name="normalise", dtype="float32")(images)
        # A 1x1 convolution swaps the channels, because HDF5 files cannot contain keras.ops.flip.
        layer = keras.layers.Conv2D(3, 1, trainable=False, name="normalise", dtype="float32")
        normalised = layer(images)
        layer.set_weights([matrix[np.newaxis, np.newaxis], black])
        return normalised


def architectures() -> dict[str, Architecture]:
    """Returns every network by its name: `efficientnet_lite2`, `mobilenet_v2`, `densenet201`, `vgg16`, ..."""
    found = {name: Architecture(name, build) for name, build in efficientnet_lite.BUILDERS.items()}
    for attribute in dir(keras.applications):
        build = getattr(keras.applications, attribute)
        if callable(build):
            name = re.sub(r"(?<=[a-z0-9])(?=V\d|B\d|ResNet|Tiny|Small|Base|Large|XLarge|Mobile$)", "_", attribute)
            name = re.sub(r"(?<=V2)(?=[A-Z])", "_", name).lower()
            found[name] = Architecture(name, build)
    return found


def architecture(name: str) -> Architecture:
    """Returns a network by name. Case, dashes and underscores do not matter.

    Raises:
        TrainerError: The name is unknown.
    """
    known = {re.sub("[^a-z0-9]", "", key): one for key, one in architectures().items()}
    try:
        return known[re.sub("[^a-z0-9]", "", name.lower())]
    except KeyError:
        names = ", ".join(sorted(architectures()))
        raise TrainerError(f"unknown backbone {name!r}; the backbones are {names}") from None


def load(
    which: Architecture,
    weights: str,
    size: int,
    *,
    alpha: float = 1.0,
    top: bool = False,
) -> keras.Model:
    """Builds a network and loads its weights.

    Args:
        which: The network.
        weights: `imagenet` (from an installed package for EfficientNet-Lite, otherwise downloaded by Keras into
            ~/.keras), `none` (random), or a file: `.h5` or `.weights.h5` as for keras.applications, or `.pth` for
            EfficientNet-Lite.
        size: Height and width of the input, in pixels.
        alpha: Width multiplier; only for MobileNets.
        top: Whether to include the classifier of 1,000 classes, which then returns logits.

    Returns:
        float32 (n, size, size, 3), normalised -> the last feature map (n, h, w, channels); with top, logits (n, 1000).

    Raises:
        TrainerError: The network cannot be built with these options.
        WeightsUnavailable: The weights cannot be read or downloaded.
    """
    options: dict[str, object] = {"include_top": top, "input_shape": (size, size, 3)}
    if top:
        options["classifier_activation"] = None
    if alpha != 1.0:
        if not which.name.startswith("mobilenet"):
            raise TrainerError(f"{which.name} has no width multiplier; --alpha is only for MobileNets")
        options["alpha"] = alpha
    check_weights_file(weights)
    options["weights"] = {IMAGENET: "imagenet", NONE: None}.get(weights, weights)
    try:
        with downloads_with_timeout():
            return which.build(**options)
    except TrainerError:
        raise
    except Exception as error:
        # Keras raises plain Exception for a failed download, and ValueError or KeyError for a file that does not fit.
        reason = str(error).strip().split("\n")[0]
        if weights == NONE:
            raise TrainerError(f"{which.name} cannot be built: {reason}") from error
        if weights == IMAGENET:
            raise WeightsUnavailable(
                f"the ImageNet weights of {which.name} cannot be downloaded ({reason}); use --weights FILE"
            ) from error
        raise WeightsUnavailable(f"{weights} does not fit {which.name}: {reason}") from error


def fingerprint(model: keras.Model) -> str:
    """Returns a hexadecimal digest of all weights of a model, as the key for a cache of its outputs."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.get_weights():
        digest.update(str((weight.shape, weight.dtype)).encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()
