"""Training runs of the tiny network, and what they publish."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tests.trainer import tiny
from trainer.cli import main
from trainer.model_card import Card

TINY = (*tiny.OPTIONS, "--force")


def card_of(version: Path) -> Card:
    return Card.from_json((version / "assets.extra" / "card.json").read_text())


def weights_of(version: Path) -> list[np.ndarray]:
    model = keras.models.load_model(version / "assets.extra" / "model.keras", compile=False)
    return [np.asarray(weight) for weight in model.get_weights()]


@dataclass(frozen=True)
class Trained:
    """A run with a logistic head on a backbone whose weights are in a file.

    Attributes:
        folder: Where its photos, models, runs and cache are.
        out: What it printed.
    """

    folder: Path
    out: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "photos"

    @property
    def version(self) -> Path:
        return self.folder / "models" / "colours" / "1"

    @property
    def run(self) -> Path:
        (run,) = (self.folder / "runs" / "colours").iterdir()
        return run

    def train(self, name: str, *more: str | Path) -> tuple[int, str, str]:
        """Trains on the same photos and weights, under a name; returns exit status, stdout and stderr."""
        weights = self.folder / "tiny.weights.h5"
        return self.command("train", self.data, "--name", name, *TINY, "--weights", weights, *more)

    def command(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Runs the command line with the same folders of models, runs and caches."""
        places = ["--models-dir", f"{self.folder}/models", "--runs-dir", f"{self.folder}/runs"]
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as error:
            status = main([*map(str, arguments), *places])
        return status, out.getvalue(), error.getvalue()
