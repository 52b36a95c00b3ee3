"""Check before the training whether a network can be exported."""

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import keras

from trainer.config import Config
from trainer.data.photos import content_key
from trainer.export.saved_model import try_export
from trainer.memory import free
from trainer.model_card import MULTI_LABEL, Backbone, Card, InputSpec
from trainer.network.assemble import build, with_mirror, with_other
from trainer.network.backbone_names import content_of, needs_kerashub
from trainer.network.weights import NONE

OF_THE_BACKBONE = ("backbone", "size", "alpha", "pooling", "tta")
"""Settings that decide whether a network can be exported. All heads of the trainer can be."""


def check_exportable(model: keras.Model, config: Config, spec: InputSpec, cache: Path) -> None:
    """Exports an untrained network as a test. A success is recorded in the cache, so each backbone is tested once.

    Args:
        model: Pixels -> logits.
        config: The configuration of the model.
        spec: The input of the model.
        cache: The folder of caches.

    Raises:
        TrainerError: The network cannot be exported.
    """
    facts = {name: getattr(config, name) for name in OF_THE_BACKBONE}
    facts |= {"content": content_of(config.backbone), "tensorflow": version("tensorflow"), "keras": version("keras")}
    if needs_kerashub(config.backbone):
        facts["keras-hub"] = version("keras-hub")
    note = cache / f"exportable-{content_key(json.dumps(facts).encode()).hex()}"
    if note.exists():
        return
    if model.compute_dtype != "float32":  # exports are in float32
        model = build(dataclasses.replace(config, weights=NONE), model.output_shape[-1]).model
    sigmoid = model.output_shape[-1] == 1
    labels = [str(at) for at in range(2 if sigmoid else model.output_shape[-1])]
    card = Card("trial", labels, spec, Backbone(config.backbone, "none"))
    if config.multi_label:
        card = dataclasses.replace(card, task=MULTI_LABEL, thresholds=[0.5] * len(labels))
    elif not sigmoid:
        model, card = with_other(model, 0.0), dataclasses.replace(card, other_labels=(None,))
    try_export(with_mirror(model) if config.tta == "flip" else model, card)
    free()  # before the features are computed
    cache.mkdir(parents=True, exist_ok=True)
    note.touch()
