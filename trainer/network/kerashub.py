"""Presets of KerasHub as backbones, vision transformers among them. KerasHub is imported when a preset is opened."""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.network.architecture import Architecture
from trainer.network.backbone_names import PREFIX, check_installed, has_layers_of_kerashub, preset_of
from trainer.network.weights import IMAGENET, WeightsUnavailable

WITHOUT_CLASSIFIER: Final = ("DINOV2Backbone", "DINOV3Backbone")
"""Backbones for photos without a subclass of `ImageClassifier`, which all others have."""

LICENCES: Final[Mapping[str, str]] = {r"resnet_.+": "Apache-2.0"}
"""SPDX identifiers of the licences of weights, by a pattern for the name of the preset: where its page states one."""


@dataclass(frozen=True)
class Preset(Architecture):
    """A preset of KerasHub.

    Attributes:
        converter: Its `ImageConverter`, which scales pixels and does not resize.
        image_size: Height and width of the pretraining, in pixels.
    """

    converter: Any
    image_size: int

    has_classifier: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Height and width of the pretraining, in pixels."""
        return self.image_size

    @property
    def model_name(self) -> str:
        """The name of a Keras model that is made from this network: without the path of a folder."""
        return "kerashub_" + re.sub(r"[^A-Za-z0-9_.-]", "_", Path(preset_of(self.name)).resolve().name)

    def preprocess(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Returns what the network wants for pixels from 0 to 255, RGB."""
        return np.asarray(self.converter(pixels))

    def feature_map(self, backbone: keras.Model, images: keras.KerasTensor) -> keras.KerasTensor:
        """Returns the last feature map, (n, h, w, channels), for normalised images.

        That of a transformer are its tokens of patches (n, h * w, channels) in their places in the image. Tokens before
        them, those of the class, of distillation and registers, have no place and are left out.

        Raises:
            TrainerError: The places of the tokens are not known.
        """
        features = backbone(keras.tree.pack_sequence_as(backbone.input, [images]), training=False)
        if isinstance(features, dict):  # feature maps of several sizes
            smallest = min(features.values(), key=lambda maps: maps.shape[1])
            return keras.layers.Identity(name="feature_map")(smallest)  # exports look for a layer that returns it
        if len(features.shape) == 4:
            return features
        tokens, channels = features.shape[1:]
        side = self._patches_in_a_row(backbone, images.shape[1], tokens)
        patches = keras.layers.Cropping1D((tokens - side * side, 0), name="patches")(features)
        return keras.layers.Reshape((side, side, channels), name="feature_map")(patches)

    def _patches_in_a_row(self, backbone: keras.Model, size: int, tokens: int) -> int:
        """Returns how many patches are in a row, and in a column, of a square image of `size` pixels."""
        patch = getattr(backbone, "patch_size", None)
        if patch is not None:
            side = size // (patch if isinstance(patch, int) else patch[0])
            if side * side <= tokens:
                return side
            side = math.isqrt(tokens)  # Swin joins patches, and has no tokens before them
            if side * side == tokens:
                return side
        raise TrainerError(
            f"KerasHub does not say where in a photo the {tokens} tokens of {self.name} are; use another --backbone"
        )


def open_preset(name: str) -> Preset:
    """Returns the network of a preset: reads how it wants pixels, which may download a file of that.

    Args:
        name: `kerashub:` and a preset of KerasHub, a folder with a preset, or a URL such as `hf://keras/resnet_50`.

    Raises:
        TrainerError: KerasHub is not installed, there is no such preset, or it is not one for photos.
        WeightsUnavailable: The preset cannot be downloaded.
    """
    check_installed(name)
    hub, preset = library(), preset_of(name)
    if not preset:
        raise TrainerError(f"name a preset after {PREFIX}: a folder, or one of {', '.join(sorted(presets()))}")
    if preset in hub.models.Backbone.presets:
        if preset not in presets():
            raise TrainerError(_not_for_photos(name))
    elif "://" not in preset and not Path(preset).is_dir():
        close = difflib.get_close_matches(preset, presets(), 5)
        similar = f"similar ones are {', '.join(close)}; " if close else ""
        raise TrainerError(
            f"KerasHub has no preset {preset!r} for photos, and there is no such folder; {similar}"
            f"`--backbone {PREFIX}` lists all"
        )
    try:
        converter = hub.layers.ImageConverter.from_preset(preset, dtype="float32")
        if converter.backbone_cls not in _backbones():
            raise TrainerError(_not_for_photos(name))
        size = converter.image_size or _image_shape(hub.models.Backbone.from_preset(preset, load_weights=False))
    except Exception as error:
        raise _failure(name, error) from error
    converter.image_size = None
    return Preset(name, partial(_build, name, size[0]), converter, size[0])


