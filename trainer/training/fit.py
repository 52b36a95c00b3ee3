"""Fitting: best epoch kept, early stop, and a state on disk from which a stopped run goes on."""

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import Config
from trainer.console import progress

SECONDS_BETWEEN_STATES = 2.0
AHEAD = 3
"""Batches that are fetched while the model is at another."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Inputs = NDArray[np.float32] | NDArray[np.uint8]
Fetch = Callable[[Indices], Inputs]
"""Positions of examples -> what the model takes for them, (n, ...)."""

Augment = Callable[[Inputs, np.random.Generator], Inputs]
"""Inputs, and where chance comes from -> inputs of the same shape."""

Epoch = dict[str, float]
"""Figures of one epoch: loss, accuracy, val_loss, val_accuracy."""

Step = Callable[..., dict[str, tf.Tensor]]
"""Inputs, targets and weights of a batch -> the metrics so far, each float32 ()."""


@dataclass(frozen=True)
class Examples:
    """What to learn from or to validate on: how to fetch inputs and vary them, and the class of each, int (n)."""

    fetch: Fetch
    labels: NDArray[np.int64]
    augment: Augment | None = None


class Batches:
    """Batches of examples, fetched a little ahead of their use, so that memory does not grow with their number.

    The order is a new one in each epoch. It follows from the seed and the epoch's number alone, as augmentation does,
    so a run that was stopped goes on as if it had not been. Without a seed it is the order of the examples.
    """

    def __init__(
        self, examples: Examples, weights: Floats, config: Config, classes: int, size: int, seed: int | None = None
    ) -> None:
        self._examples, self._weights, self._size, self._seed = examples, weights, size, seed
        labels = examples.labels
        sigmoid = config.output == "sigmoid"
        self._targets = (
            labels[:, np.newaxis].astype(np.float32) if sigmoid else np.eye(classes, dtype=np.float32)[labels]
        )

    def __len__(self) -> int:
        return -(-len(self._examples.labels) // self._size)

    def of(self, epoch: int) -> Iterator[tuple[tf.Tensor, ...]]:
        """Yields inputs, targets and weights of an epoch's batches."""
        order = np.arange(len(self._examples.labels))
        if self._seed is not None:
            np.random.default_rng((self._seed, epoch)).shuffle(order)
        chosen = [order[at : at + self._size] for at in range(0, len(order), self._size)]
        with ThreadPoolExecutor(1) as thread:
            ahead = deque(thread.submit(self._inputs, one, epoch, at) for at, one in enumerate(chosen[:AHEAD]))
            try:
                for at, one in enumerate(chosen):
                    inputs = ahead.popleft().result()
                    if at + AHEAD < len(chosen):
                        ahead.append(thread.submit(self._inputs, chosen[at + AHEAD], epoch, at + AHEAD))
                    yield tuple(map(tf.constant, (inputs, self._targets[one], self._weights[one])))
            finally:
                thread.shutdown(cancel_futures=True)

    def _inputs(self, chosen: Indices, epoch: int, batch: int) -> Inputs:
        inputs = self._examples.fetch(chosen)
        if self._examples.augment is None:
            return inputs
        return self._examples.augment(inputs, np.random.default_rng((self._seed or 0, epoch, batch)))


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
    tensorboard: Path | None = None,
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
        tensorboard: A folder for the figures of each epoch, in the format of TensorBoard; None to write none.

    Returns:
        The figures of each epoch, those of earlier, stopped calls included.
    """
    weights = class_weights(train.labels, config, classes)[train.labels]
    batches = Batches(train, weights, config, classes, batch_size, config.seed)
    checks = Batches(valid, np.ones(len(valid.labels), np.float32), config, classes, batch_size)
    model.compile(
        optimizer=_optimizer(config, learning_rate, len(batches) * epochs), loss=_loss(config),
        metrics=[_accuracy(config)],
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(model, state, stage, config.patience)
    if not checkpoints.finished(epochs):
        # Not Model.fit: on features, where a step is short, it takes twice as long for the same steps.
        learn, check = (_compiled(one) for one in (model.train_step, model.test_step))
        logs = [] if tensorboard is None else [keras.callbacks.TensorBoard(tensorboard / stage, write_graph=False)]
        callbacks = keras.callbacks.CallbackList(logs, model=model)
        callbacks.on_train_begin()
        with progress(f"Fitting, {stage}", (epochs - len(checkpoints.history)) * len(batches)) as advance:
            while not checkpoints.finished(epochs):
                epoch = len(checkpoints.history)
                note = f"epoch {epoch + 1} of {epochs}{checkpoints.so_far()}"
                _seed_dropout(model, config.seed, epoch)
                figures = _run(model, learn, batches.of(epoch), partial(advance, 1, note))
                found = _run(model, check, checks.of(epoch))
                figures |= {f"val_{name}": value for name, value in found.items()}
                checkpoints.add(figures, epochs)
                callbacks.on_epoch_end(epoch, figures)
        callbacks.on_train_end()
    model.load_weights(checkpoints.best_weights)
    return checkpoints.history


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Has dropout depend on the seed and the epoch alone; Keras does not save the state of its random numbers."""
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
    for at, layer in enumerate(layers):
        layer.seed_generator.state.assign(np.random.SeedSequence((seed, epoch, at)).generate_state(2))


