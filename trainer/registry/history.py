"""A record of what was promoted, rolled out and rolled back, beside the configuration of the model server.

The file `<configuration>.history.jsonl` has one JSON object in each line. Only people read it: the labels are in the
configuration.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from trainer.errors import TrainerError
from trainer.model_card import JSON


def history_path(config: Path) -> Path:
    """Returns the file for a configuration, such as `models.history.jsonl` for `models.config`."""
    return config.with_name(f"{config.stem}.history.jsonl")


def add_record(config: Path, event: str, record: Mapping[str, JSON]) -> None:
    """Appends a record with the time and the kind of event.

    Raises:
        TrainerError: The file cannot be written.
    """
    path = history_path(config)
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **record})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise TrainerError(f"cannot write {path}: {error.strerror}") from error
