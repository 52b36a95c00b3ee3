"""`serving/models.config`: which models and versions a model server loads, and which version each label names.

The file is a text `ModelServerConfig` of TensorFlow Serving, polled by the server. A label names one version. The one
it named before is remembered in the same file under `<label>-previous`, so that a rollback needs no other record, the
server keeps that version loaded, and no prune removes it.
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
"""Where the serving container sees the models; the base path of a model that is new in the file."""

OWN_CONFIG = "models.config"
"""File in the folder of the models by which `scripts/run` serves them."""

SHARED_CONFIG = Path("serving/models.config")
"""File by which the containers serve."""

PREVIOUS_SUFFIX = "-previous"


def add_config(parser: argparse.ArgumentParser) -> None:
    """Adds `--config`, which every command that deals with labels means alike."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration that the model server polls, which holds the labels "
        f"(default: {OWN_CONFIG} in the folder of the models, by which scripts/run serves; else {SHARED_CONFIG})",
    )


def config_path(args: argparse.Namespace) -> Path:
    """Returns the configuration that a command deals with: the one given, or the one that is served by."""
    given: Path | None = args.config
    own: Path = args.models_dir / OWN_CONFIG
    return given or (own if own.is_file() else SHARED_CONFIG)


def read(path: Path) -> ModelServerConfig:
    """Reads the configuration; a file that is not there is an empty one.

    Raises:
        TrainerError: The file cannot be read, or is not a text ModelServerConfig.
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
    """Gives the configuration to change, and replaces the file in one step when the block succeeds.

    Editors wait for each other; a server that polls reads the old file or the new one. Comments before the first
    setting are kept. The file is replaced by rename: a container must mount its directory, not the file alone.
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


def find_or_add(config: ModelServerConfig, name: str) -> ModelConfig:
    """Returns the entry of a model, new with the base path of the container when it had none."""
    return find(config, name) or config.model_config_list.config.add(
        name=name, base_path=f"{CONTAINER_MODELS_DIR}/{name}", model_platform="tensorflow"
    )


def serve_version(entry: ModelConfig, version: int) -> None:
    """Has the server load a version beside those it serves by number or label, so that a label may move to it."""
    _choose_versions(entry, {version, *entry.model_version_policy.specific.versions})


def withdraw(config: ModelServerConfig, name: str, before: ModelConfig | None) -> None:
    """Undoes `serve_version`: the model's versions are chosen as `before`, its entry of that time, says."""
    entry = find_or_add(config, name)
    if before is None:
        config.model_config_list.config.remove(entry)
    elif before.HasField("model_version_policy"):
        entry.model_version_policy.CopyFrom(before.model_version_policy)
    else:
        entry.ClearField("model_version_policy")


def move_label(entry: ModelConfig, label: str, version: int) -> None:
    """Points a label at a version and remembers where it pointed; versions no label names are loaded no more."""
    before = entry.version_labels.get(label)
    if before == version:
        return
    if before is not None:
        entry.version_labels[label + PREVIOUS_SUFFIX] = before
    entry.version_labels[label] = version
    _choose_versions(entry, set())


def move_label_back(entry: ModelConfig, label: str) -> None:
    """Points a label at the version it named before, and forgets the one it names now."""
    entry.version_labels[label] = entry.version_labels.pop(label + PREVIOUS_SUFFIX)
    _choose_versions(entry, set())


def _choose_versions(entry: ModelConfig, extra: set[int]) -> None:
    policy = entry.model_version_policy
    if policy.HasField("all"):
        return  # every version is loaded, so every one may be named
    # "latest", the default, would drop a labelled version as soon as newer ones are published.
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
            # mkstemp gives 0600; the server may run as another user.
            os.fchmod(file.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