def _compiled(step: Callable[[tuple[tf.Tensor, ...]], dict[str, tf.Tensor]]) -> Step:
    return tf.function(lambda *batch: step(batch), reduce_retracing=True, jit_compile=False)  # type: ignore[no-any-return]


def _run(
    model: keras.Model, step: Step, batches: Iterator[tuple[tf.Tensor, ...]], after: Callable[[], None] = lambda: None
) -> Epoch:
    """Takes a step for each batch; returns the metrics over all of them."""
    model.reset_metrics()
    found: dict[str, tf.Tensor] = {}
    for batch in batches:
        found = step(*batch)
        after()
    return {name: float(value) for name, value in found.items()}


class Checkpoints:
    """Keeps the weights of the best epoch and, now and then, all that is needed to go on after the last one.

    What an earlier, stopped call has kept is put back into the model and its optimiser.
    """

    def __init__(self, model: keras.Model, folder: Path, stage: str, patience: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.best_weights = folder / f"{stage}-best.weights.h5"
        self.history: list[Epoch] = []
        self._record = folder / f"{stage}.json"
        self._model, self._folder, self._stage, self._patience = model, folder, stage, patience
        self._saved_at = time.monotonic()
        if self._record.exists():
            self.history = json.loads(self._record.read_text())
            model.load_weights(self._weights(len(self.history)))

    def finished(self, epochs: int) -> bool:
        """Whether no epoch is left, or none has been better for too long."""
        return len(self.history) >= epochs or len(self.history) - 1 - self._best() >= self._patience

    def so_far(self) -> str:
        """Returns the last and the best validation accuracy for people; nothing before the first epoch."""
        if not self.history:
            return ""
        accuracy, highest = (self.history[at]["val_accuracy"] for at in (-1, self._best()))
        return f", validation accuracy {accuracy:.3f}, best {highest:.3f}"

    def add(self, figures: Epoch, epochs: int) -> None:
        """Takes the figures of an epoch, and saves what is worth it."""
        self.history.append(figures)
        if self._best() == len(self.history) - 1:
            self._model.save_weights(self.best_weights)
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_STATES or self.finished(epochs):
            self._save()

    def _best(self) -> int:
        """The epoch of the highest validation accuracy; among equals, of the lowest loss. -1 before the first."""
        scores = [(epoch["val_accuracy"], -epoch["val_loss"]) for epoch in self.history]
        return max(range(len(scores)), key=scores.__getitem__, default=-1)

    def _weights(self, epochs: int) -> Path:
        return self._folder / f"{self._stage}-{epochs}.weights.h5"

    def _save(self) -> None:
        # First the weights (with the optimiser's), then the record that names them, then the old ones go: stopped at
        # any point, the record and the weights it names are whole.
        self._model.save_weights(self._weights(len(self.history)))
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
    # As a graph: the first eager call of a large network takes seconds.
    run = tf.function(lambda inputs: model(tf.cast(inputs, tf.float32), training=False), reduce_retracing=True)
    parts = (examples.fetch(np.arange(at, min(at + batch_size, count))) for at in range(0, count, batch_size))
    return np.concatenate([np.asarray(run(tf.constant(part)), np.float32) for part in parts])


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


def class_weights(labels: NDArray[np.int64], config: Config, classes: int) -> Floats:
    """Weights float32 (classes), 1 on average over the examples: all classes count the same together, or all are 1."""
    counts = np.bincount(labels, minlength=classes)
    unbalanced = counts.max() > 1.5 * counts.min()
    if config.class_weights == "none" or (config.class_weights == "auto" and not unbalanced):
        return np.ones(classes, np.float32)
    return (len(labels) / (classes * counts)).astype(np.float32)
