"""Fit by gradient descent with `Model.fit`, on batches that are the same if a run is stopped and resumed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.config import Config
from trainer.console import Advance, progress
from trainer.training.checkpoints import Checkpoints, Epoch

JIT_COMPILE: Final = False
"""Whether XLA compiles the steps.

Measured on a CPU, the last 20 layers of EfficientNet-Lite0 fine-tuned for two epochs on 200 photos: 293 s of CPU time
with XLA, 23 s without. `steps_per_execution` does not help either: 20 epochs of a dense head on 5,760 views take 5.5 s
with one step in an execution and with 16.
"""

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]
Inputs = NDArray[np.float32] | NDArray[np.uint8]
Fetch = Callable[[Indices], Inputs]
"""Positions of examples -> their inputs (n, ...)."""

Augment = Callable[[Inputs, np.random.Generator], Inputs]
"""Inputs, random generator -> inputs of the same shape."""


@dataclass(frozen=True)
class Examples:
    """Training or validation examples: how to fetch and augment the inputs, and the class of each, int (n)."""

    fetch: Fetch
    labels: NDArray[np.int64]
    augment: Augment | None = None


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of examples. Keras fetches a few of them in advance, so memory does not grow with their number.

    Each epoch has another order. Order and augmentation depend only on the seed and the number of the epoch, so a
    resumed run continues as if it had not been stopped. Without a seed, the order is that of the examples.

    Args:
        examples: The examples.
        weights: Weight of each example, float32 (n).
        config: Its setting `output` decides on the form of the targets.
        classes: Number of labels.
        size: Number of examples in a batch.
        seed: Seed of the order and the augmentation.
        epoch: The first epoch.

    Attributes:
        error: The exception of `fetch` or `augment`. Keras only passes on its text, with a stack trace.
    """

    def __init__(
        self,
        examples: Examples,
        weights: Floats,
        config: Config,
        classes: int,
        size: int,
        seed: int | None = None,
        epoch: int = 0,
    ) -> None:
        super().__init__()
        self.error: Exception | None = None
        self._examples, self._weights, self._size, self._seed = examples, weights, size, seed
        self._epoch = self._next_epoch = epoch
        self._order = np.arange(len(examples.labels))
        labels = examples.labels
        sigmoid = config.output == "sigmoid"
        self._targets = (
            labels[:, np.newaxis].astype(np.float32) if sigmoid else np.eye(classes, dtype=np.float32)[labels]
        )

    def __len__(self) -> int:
        return -(-len(self._examples.labels) // self._size)

    def __getitem__(self, batch: int) -> tuple[Inputs, Floats, Floats]:
        indexes = self._order[batch * self._size : (batch + 1) * self._size]
        try:
            inputs = self._examples.fetch(indexes)
            if self._examples.augment is not None:
                inputs = self._examples.augment(inputs, np.random.default_rng((self._seed or 0, self._epoch, batch)))
        except Exception as error:
            self.error = error
            raise
        return inputs, self._targets[indexes], self._weights[indexes]

    def on_epoch_begin(self) -> None:
        """Begins the next epoch."""
        self._epoch, self._next_epoch = self._next_epoch, self._next_epoch + 1
        self._order = np.arange(len(self._examples.labels))
        if self._seed is not None:
            np.random.default_rng((self._seed, self._epoch)).shuffle(self._order)


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
    """Fits a model in place; it keeps the weights of the epoch with the best validation accuracy.

    Args:
        model: Result of `fetch` -> logits (n, classes), or (n, 1) for a sigmoid.
        train: Training examples.
        valid: Validation examples, which decide on the best epoch and on early stopping.
        config: Optimiser, schedule, loss and patience.
        classes: Number of labels.
        stage: Name of the stage, for the progress and the files of the state.
        epochs: Maximum number of epochs.
        learning_rate: Maximum learning rate.
        batch_size: Number of examples in a step.
        state: Folder of the state from which a stopped fit is resumed. A complete fit is not repeated.
        tensorboard: Folder for the figures of each epoch, in the format of TensorBoard; None to write none.

    Returns:
        The figures of each epoch, including those before the fit was stopped.

    Raises:
        Exception: As `fetch` or `augment` of the examples raise it.
    """
    weights = class_weights(train.labels, config, classes)[train.labels]
    checkpoints = Checkpoints(state, stage, epochs, config.patience)
    first = len(checkpoints.history)
    batches = Batches(train, weights, config, classes, batch_size, config.seed, first)
    checks = Batches(valid, np.ones(len(valid.labels), np.float32), config, classes, batch_size)
    model.compile(
        optimizer=_optimizer(config, learning_rate, len(batches) * epochs), loss=_loss(config),
        metrics=[_accuracy(config)], jit_compile=JIT_COMPILE,
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    if not checkpoints.finished:
        callbacks = [_DropoutSeeds(config.seed), checkpoints]
        if tensorboard is not None:
            callbacks.append(_EpochFigures(tensorboard / stage, write_graph=False))
        with progress(f"Fitting, {stage}", (epochs - first) * len(batches)) as advance:
            callbacks.append(_Progress(advance, len(batches), checkpoints))
            try:
                model.fit(
                    batches, validation_data=checks, epochs=epochs, initial_epoch=first, shuffle=False, verbose=0,
                    callbacks=callbacks,
                )  # fmt: skip
            except tf.errors.OpError as error:
                raise batches.error or checks.error or error from None
    model.load_weights(checkpoints.best_weights)
    return checkpoints.history


class _EpochFigures(keras.callbacks.TensorBoard):  # type: ignore[misc]
    """Writes the figures by epoch only. Figures by step would be repeated by a resumed fit."""

    def on_test_end(self, logs: object = None) -> None:  # noqa: ARG002 - as Keras calls it
        super().on_test_end({})


class _DropoutSeeds(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes dropout depend only on the seed and the epoch, because Keras does not save its random state."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - as Keras calls it
        layers = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Dropout) and layer.rate]
        for at, layer in enumerate(layers):
            layer.seed_generator.state.assign(np.random.SeedSequence((self._seed, epoch, at)).generate_state(2))


class _Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows steps and the validation accuracy so far."""

    def __init__(self, advance: Advance, steps: int, checkpoints: Checkpoints) -> None:
        super().__init__()
        self._advance, self._steps, self._checkpoints = advance, steps, checkpoints
        self._done = 0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:  # noqa: ARG002 - as Keras calls it
        self._done = 0
        self._note = f"epoch {epoch + 1} of {self._checkpoints.epochs}{self._checkpoints.so_far()}"

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:  # noqa: ARG002 - as Keras calls it
        done = min(batch + 1, self._steps)
        self._advance(done - self._done, self._note)
        self._done = done


def predict(model: keras.Model, examples: Examples, batch_size: int = 32) -> Floats:
    """Returns the logits of every example, float32 (n, classes) or (n, 1)."""
    count = len(examples.labels)
    # As a graph: the first eager call of a large network takes seconds.
    run = tf.function(
        lambda inputs: model(tf.cast(inputs, tf.float32), training=False), autograph=False, reduce_retracing=True
    )
    batches = (examples.fetch(np.arange(at, min(at + batch_size, count))) for at in range(0, count, batch_size))
    return np.concatenate([np.asarray(run(tf.constant(batch)), np.float32) for batch in batches])


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
    """Weights float32 (classes) with which all classes count equally, 1 on average over the examples; or all are 1."""
    counts = np.bincount(labels, minlength=classes)
    unbalanced = counts.max() > 1.5 * counts.min()
    if config.class_weights == "none" or (config.class_weights == "auto" and not unbalanced):
        return np.ones(classes, np.float32)
    return (len(labels) / (classes * counts)).astype(np.float32)
