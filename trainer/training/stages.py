"""The two stages of a run on one network: the head on bottleneck features, then the last layers on pixels."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import Config
from trainer.console import say
from trainer.data.augment import Augmentation
from trainer.data.data_set import DataSet
from trainer.data.multi_label import strata
from trainer.data.pixel_cache import cache_pixels, pixel_store
from trainer.data.record_store import RecordStore
from trainer.data.splits import Split
from trainer.data.views import VIEWS, view_key
from trainer.evaluation import calibrate
from trainer.evaluation.calibration import Calibration, two_columns
from trainer.evaluation.multi_label import RULE, RULE_OF_VALIDATION, MultiLabelCalibration
from trainer.model_card import InputSpec
from trainer.network import assemble as networks
from trainer.training.bottleneck_features import Extractor
from trainer.training.checkpoints import Epoch
from trainer.training.cross_validation import STRENGTHS, CrossValidation, fit_head
from trainer.training.fit import Examples, Floats, class_weights, fit, predict
from trainer.training.logistic_head import Training
from trainer.training.one_vs_rest import MultiLabelTraining, shifted
from trainer.training.tuning import tune

PLAIN = VIEWS[:1]

Store = RecordStore[np.float32] | RecordStore[np.uint8]


@dataclass(frozen=True)
class Machine:
    """Folders and options for the machine. They do not change the result."""

    cache: Path
    workers: int
    tensorboard: Path | None = None


@dataclass(frozen=True)
class Fitted:
    """The result of the training.

    Attributes:
        model: Pixels float32 (n, height, width, 3) -> logits, in float32.
        spec: The input of the model.
        history: Figures of each epoch by stage.
        logits: Logits of validation and test photos, float32 (n, classes) or (n, 1).
        calibration: Calibration on photos that the model was not trained on.
        cross_validation: That of a logistic head without fine-tuning; None for other models.
    """

    model: keras.Model
    spec: InputSpec
    history: dict[str, list[Epoch]]
    logits: dict[Split, Floats]
    calibration: Calibration | MultiLabelCalibration
    cross_validation: CrossValidation | None


@dataclass
class Stages:
    """Fits a network to a data set.

    `network` is the result of `assemble.build`. `state` is the folder from which a stopped fit is resumed.
    """

    config: Config
    data: DataSet
    network: networks.Network
    machine: Machine
    state: Path

    def run(self) -> Fitted:
        """Fits the network. The model in the result is in float32."""
        config, network = self.config, self.network
        history: dict[str, list[Epoch]] = {}
        cross_validation: CrossValidation | None = None
        if config.logistic:
            logits, cross_validation = self._fit_logistic_head()
            views = logits["valid"]  # calibrated on where there are too few photos for cross-validation
        elif config.epochs:
            history["head"], logits, views = self._fit_dense_head()
        if config.fine_tune:
            before = network.model.get_weights()
            history["fine-tuning"], tuned_logits, tuned_views = self._fine_tune()
            if config.epochs and self._valid_score(tuned_logits) < self._valid_score(logits):
                say("fine-tuning did not improve the validation accuracy; keeping the model from before it")
                network.model.set_weights(before)
            else:
                logits, views, cross_validation = tuned_logits, tuned_views, None
        calibration: Calibration | MultiLabelCalibration
        if config.multi_label and cross_validation is None:
            targets = self.data.targets("valid")
            calibration = MultiLabelCalibration.fit(logits["valid"], targets, RULE_OF_VALIDATION)
        elif config.multi_label and cross_validation is not None:
            calibration = MultiLabelCalibration.fit(cross_validation.logits, cross_validation.labels, RULE)
        elif cross_validation is None:
            calibration = Calibration.fit(views, self._truth("valid"), config.set_coverage)
        else:
            result, sigmoid = cross_validation, config.output == "sigmoid"
            calibration = Calibration.cross_validated(
                result.logits, result.labels, result.left_out, sigmoid=sigmoid, coverage=config.set_coverage
            )
        model = network.model
        if model.compute_dtype != "float32":
            model = networks.build(dataclasses.replace(config, weights="none"), len(self.data.labels)).model
            model.set_weights(network.model.get_weights())
        return Fitted(model, self.spec, history, logits, calibration, cross_validation)

    @property
    def spec(self) -> InputSpec:
        """The input of the network."""
        return input_spec(self.network, self.config)

    def _fit_logistic_head(self) -> tuple[dict[Split, Floats], CrossValidation | None]:
        config, photos = self.config, self.data.photos
        extractor = Extractor(self.network.features, self.spec, self.machine.cache, self.machine.workers)
        with extractor.store as store:
            training = partial(self._training, extractor, store)
            answered = VIEWS[:2] if config.tta == "flip" else PLAIN
            extractor.extract(photos["valid"] + photos["test"], answered)
            views, strengths = config.views, (config.strength,) if config.strength else STRENGTHS
            if config.tune and (best := tune(training, config.folds, config.tune)) is not None:
                views, strengths = best.views, (best.strength,)
            head, cross_validation = fit_head(training(views), config.folds, strengths)
            if config.multi_label and cross_validation is not None:
                head, cross_validation = shifted(head, cross_validation)
            sigmoid = config.output == "sigmoid"
            self.network.head.get_layer("logits").set_weights(
                [np.diff(head.kernel), np.diff(head.bias)] if sigmoid else [head.kernel, head.bias]
            )
            logits = [self._predict(self.network.head, store, view) for view in answered]
            return {split: np.mean([one[split] for one in logits], axis=0) for split in logits[0]}, cross_validation

    def _training(self, extractor: Extractor, store: RecordStore[np.float32], count: int) -> Training:
        """Features of this number of views of the training photos; computes those that are not cached."""
        photos, views = self.data.photos["train"], VIEWS[:count]
        extractor.extract(photos, views)
        features = np.stack([store.rows([view_key(photo, view) for photo in photos]) for view in views], axis=1)
        labels, keys = self._truth("train"), [photo.key for photo in photos]
        mirrored = self.config.tta == "flip"
        if self.config.multi_label:
            even = np.ones(len(self.data.labels), np.float32)
            targets = self.data.targets("train")
            return MultiLabelTraining(features, labels, keys, even, targets, mirrored=mirrored)
        weights = class_weights(labels, self.config, len(self.data.labels))
        return Training(features, labels, keys, weights, mirrored=mirrored)

    def _fit_dense_head(self) -> tuple[list[Epoch], dict[Split, Floats], Floats]:
        config, photos, network = self.config, self.data.photos, self.network
        views = VIEWS[: config.views]
        extractor = Extractor(network.features, self.spec, self.machine.cache, self.machine.workers)
        with extractor.store as store:
            extractor.extract(photos["train"], views)
            extractor.extract(photos["valid"], VIEWS)
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
                tensorboard=self.machine.tensorboard,
            )
            return history, self._predict(network.head, store), self._predict_views(network.head, store)

    def _fine_tune(self) -> tuple[list[Epoch], dict[Split, Floats], Floats]:
        config, photos, network = self.config, self.data.photos, self.network
        networks.unfreeze(network, config.fine_tune)
        with pixel_store(self.spec, self.machine.cache) as store:
            cache_pixels(photos["train"] + photos["test"], PLAIN, store, self.spec, self.machine.workers)
            cache_pixels(photos["valid"], VIEWS, store, self.spec, self.machine.workers)
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
                tensorboard=self.machine.tensorboard,
            )
            return history, self._predict(network.model, store), self._predict_views(network.model, store)

    def _truth(self, split: Split) -> NDArray[np.int64]:
        """The class of each photo, or its stratum in a multi-label data set."""
        return np.array(strata(self.data.photos[split]), np.int64)

    def _examples(self, split: Split, views: Sequence[str], store: Store) -> Examples:
        keys = [view_key(photo, view) for photo in self.data.photos[split] for view in views]
        return Examples(lambda at: store.rows([keys[one] for one in at]), np.repeat(self._truth(split), len(views)))

    def _predict(self, model: keras.Model, store: Store, view: str = "plain") -> dict[Split, Floats]:
        held_out: list[Split] = [split for split in ("valid", "test") if self.data.photos[split]]
        return {split: predict(model, self._examples(split, [view], store)) for split in held_out}

    def _predict_views(self, model: keras.Model, store: Store) -> Floats:
        """Logits of all views of the validation photos; those of a photo are consecutive.

        Models without cross-validation are calibrated on them, because views are harder than photos.
        """
        return predict(model, self._examples("valid", VIEWS, store))

    def _valid_score(self, logits: dict[Split, Floats]) -> tuple[float, float]:
        """Accuracy and negative log-loss on the validation photos."""
        columns, truth = two_columns(logits["valid"]), self._truth("valid")
        likelihood = calibrate.softmax(columns)[np.arange(len(truth)), truth]
        return float((columns.argmax(axis=1) == truth).mean()), float(np.log(np.maximum(likelihood, 1e-12)).mean())


def input_spec(network: networks.Network, config: Config) -> InputSpec:
    """Returns the input of a network: its size, and how photos are fitted to it."""
    height, width = network.model.input_shape[1:3]
    return InputSpec(height, width, config.fit, config.interpolation)


def training_precision(precision: str) -> str:
    """Returns `float32` or `mixed_float16` for a value of `--training-precision`; `auto` is the latter on a GPU."""
    if precision != "auto":
        return precision
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
