"""Read the files of the run that trained the model, for the report."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError

EXTRA = Path("assets.extra")
"""Folder in a SavedModel with files of `train`: `history.json` and `config.toml`."""

DATA = "data.json"
"""File in the folder of a run: problems of its photos."""

History = Mapping[str, Sequence[Mapping[str, float]]]


@dataclass(frozen=True)
class Run:
    """Files of a run.

    Attributes:
        history: The metrics of each epoch, by stage; empty if no stage had epochs.
        config: The settings as TOML; empty if the model was not trained by `train`.
        data: Problems of the photos, as `train` found them; empty if unknown.
    """

    history: History = field(default_factory=dict)
    config: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, model: Path, folder: Path) -> "Run":
        """Reads the files that there are.

        Args:
            model: The SavedModel.
            folder: The folder of the run.

        Raises:
            TrainerError: A file is damaged.
        """
        config = model / EXTRA / "config.toml"
        data = _json(folder / DATA)
        return cls(
            _history(model / EXTRA / "history.json"),
            config.read_text(encoding="utf-8") if config.is_file() else "",
            data if isinstance(data, dict) else {},
        )


def _history(path: Path) -> History:
    try:
        return {
            str(stage): [{str(name): float(value) for name, value in epoch.items()} for epoch in epochs]
            for stage, epochs in (_json(path) or {}).items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise TrainerError(f"{path} is corrupt: {error}; delete it to get a report without it") from error


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainerError(f"{path} is corrupt: {error}; delete it to get a report without it") from error