def presets() -> dict[str, Mapping[str, Any]]:
    """Returns the metadata of each preset of KerasHub for photos, by name."""
    return {name: facts for backbone in _backbones() for name, facts in backbone.presets.items()}


def source(preset: str) -> tuple[str, str | None]:
    """Returns where the weights of a preset come from, and the SPDX identifier of their licence if it is known."""
    if facts := presets().get(preset):
        licence = next((licence for pattern, licence in LICENCES.items() if re.fullmatch(pattern, preset)), None)
        return f"KerasHub, {facts['kaggle_handle']}", licence
    if "://" in preset:
        return f"KerasHub, {preset}", None
    # As on Hugging Face: facts between lines of dashes at the beginning.
    readme = Path(preset, "README.md")
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    match = re.match(r"---\n(?:(?!---).*\n)*?license: *([\w.-]+)", text)
    return f"the folder {Path(preset).resolve().name} with a preset of KerasHub", match and match[1]


def library() -> ModuleType:
    """Imports KerasHub, which takes seconds and makes its layers known to `keras.models.load_model`."""
    import keras_hub

    hub: ModuleType = keras_hub
    return hub


def import_if_needed(path: Path) -> None:
    """Imports KerasHub if a `.keras` file has layers from there.

    Raises:
        TrainerError: It is not installed.
        KeyError: The archive has no model.
    """
    if has_layers_of_kerashub(path):
        check_installed(str(path))
        library()


def _backbones() -> list[Any]:
    """The classes of backbones that take photos and nothing else."""
    models = library().models
    classes: list[Any] = [
        one for one in vars(models).values() if isinstance(one, type) and issubclass(one, models.ImageClassifier)
    ]
    backbones = {one.backbone_cls for one in classes} | {getattr(models, name) for name in WITHOUT_CLASSIFIER}
    return sorted(backbones - {None}, key=lambda one: one.__name__)


def _image_shape(backbone: keras.Model) -> tuple[int, ...]:
    size: tuple[int | None, ...] = tuple(backbone.image_shape[:2])
    return tuple(one or 224 for one in size)


def _build(
    name: str, own_size: int, *, input_shape: tuple[int, int, int], weights: str | None, **_: object
) -> keras.Model:
    options = {"image_shape": input_shape, "dtype": keras.config.dtype_policy().name}
    try:
        backbone = library().models.Backbone.from_preset(preset_of(name), load_weights=weights == IMAGENET, **options)
    except Exception as error:
        if not isinstance(error, ValueError) or input_shape[0] == own_size:
            raise _failure(name, error) from error
        raise TrainerError(
            f"{name} cannot take {input_shape[0]}x{input_shape[1]} pixels; leave out --size: it was trained on "
            f"{own_size}x{own_size} ({_reason(error)})"
        ) from error
    if weights not in {None, IMAGENET}:
        backbone.load_weights(weights)
    return backbone


def _not_for_photos(name: str) -> str:
    return f"{name} is not a backbone for photos alone; `--backbone {PREFIX}` lists those"


def _failure(name: str, error: Exception) -> TrainerError:
    if isinstance(error, TrainerError):
        return error
    if Path(preset_of(name)).is_dir():
        return TrainerError(f"{name} is not a whole preset of KerasHub: {_reason(error)}")
    return WeightsUnavailable(
        f"{name} cannot be loaded ({_reason(error)}); on a machine without internet access, use a folder that "
        f"`save_to_preset` wrote on another: --backbone {PREFIX}FOLDER"
    )


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
