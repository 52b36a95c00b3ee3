"""The text files of TensorFlow Serving: which models to serve, and how to batch."""

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from modelserver.errors import ConfigError
from modelserver.pb import batching_pb2, management_pb2


class Policy(enum.Enum):
    """Which of the versions on disk are served."""

    LATEST = "latest"
    ALL = "all"
    SPECIFIC = "specific"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: What clients call it.
        base_path: The folder that holds its versions.
        policy: Which versions are served.
        latest: How many versions `Policy.LATEST` serves.
        specific: The versions that `Policy.SPECIFIC` serves.
        labels: Version label to version.
    """

    name: str
    base_path: Path
    policy: Policy = Policy.LATEST
    latest: int = 1
    specific: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests to one signature of a version are batched; the defaults are those of TensorFlow Serving.

    Attributes:
        max_batch_size: Maximum number of rows in a request.
        execution_size: Maximum number of rows in a batch. A larger request is split.
        timeout_micros: How long a batch that is not full waits for more rows.
        max_enqueued_batches: Maximum number of full batches that wait. Further requests fail with UNAVAILABLE.
        threads: Number of batches that run at once.
        allowed_sizes: Batches are padded to the next of these sizes; empty means no padding.
    """

    max_batch_size: int = 1000
    execution_size: int = 1000
    timeout_micros: int = 0
    max_enqueued_batches: int = 10
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_sizes: tuple[int, ...] = ()


def parse_models(text: str) -> dict[str, ModelConfig]:
    """Reads a text ``ModelServerConfig`` into its models by name.

    Raises:
        ConfigError: It is not valid, or asks for something that is not supported.
    """
    message = management_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(f"not a ModelServerConfig in text format: {error}") from error
    return models_from(message)


def models_from(message: management_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """The models of a ``ModelServerConfig`` message by name.

    Raises:
        ConfigError: It asks for something that is not supported.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise ConfigError("custom_model_config is not supported; use model_config_list")
    models: dict[str, ModelConfig] = {}
    for entry in message.model_config_list.config:
        if not entry.name or not entry.base_path:
            raise ConfigError("every model needs a name and a base_path")
        if "\0" in entry.base_path:
            raise ConfigError(f"model {entry.name}: a base_path cannot hold a null character")
        if entry.name in models:
            raise ConfigError(f"model {entry.name} is listed twice")
        if entry.model_platform not in ("", "tensorflow"):
            raise ConfigError(
                f'model {entry.name}: platform "{entry.model_platform}" is not supported, only "tensorflow"'
            )
        models[entry.name] = _model(entry)
    return models


def _model(entry: management_pb2.ModelConfig) -> ModelConfig:
    policy = entry.model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    if choice == "specific" and not policy.specific.versions:
        raise ConfigError(f"model {entry.name}: a specific version policy must list versions")
    return ModelConfig(
        name=entry.name,
        base_path=Path(entry.base_path),
        policy=Policy(choice),
        latest=policy.latest.num_versions or 1,
        specific=frozenset(policy.specific.versions),
        labels=dict(entry.version_labels),
    )


def parse_batching(text: str) -> Batching:
    """Reads a text ``BatchingParameters``.

    Raises:
        ConfigError: It is not valid, or its values contradict each other.
    """
    message = batching_pb2.BatchingParameters()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(f"not a BatchingParameters in text format: {error}") from error
    default = Batching()

    def number(name: str, fallback: int, minimum: int) -> int:
        value = int(getattr(message, name).value) if message.HasField(name) else fallback
        if value < minimum:
            raise ConfigError(f"{name} must be at least {minimum}, not {value}")
        return value

    if message.pad_variable_length_inputs.value:
        raise ConfigError("pad_variable_length_inputs is not supported")
    largest = number("max_batch_size", default.max_batch_size, 1)
    # As in TensorFlow Serving, max_execution_batch_size has no effect without splitting.
    split = message.enable_large_batch_splitting.value
    execution = number("max_execution_batch_size", largest, 1) if split else largest
    if execution > largest:
        raise ConfigError(f"max_execution_batch_size is {execution}, over max_batch_size ({largest})")
    sizes = tuple(message.allowed_batch_sizes)
    if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != execution):
        name = "max_execution_batch_size" if split else "max_batch_size"
        raise ConfigError(f"allowed_batch_sizes must rise and end with {name} ({execution}), not {list(sizes)}")
    return Batching(
        max_batch_size=largest,
        execution_size=execution,
        timeout_micros=number("batch_timeout_micros", default.timeout_micros, 0),
        max_enqueued_batches=number("max_enqueued_batches", default.max_enqueued_batches, 1),
        threads=number("num_batch_threads", default.threads, 1),
        allowed_sizes=sizes,
    )
