"""Any network of `keras.applications`, and EfficientNet-Lite, by name: its input size, normalisation and weights."""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from trainer.errors import TrainerError
from trainer.network import efficientnet_lite
from trainer.network.downloads import impatient_downloads
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
"""Input size in pixels that each was trained with, by the start of its name; the rest with 224 (their docstrings)."""


@dataclass(frozen=True)
class Architecture:
    """A network: its name as in `--backbone`, and the function that builds it, called as in keras.applications."""

    name: str
    build: Callable[..., keras.Model]

    @property
    def size(self) -> int:
        """Height and width in pixels that the network was trained with."""
        return next((size for pattern, size in SIZES.items() if re.match(pattern, self.name)), 224)

    def normalise(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Adds what this network wants done to pixels 0 to 255, RGB, as plain Keras layers.

        keras.applications gives a function for it; what it does (an affine map of each channel, and for the Caffe
        weights RGB to BGR) is read off by running it, so that it holds for every network and the file that is saved
        needs no code of ours to load.
        """
        preprocess = sys.modules[self.build.__module__].preprocess_input
        probe = np.zeros((1, 1, 4, 3), np.float32)
        probe[0, 0, [1, 2, 3], [0, 1, 2]] = 255.0
        black, red, green, blue = preprocess(probe.copy(), data_format="channels_last")[0, 0].astype(np.float64)
        matrix = np.stack([red - black, green - black, blue - black]) / 255.0
        # float32 under mixed precision too: half precision has not the digits for 255 and what it is scaled to.
        if not np.count_nonzero(matrix - np.diag(matrix.diagonal())):
            scale = matrix.diagonal()
            if np.allclose(scale, 1) and np.allclose(black, 0):
                return images
            return keras.layers.Rescaling(scale.tolist(), black.tolist(), name="normalise", dtype="float32")(images)
        # Channels exchanged: a 1x1 convolution, since HDF5 files cannot hold keras.ops.flip.
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
    """Returns a network by name; case, dashes and underscores do not matter.

    Raises:
        TrainerError: There is none of that name.
    """
    known = {re.sub("[^a-z0-9]", "", key): one for key, one in architectures().items()}
    try:
        return known[re.sub("[^a-z0-9]", "", name.lower())]
    except KeyError:
        names = ", ".join(sorted(architectures()))
        raise TrainerError(f"there is no backbone {name!r}; these are: {names}") from None


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
        weights: `imagenet` (from an installed package for EfficientNet-Lite; else fetched once by Keras, then kept in
            ~/.keras), `none` (random), or a file of weights: `.h5` or `.weights.h5`, as keras.applications takes it,
            or the `.pth` of EfficientNet-Lite.
        size: Input height and width, pixels.
        alpha: Width multiplier; MobileNets only.
        top: With its classifier of 1,000 classes, which then gives logits.

    Returns:
        float32 (n, size, size, 3), normalised -> the last feature map (n, h, w, channels); with top, logits (n, 1000).

    Raises:
        TrainerError: The network cannot be built like this.
        WeightsUnavailable: The weights cannot be read or fetched.
    """
    options: dict[str, object] = {"include_top": top, "input_shape": (size, size, 3)}
    if top:
        options["classifier_activation"] = None
    if alpha != 1.0:
        if not which.name.startswith("mobilenet"):
            raise TrainerError(f"{which.name} has no width multiplier: --alpha is for the MobileNets")
        options["alpha"] = alpha
    check_weights_file(weights)
    options["weights"] = {IMAGENET: "imagenet", NONE: None}.get(weights, weights)
    try:
        with impatient_downloads():
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
                f"the ImageNet weights of {which.name} cannot be fetched ({reason}); give a file with --weights"
            ) from error
        raise WeightsUnavailable(f"{weights} does not fit {which.name}: {reason}") from error


def fingerprint(model: keras.Model) -> str:
    """Returns a digest of every weight of a model, hexadecimal: what a cache of its outputs is filed under."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in model.get_weights():
        digest.update(str((weight.shape, weight.dtype)).encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()
