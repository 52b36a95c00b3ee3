"""Fitting by gradient descent, on points that need no photos."""

from pathlib import Path

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from trainer.config import make
from trainer.errors import TrainerError
from trainer.training.checkpoints import Checkpoints, Epoch
from trainer.training.fit import Batches, Examples, fit

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONFIG = make({"data": "x", "name": "x", "head": "dense", "schedule": "constant", "patience": 2})


def points(count: int, *, swapped: bool = False) -> Examples:
    """Points of two classes; swapped, each has the label of the other class."""
    labels = np.arange(count) % 2
    noise = np.random.default_rng(count).normal(0, 0.3, (count, 2))
    places = (np.where(labels == 0, -1.0, 1.0)[:, np.newaxis] + noise).astype(np.float32)
    return Examples(lambda at: places[at], 1 - labels if swapped else labels)


def fitted(
    folder: Path, valid: Examples, epochs: int, *, train: Examples | None = None, tensorboard: Path | None = None
) -> tuple[list[Epoch], np.ndarray]:
    """Fits a linear model; returns its history and kernel."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    history = fit(
        model, train or points(40), valid, CONFIG, 2, stage="head", state=folder, tensorboard=tensorboard,
        epochs=epochs, learning_rate=0.01, batch_size=16,
    )  # fmt: skip
    return history, np.asarray(model.get_weights()[0])


def test_what_gets_worse_ends_early_and_leaves_the_weights_of_its_best_epoch(tmp_path: Path) -> None:
    valid = points(20, swapped=True)  # what helps on training points hurts here
    history, kernel = fitted(tmp_path / "long", valid, 30)
    losses = [epoch["val_loss"] for epoch in history]
    assert losses == sorted(losses)
    assert len(history) == 3
    assert set(history[0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    _, first = fitted(tmp_path / "first", valid, 1)
    np.testing.assert_array_equal(kernel, first)


def test_what_gets_better_goes_on_to_the_last_epoch(tmp_path: Path) -> None:
    history, kernel = fitted(tmp_path / "fit", points(20), 5)
    assert len(history) == 5
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    again, same = fitted(tmp_path / "fit", points(20), 5)  # what is complete is not repeated
    assert again == history
    np.testing.assert_array_equal(kernel, same)


def test_of_equal_accuracies_that_of_the_lowest_loss_is_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "head", 9, 2)
    for accuracy, loss, best, finished in ((0.5, 0.9, 0, False), (0.5, 0.8, 1, False), (0.4, 0.1, 1, False)):
        checkpoints.history.append({"val_accuracy": accuracy, "val_loss": loss})
        assert (checkpoints._best(), checkpoints.finished) == (best, finished)
    checkpoints.history.append({"val_accuracy": 0.5, "val_loss": 0.85})
    assert checkpoints.finished
    assert checkpoints.so_far() == ", validation accuracy 0.500, best 0.500"


def test_the_order_of_an_epoch_follows_from_its_number_and_each_example_comes_once() -> None:
    def orders(first: int, seed: int | None = 0) -> list[np.ndarray]:
        batches = Batches(points(40), np.ones(40, np.float32), CONFIG, 2, 16, seed, first)
        epochs = []
        for _ in range(2):
            batches.on_epoch_begin()
            epochs.append(np.concatenate([batches[at][0] for at in range(len(batches))]))
        return epochs

    uninterrupted, resumed = orders(0), orders(1)
    np.testing.assert_array_equal(uninterrupted[1], resumed[0])
    assert not np.array_equal(uninterrupted[0], uninterrupted[1])
    for order in uninterrupted:
        np.testing.assert_array_equal(np.sort(order, axis=0), np.sort(points(40).fetch(np.arange(40)), axis=0))
    plain = orders(0, None)
    np.testing.assert_array_equal(plain[0], points(40).fetch(np.arange(40)))
    np.testing.assert_array_equal(plain[0], plain[1])


@pytest.mark.parametrize("error", [TrainerError("a.jpg is gone"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("of", ["train", "valid"])
def test_what_fetching_raises_arrives_as_it_is(error: Exception, of: str, tmp_path: Path) -> None:
    fetched = []

    def fetch(at: np.ndarray) -> np.ndarray:
        fetched.append(at)
        if len(fetched) > 3:  # Keras fetches two batches first, to see their shapes; then TensorFlow fetches them
            raise error
        return points(40).fetch(at)

    examples = {"train": points(40), "valid": points(40), of: Examples(fetch, points(40).labels)}
    with pytest.raises(type(error)) as raised:
        fitted(tmp_path, examples["valid"], 1, train=examples["train"])
    assert raised.value is error


def test_tensorboard_gets_the_figures_by_epoch_alone_which_a_resumed_fit_does_not_repeat(tmp_path: Path) -> None:
    fitted(tmp_path / "fit", points(20), 1, tensorboard=tmp_path / "events")
    paths = [str(path) for path in (tmp_path / "events").rglob("events.out.tfevents.*")]
    tags = {value.tag for path in paths for event in EventFileLoader(path).Load() for value in event.summary.value}
    assert {"epoch_loss", "epoch_accuracy"} <= tags
    assert not [tag for tag in tags if tag.startswith("evaluation_")]
