"""Whether a network can be exported, found out before it is trained."""

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import keras

from trainer.config import Config
from trainer.data.photos import content_key
from trainer.export.saved_model import try_export
from trainer.model_card import MULTI_LABEL, Backbone, Card, InputSpec
from trainer.network.assemble import build, with_other
from trainer.network.weights import NONE

OF_THE_GRAPH = ("backbone", "size", "alpha", "pooling", "hidden", "output")
"""Settings that the graph of an export depends on."""


def check_exportable(model: keras.Model, config: Config, spec: InputSpec, cache: Path) -> None:
    """Exports an untrained network for trial, once for each kind of network: that it worked is noted in the cache.

    Args:
        model: Pixels -> logits.
        config: What it was built from.
        spec: Its input.
        cache: The folder of caches.

    Raises:
        TrainerError: It cannot be exported.
    """
    facts = {name: getattr(config, name) for name in OF_THE_GRAPH}
    facts["multi_label"] = config.multi_label
    facts |= {"tensorflow": version("tensorflow"), "keras": version("keras")}
    note = cache / f"exportable-{content_key(json.dumps(facts).encode()).hex()}"
    if note.exists():
        return
    if model.compute_dtype != "float32":  # exports are in float32, whatever is trained in
        model = build(dataclasses.replace(config, weights=NONE), model.output_shape[-1]).model
    sigmoid = model.output_shape[-1] == 1
    labels = [str(at) for at in range(2 if sigmoid else model.output_shape[-1])]
    card = Card("trial", labels, spec, Backbone(config.backbone, "none"))
    if config.multi_label:
        try_export(model, dataclasses.replace(card, task=MULTI_LABEL, thresholds=[0.5] * len(labels)))
    elif sigmoid:
        try_export(model, card)
    else:
        try_export(with_other(model, 0.0), dataclasses.replace(card, other_labels=(None,)))
    cache.mkdir(parents=True, exist_ok=True)
    note.touch()
