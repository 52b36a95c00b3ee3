"""The two stages of a run on one network: the head on bottleneck features, then the last layers on pixels."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.console import say
from trainer.data.augment import Augmentation
from trainer.data.data_set import DataSet
from trainer.data.folders import Split
from trainer.data.pixel_cache import cache_pixels, pixel_store
from trainer.data.record_store import RecordStore
from trainer.data.views import VIEWS, view_key
from trainer.model_card import InputSpec
from trainer.network import assemble as networks
from trainer.training.bottleneck_features import Extractor
from trainer.training.fit import Epoch, Examples, Floats, fit, predict

PLAIN = VIEWS[:1]


@dataclass(frozen=True)
class Machine:
    """How the machine is used, and where what can be computed again is kept: nothing here changes what comes out.

    `precision`: `float32`, `mixed_float16`, or `auto` for the latter on a GPU.
    """

    cache: Path
    workers: int
    precision: str = "auto"


@dataclass(frozen=True)
class Fitted:
    """What a run has learned.

    `model`: pixels float32 (n, height, width, 3) -> logits, in float32. `history`: the figures of each epoch by stage.
    `logits`: those of validation and test photos, float32 (n, classes) or (n, 1). `views`: those of the views of the
    validation photos, which are harder than the photos: what to calibrate on; all views of a photo follow each other.
    """

    model: keras.Model
    spec: InputSpec
    history: dict[str, list[Epoch]]
    logits: dict[Split, Floats]
    views: Floats


@dataclass
class Stages:
    """Fits a network to a data set. `state` is the folder from which a stopped fit goes on."""

    config: Config
    data: DataSet
    machine: Machine
    state: Path
    spec: InputSpec = field(init=False)

    def run(self) -> Fitted:
        """Builds the network and fits it; Keras objects are left in float32."""
        config = self.config
        precision = _precision(self.machine.precision)
        network = networks.build(config, len(self.data.labels), precision=precision)
        height, width = network.model.input_shape[1:3]
        self.spec = InputSpec(height, width, config.fit, config.interpolation)
        history: dict[str, list[Epoch]] = {}
        if config.epochs:
            history["head"], logits, views = self._fit_head(network)
        if config.fine_tune:
            before = network.model.get_weights()
            history["fine-tuning"], tuned_logits, tuned_views = self._fine_tune(network)
            if config.epochs and _best(history["fine-tuning"]) < _best(history["head"]):
                say("fine-tuning did not improve the validation accuracy; keeping the model from before it")
                network.model.set_weights(before)
            else:
                logits, views = tuned_logits, tuned_views
        model = network.model
        if precision != "float32":
            model = networks.build(dataclasses.replace(config, weights="none"), len(self.data.labels)).model
            model.set_weights(network.model.get_weights())
        return Fitted(model, self.spec, history, logits, views)

    def _fit_head(self, network: networks.Network) -> tuple[list[Epoch], dict[Split, Floats], Floats]:
        config, photos = self.config, self.data.photos
        views = VIEWS[: config.views]
        extractor = Extractor(network.features, self.spec, self.machine.cache, self.machine.workers)
        with extractor.store as store:
            extractor.extract(photos["train"] + photos["valid"], views)
            extractor.extract(photos["test"], PLAIN)
            history = fit(
                network.head,
                self._examples("train", views, store),
                self._examples("valid", PLAIN, store),
                config,
                len(self.data.labels),
                stage="head",
                epochs=config.epochs,
                learning_rate=config.learning_rate,
                batch_size=config.batch_size,
                state=self.state,
            )
            return history, *self._predict(network.head, views, store)

    def _fine_tune(self, network: networks.Network) -> tuple[list[Epoch], dict[Split, Floats], Floats]:
        config, photos = self.config, self.data.photos
        views = VIEWS[: config.views]
        networks.unfreeze(network, config.fine_tune)
        with pixel_store(self.spec, self.machine.cache) as store:
            cache_pixels(photos["train"] + photos["test"], PLAIN, store, self.spec, self.machine.workers)
            cache_pixels(photos["valid"], views, store, self.spec, self.machine.workers)
            plain = self._examples("train", PLAIN, store)
            augmentation = Augmentation.of(config)
            history = fit(
                network.model,
                dataclasses.replace(plain, augment=lambda at, rng: augmentation.apply(np.asarray(at, np.uint8), rng)),
                self._examples("valid", PLAIN, store),
                config,
                len(self.data.labels),
                stage="fine-tuning",
                epochs=config.fine_tune_epochs,
                learning_rate=config.fine_tune_learning_rate,
                batch_size=config.fine_tune_batch_size,
                state=self.state,
            )
            return history, *self._predict(network.model, views, store)

    def _examples(
        self, split: Split, views: Sequence[str], store: RecordStore[np.float32] | RecordStore[np.uint8]
    ) -> Examples:
        photos = self.data.photos[split]
        keys = [view_key(photo, view) for photo in photos for view in views]
        labels = np.repeat(np.array([photo.label for photo in photos], np.int64), len(views))
        return Examples(lambda at: store.rows([keys[one] for one in at]), labels)

    def _predict(
        self, model: keras.Model, views: Sequence[str], store: RecordStore[np.float32] | RecordStore[np.uint8]
    ) -> tuple[dict[Split, Floats], Floats]:
        held_out: list[Split] = [split for split in ("valid", "test") if self.data.photos[split]]
        logits = {split: predict(model, self._examples(split, PLAIN, store)) for split in held_out}
        return logits, predict(model, self._examples("valid", views, store))


def _best(history: list[Epoch]) -> tuple[float, float]:
    """Accuracy and negative loss on validation photos of the epoch whose weights were kept."""
    return max((epoch["val_accuracy"], -epoch["val_loss"]) for epoch in history)


def _precision(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
