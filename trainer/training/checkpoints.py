"""Keep the best epoch, stop early, and save the state from which a stopped fit is resumed."""

import json
import time
from pathlib import Path

import keras

SECONDS_BETWEEN_STATES = 2.0

Epoch = dict[str, float]
"""Figures of one epoch: loss, accuracy, val_loss, val_accuracy."""


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Does what `ModelCheckpoint`, `EarlyStopping` and `BackupAndRestore` do, in a fit that can be stopped and resumed.

    The callbacks of Keras do not save which epoch was the best, so a resumed fit would keep another one.

    Attributes:
        epochs: Maximum number of epochs.
        best_weights: The file with the weights of the best epoch.
        history: Figures of each epoch, including those before the fit was stopped.
    """

    def __init__(self, folder: Path, stage: str, epochs: int, patience: int) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        self.epochs = epochs
        self.best_weights = folder / f"{stage}-best.weights.h5"
        self._record = folder / f"{stage}.json"
        self._folder, self._stage, self._patience = folder, stage, patience
        self._saved_at = time.monotonic()
        self.history: list[Epoch] = json.loads(self._record.read_text()) if self._record.exists() else []

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the last `patience` of them brought no improvement."""
        return len(self.history) >= self.epochs or len(self.history) - 1 - self._best() >= self._patience

    def so_far(self) -> str:
        """Returns the last and the best validation accuracy for people; nothing before the first epoch."""
        if not self.history:
            return ""
        accuracy, highest = (self.history[at]["val_accuracy"] for at in (-1, self._best()))
        return f", validation accuracy {accuracy:.3f}, best {highest:.3f}"

    def on_train_begin(self, logs: object = None) -> None:  # noqa: ARG002 - as Keras calls it
        """Restores the model and its optimiser from the saved state."""
        if self.history:
            self.model.load_weights(self._weights(len(self.history)))

    def on_epoch_end(self, epoch: int, logs: Epoch) -> None:  # noqa: ARG002 - as Keras calls it
        """Records the figures of an epoch, saves weights and state, and ends the fit if it is finished."""
        self.history.append({name: float(value) for name, value in logs.items()})
        if self._best() == len(self.history) - 1:
            self.model.save_weights(self.best_weights)
        self.model.stop_training = self.finished
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_STATES or self.finished:
            self._save()

    def _best(self) -> int:
        """The epoch of the highest validation accuracy; among equals, of the lowest loss. -1 before the first."""
        scores = [(epoch["val_accuracy"], -epoch["val_loss"]) for epoch in self.history]
        return max(range(len(scores)), key=scores.__getitem__, default=-1)

    def _weights(self, epochs: int) -> Path:
        return self._folder / f"{self._stage}-{epochs}.weights.h5"

    def _save(self) -> None:
        # Write the weights (with those of the optimiser), then the record that names them, then delete the old ones. So
        # the record and its weights are complete whenever the process is stopped.
        self.model.save_weights(self._weights(len(self.history)))
        draft = self._record.with_suffix(".draft")
        draft.write_text(json.dumps(self.history))
        draft.replace(self._record)
        for old in self._folder.glob(f"{self._stage}-[0-9]*.weights.h5"):
            if old != self._weights(len(self.history)):
                old.unlink()
        self._saved_at = time.monotonic()
