"""Fitting: best epoch kept, early stop, and a state on disk from which a stopped run goes on."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from trainer.config import Config
from trainer.console import Advance, progress

SECONDS_BETWEEN_STATES = 2.0

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Fetch = Callable[[Indices], NDArray[np.float32] | NDArray[np.uint8]]
"""Positions of examples -> what the model takes for them, (n, ...)."""

Epoch = dict[str, float]
"""Figures of one epoch: loss, accuracy, val_loss, val_accuracy."""


@dataclass(frozen=True)
class Examples:
    """What to learn from or to validate on: how to fetch inputs, and the class of each, int (n)."""

    fetch: Fetch
    labels: NDArray[np.int64]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of examples, fetched when they are needed, so that memory does not grow with their number.

    The order is a new one in each epoch and follows from the seed and the epoch's number alone; without a seed it is
    the order of the examples.
    """

    def __init__(
        self, examples: Examples, weights: Floats, config: Config, classes: int, size: int, seed: int | None = None
    ) -> None:
        super().__init__()
        self._examples, self._weights, self._size, self._seed = examples, weights, size, seed
        labels = examples.labels
        sigmoid = config.output == "sigmoid"
        self._targets = (
            labels[:, np.newaxis].astype(np.float32) if sigmoid else np.eye(classes, dtype=np.float32)[labels]
        )
        self.start(0)

    def __len__(self) -> int:
        return -(-len(self._examples.labels) // self._size)

    def __getitem__(self, at: int) -> tuple[NDArray[np.float32] | NDArray[np.uint8], Floats, Floats]:
        chosen = self._order[at * self._size : (at + 1) * self._size]
        return self._examples.fetch(chosen), self._targets[chosen], self._weights[chosen]

    def start(self, epoch: int) -> None:
        """Sets the order of an epoch."""
        self._epoch = epoch
        self._order = np.arange(len(self._examples.labels))
        if self._seed is not None:
            np.random.default_rng((self._seed, epoch)).shuffle(self._order)

    def on_epoch_end(self) -> None:
        """Called by Keras."""
        self.start(self._epoch + 1)


def fit(
    model: keras.Model,
    train: Examples,
    valid: Examples,
    config: Config,
    classes: int,
    *,
    stage: str,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    state: Path,
) -> list[Epoch]:
    """Fits a model in place and leaves it with the weights of its best epoch, by validation accuracy.

    Args:
        model: What `fetch` gives -> logits (n, classes), or (n, 1) for a sigmoid.
        train: What to learn from.
        valid: What decides on the best epoch and the early stop.
        config: Optimiser, schedule, loss and patience.
        classes: Number of labels.
        stage: Its name, for progress and for the files of its state.
        epochs: At most so many.
        learning_rate: At its highest.
        batch_size: Examples a step.
        state: The folder where a stopped fit is found again. One that is complete is not repeated.

    Returns:
        The figures of each epoch, those of earlier, stopped calls included.
    """
    steps = -(-len(train.labels) // batch_size) * epochs
    model.compile(
        optimizer=_optimizer(config, learning_rate, steps), loss=_loss(config), metrics=[_accuracy(config)],
        jit_compile=False,
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    weights = _class_weights(train.labels, config, classes)[train.labels]
    batches = Batches(train, weights, config, classes, batch_size, config.seed)
    checkpoints = Checkpoints(state, stage, config.patience)
    done = checkpoints.restore(model)
    if not checkpoints.finished(epochs):
        batches.start(done)
        ones = np.ones(len(valid.labels), np.float32)
        with progress(f"Fitting, {stage}", epochs - done) as advance:
            checkpoints.advance = advance
            model.fit(
                batches,
                validation_data=Batches(valid, ones, config, classes, batch_size),
                epochs=epochs,
                initial_epoch=done,
                callbacks=[checkpoints],
                verbose=0,
            )
    model.load_weights(checkpoints.best_weights)
    return checkpoints.history


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the best epoch and, now and then, all that is needed to go on after the last one."""

    def __init__(self, folder: Path, stage: str, patience: int) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.best_weights = folder / f"{stage}-best.weights.h5"
        self.history: list[Epoch] = []
        self.advance: Advance = lambda *_: None
        self._record = folder / f"{stage}.json"
        self._folder, self._stage, self._patience = folder, stage, patience
        self._saved_at = time.monotonic()

    def restore(self, model: keras.Model) -> int:
        """Puts a model and its optimiser back where the last state was saved; returns the epochs done."""
        if not self._record.exists():
            return 0
        self.history = json.loads(self._record.read_text())
        model.load_weights(self._weights(len(self.history)))
        return len(self.history)

    def finished(self, epochs: int) -> bool:
        """Whether no epoch is left, or none has been better for too long."""
        return len(self.history) >= epochs or len(self.history) - 1 - self._best() >= self._patience

    def on_epoch_end(self, epoch: int, logs: Epoch | None = None) -> None:
        """Called by Keras."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        best = self._best()
        if best == epoch:
            self.model.save_weights(self.best_weights)
        if self.finished(self.params["epochs"]):
            self.model.stop_training = True
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_STATES or self.finished(self.params["epochs"]):
            self._save()
        accuracy, highest = self.history[-1]["val_accuracy"], self.history[best]["val_accuracy"]
        self.advance(1, f"validation accuracy {accuracy:.3f}, best {highest:.3f}")

    def _best(self) -> int:
        """The epoch of the highest validation accuracy; among equals, of the lowest loss. -1 before the first."""
        scores = [(epoch["val_accuracy"], -epoch["val_loss"]) for epoch in self.history]
        return max(range(len(scores)), key=scores.__getitem__, default=-1)

    def _weights(self, epochs: int) -> Path:
        return self._folder / f"{self._stage}-{epochs}.weights.h5"

    def _save(self) -> None:
        # First the weights (with the optimiser's), then the record that names them, then the old ones go: stopped at
        # any point, the record and the weights it names are whole.
        self.model.save_weights(self._weights(len(self.history)))
        draft = self._record.with_suffix(".draft")
        draft.write_text(json.dumps(self.history))
        draft.replace(self._record)
        for old in self._folder.glob(f"{self._stage}-[0-9]*.weights.h5"):
            if old != self._weights(len(self.history)):
                old.unlink()
        self._saved_at = time.monotonic()


def predict(model: keras.Model, examples: Examples, batch_size: int = 32) -> Floats:
    """Returns the logits of every example, float32 (n, classes) or (n, 1)."""
    count = len(examples.labels)
    parts = (examples.fetch(np.arange(at, min(at + batch_size, count))) for at in range(0, count, batch_size))
    return np.concatenate([np.asarray(model(part.astype(np.float32), training=False), np.float32) for part in parts])


def _optimizer(config: Config, learning_rate: float, steps: int) -> keras.optimizers.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    elif config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay or None)
    else:
        return keras.optimizers.RMSprop(rate)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def _loss(config: Config) -> keras.losses.Loss:
    kind = keras.losses.BinaryCrossentropy if config.output == "sigmoid" else keras.losses.CategoricalCrossentropy
    return kind(from_logits=True, label_smoothing=config.label_smoothing)


def _accuracy(config: Config) -> keras.metrics.Metric:
    if config.output == "sigmoid":
        return keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0)
    return keras.metrics.CategoricalAccuracy(name="accuracy")


def _class_weights(labels: NDArray[np.int64], config: Config, classes: int) -> Floats:
    """Weights float32 (classes), 1 on average over the examples: all classes count the same together, or all are 1."""
    counts = np.bincount(labels, minlength=classes)
    unbalanced = counts.max() > 1.5 * counts.min()
    if config.class_weights == "none" or (config.class_weights == "auto" and not unbalanced):
        return np.ones(classes, np.float32)
    return (len(labels) / (classes * counts)).astype(np.float32)
