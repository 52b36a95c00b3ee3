"""Networks by name: of `keras.applications`, EfficientNet-Lite, KerasHub and `.keras` files, and their weights."""

import hashlib
import re

import keras

from trainer.errors import TrainerError
from trainer.network import backbone_names, efficientnet_lite, kerashub, own_file
from trainer.network.architecture import Architecture
from trainer.network.downloads import downloads_with_timeout
from trainer.network.weights import IMAGENET, NONE, WeightsUnavailable, check_weights_file


def architectures() -> dict[str, Architecture]:
    """Returns every network by its name: `efficientnet_lite2`, `mobilenet_v2`, `densenet201`, `vgg16`, ...

    Those of KerasHub are not among them: `kerashub.presets` lists them.
    """
    by_name = {name: Architecture(name, build) for name, build in efficientnet_lite.BUILDERS.items()}
    for attribute in dir(keras.applications):
        build = getattr(keras.applications, attribute)
        if callable(build):
            name = re.sub(r"(?<=[a-z0-9])(?=V\d|B\d|ResNet|Tiny|Small|Base|Large|XLarge|Mobile$)", "_", attribute)
            name = re.sub(r"(?<=V2)(?=[A-Z])", "_", name).lower()
            by_name[name] = Architecture(name, build)
    return by_name


def architecture(name: str) -> Architecture:
    """Returns a network by name. Case, dashes and underscores do not matter, except for presets of KerasHub and files.

    Raises:
        TrainerError: The name is unknown, or a preset of KerasHub or a file cannot be used.
    """
    if backbone_names.names_preset(name):
        return kerashub.open_preset(name)
    if backbone_names.names_own_file(name):
        return own_file.open_file(name)
    by_name = {re.sub("[^a-z0-9]", "", key): one for key, one in architectures().items()}
    try:
        return by_name[re.sub("[^a-z0-9]", "", name.lower())]
    except KeyError:
        names = ", ".join(sorted(architectures()))
        raise TrainerError(
            f"unknown backbone {name!r}; the backbones are {names}, a file such as my_network.keras, and "
            f"{backbone_names.PREFIX}PRESET with KerasHub"
        ) from None


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
        weights: `imagenet` (from an installed package for EfficientNet-Lite, those of the preset for KerasHub or of the
            `.keras` file, otherwise downloaded by Keras into ~/.keras), `none` (random), or a file: `.h5` or
            `.weights.h5` as for keras.applications, or `.pth` for EfficientNet-Lite.
        size: Height and width of the input, in pixels.
        alpha: Width multiplier; only for MobileNets.
        top: Whether to include the classifier of 1,000 classes, which then returns logits.

    Returns:
        float32 (n, size, size, 3), normalised -> what `Architecture.feature_map` takes; with top, logits (n, 1000).

    Raises:
        TrainerError: The network cannot be built with these options.
        WeightsUnavailable: The weights cannot be read or downloaded.
    """
    if top and not which.has_classifier:
        raise TrainerError(f"{which.name} has no classifier of the 1,000 classes of ImageNet; use another backbone")
    options: dict[str, object] = {"include_top": top, "input_shape": (size, size, 3)}
    if top:
        options["classifier_activation"] = None
    if alpha != 1.0:
        if not which.has_alpha:
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
    """Returns a hexadecimal digest of all weights of a model and its scaling, as the key for a cache of its outputs."""
    digest = hashlib.blake2b(digest_size=16)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling):
            digest.update(str((layer.scale, layer.offset)).encode())
    for weight in model.get_weights():
        digest.update(str((weight.shape, weight.dtype)).encode())
        digest.update(weight.tobytes())
    return digest.hexdigest()
