"""Edit the configuration of a model server: models, versions and version labels.

The file is a `ModelServerConfig` of TensorFlow Serving in text format, which the server polls. A label stands for one
version. Its previous version is kept in the same file as `<label>-previous`. So a rollback needs no other record, the
server keeps that version loaded, and `prune` does not delete it.
"""

import argparse
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from trainer.errors import TrainerError

CONTAINER_MODELS_DIR = "/models"
"""Directory of the models inside the serving container, for the base path of a new model."""

OWN_CONFIG = "models.config"
"""Configuration in the directory of the models, which `scripts/run` uses."""

SHARED_CONFIG = Path("serving/models.config")
"""Configuration that the containers use."""

PREVIOUS_SUFFIX = "-previous"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds the option `--config`, which several commands share."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file of the model server, which contains the labels "
        f"(default: {OWN_CONFIG} in the directory of the models if it exists, otherwise {SHARED_CONFIG})",
    )


def config_path(args: argparse.Namespace) -> Path:
    """Returns the path in `--config`, or the default."""
    path: Path | None = args.config
    own: Path = args.models_dir / OWN_CONFIG
    return path or (own if own.is_file() else SHARED_CONFIG)


def read(path: Path) -> ModelServerConfig:
    """Reads the configuration; returns an empty one if the file does not exist.

    Raises:
        TrainerError: The file cannot be read, or is not a ModelServerConfig in text format.
    """
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), ModelServerConfig())
    except FileNotFoundError:
        return ModelServerConfig()
    except (OSError, UnicodeDecodeError) as error:
        raise TrainerError(f"cannot read {path}: {error}") from error
    except text_format.ParseError as error:
        raise TrainerError(f"{path} is not a model server configuration: {error}") from error


@contextmanager
def edit(path: Path) -> Iterator[ModelServerConfig]:
    """Yields the configuration for changes, and replaces the file at the end of the block.

    Only one process can edit at a time. The file is replaced atomically by a rename, so a server reads either the old
    or the new one, and a container must mount the directory instead of the file. Comments before the first setting are
    kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            config = read(path)
            before = config.SerializeToString(deterministic=True)
            yield config
            if config.SerializeToString(deterministic=True) != before:
                _replace(path, _leading_comments(path) + text_format.MessageToString(config))
    except OSError as error:
        raise TrainerError(f"cannot write {path}: {error.strerror}") from error


def find(config: ModelServerConfig, name: str) -> ModelConfig | None:
    """Returns the entry of a model, or None."""
    return next((entry for entry in config.model_config_list.config if entry.name == name), None)


def version_labels(path: Path, name: str) -> dict[str, int]:
    """Returns the version of each label of a model; empty if the configuration does not have the model."""
    entry = find(read(path), name)
    return {label: int(version) for label, version in entry.version_labels.items()} if entry else {}


def find_or_add(config: ModelServerConfig, name: str) -> ModelConfig:
    """Returns the entry of a model. A new entry gets the base path of the container."""
    return find(config, name) or config.model_config_list.config.add(
        name=name, base_path=f"{CONTAINER_MODELS_DIR}/{name}", model_platform="tensorflow"
    )


def serve_version(entry: ModelConfig, version: int) -> None:
    """Adds a version to those that the server loads, so that a label can move to it."""
    _choose_versions(entry, {version, *entry.model_version_policy.specific.versions})


def withdraw(config: ModelServerConfig, name: str, before: ModelConfig | None) -> None:
    """Undoes `serve_version`. `before` is the entry of the model before the change."""
    entry = find_or_add(config, name)
    if before is None:
        config.model_config_list.config.remove(entry)
    elif before.HasField("model_version_policy"):
        entry.model_version_policy.CopyFrom(before.model_version_policy)
    else:
        entry.ClearField("model_version_policy")


def move_label(entry: ModelConfig, label: str, version: int) -> None:
    """Moves a label to a version and records the previous one. Versions without a label are unloaded."""
    before = entry.version_labels.get(label)
    if before == version:
        return
    if before is not None:
        entry.version_labels[label + PREVIOUS_SUFFIX] = before
    entry.version_labels[label] = version
    _choose_versions(entry, set())


def move_label_back(entry: ModelConfig, label: str) -> None:
    """Moves a label back to its previous version."""
    entry.version_labels[label] = entry.version_labels.pop(label + PREVIOUS_SUFFIX)
    _choose_versions(entry, set())


def _choose_versions(entry: ModelConfig, extra: set[int]) -> None:
    policy = entry.model_version_policy
    if policy.HasField("all"):
        return  # every version is loaded, so a label can move to any of them
    # The default policy, "latest", would unload a labelled version when a newer one is published.
    policy.specific.versions[:] = sorted(extra | set(entry.version_labels.values()))


def _leading_comments(path: Path) -> str:
    if not path.exists():
        return ""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.strip() and not line.startswith("#"):
            break
        kept.append(line)
    return "".join(kept)


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            # mkstemp creates files with mode 0600; the server may run as another user.
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
