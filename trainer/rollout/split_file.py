"""Write the traffic split of a model to the file that gateways poll (`GATEWAY_TRAFFIC_SPLIT_FILE`)."""

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from trainer.errors import TrainerError


def read_split(path: Path) -> dict[str, object]:
    """Reads the splits of all models; empty if the file does not exist.

    Raises:
        TrainerError: The file cannot be read, or is not a JSON object.
    """
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TrainerError(f"cannot read the traffic split {path}: {error}") from error
    if not isinstance(split, dict):
        raise TrainerError(f"{path} is not a traffic split: expected a JSON object with a key for each model")
    return split


def write_split(path: Path, model: str, weights: Mapping[str, float]) -> None:
    """Replaces the split of one model in one step, by renaming; those of other models stay.

    Args:
        path: The file. It is created if it does not exist.
        model: Name of the model.
        weights: Weights of version labels; the one that grows comes last, so that callers stay on their version.

    Raises:
        TrainerError: The file cannot be read or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            splits = read_split(path) | {model: dict(weights)}
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(splits, file, indent=1)
                    # mkstemp creates files with mode 0600; the gateway may run as another user.
                    os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise TrainerError(f"cannot write the traffic split {path}: {error}") from error
