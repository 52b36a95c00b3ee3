"""The command line, with the names of ``tensorflow_model_server``'s flags."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from modelserver import __version__

# Flags of tensorflow_model_server that have no effect here. They are accepted, so that the same command line starts
# this server, and the log names them.
WITHOUT_EFFECT = (
    "enable_cors_support",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enable_signature_method_name_check",
    "flush_filesystem_caches",
    "mixed_precision",
    "monitoring_config_file",
    "num_load_threads",
    "num_request_iterations_for_warmup",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "rest_api_enable_cors_support",
    "rest_api_num_threads",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "skip_initialize_tpu",
    "thread_pool_factory_config_file",
    "xla_cpu_compilation_enabled",
)


Engine = Literal["auto", "tensorflow", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The command line, with the names and defaults of `tensorflow_model_server`'s flags."""

    host: str
    port: int
    grpc_socket_path: str
    grpc_max_threads: int
    grpc_channel_arguments: tuple[tuple[str, int | str], ...]
    model_name: str
    model_base_path: Path | None
    model_config_file: Path | None
    model_config_file_poll_wait_seconds: float
    file_system_poll_wait_seconds: float
    allow_version_labels_for_unavailable_models: bool
    max_num_load_retries: int
    load_retry_interval_micros: int
    enable_model_warmup: bool
    enable_batching: bool
    batching_parameters_file: Path | None
    enable_serialization_as_tensor_content: bool
    enable_grpc_healthcheck_service: bool
    tensorflow_session_parallelism: int
    tensorflow_intra_op_parallelism: int
    tensorflow_inter_op_parallelism: int
    saved_model_tags: str
    engine: Engine
    drain_seconds: float
    log_level: str
    ignored: tuple[str, ...] = field(default=())


def parse(arguments: Sequence[str] | None = None, prog: str = "breed-modelserver") -> Flags:
    """Parse the command line. A mistake prints one line on standard error and exits with status 2."""
    parser = _parser(prog)
    values = vars(parser.parse_args(arguments))
    ignored = tuple(name for name in WITHOUT_EFFECT if values.pop(name) is not None)
    flags = Flags(**values, ignored=ignored)
    if (flags.model_base_path is None) == (flags.model_config_file is None):
        parser.error("exactly one of --model_base_path and --model_config_file is required")
    if flags.batching_parameters_file is not None and not flags.enable_batching:
        parser.error("--batching_parameters_file requires --enable_batching")
    return flags


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "t":
            return True
        case "false" | "0" | "f":
            return False
    raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    if _count(text) > 65_535:
        raise argparse.ArgumentTypeError(f"expected a port up to 65535, not {text!r}")
    return int(text)


def _threads(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _channel_arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and equals for name, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"expected key=value, separated by commas, not {text!r}")
    return tuple((name, int(value) if value.lstrip("-").isdecimal() else value) for name, _, value in pairs)


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve SavedModels over gRPC, with the services, flags and status codes of TensorFlow Serving.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")

    def flag(name: str, default: object, meaning: str, kind: object = str) -> None:
        suffix = "" if default in (None, "", ()) else f" (default: {default})"
        if isinstance(default, bool):
            parser.add_argument(
                f"--{name}",
                type=_boolean,
                nargs="?",
                const=True,
                default=default,
                metavar="BOOL",
                help=meaning + suffix,
            )
        else:
            metavar = getattr(kind, "__name__", "VALUE").strip("_").upper()
            parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=meaning + suffix)  # type: ignore[arg-type]

    flag("host", "0.0.0.0", "address to listen on; not a flag of TensorFlow Serving")  # noqa: S104 - as upstream
    flag("port", 8500, "gRPC port; 0 picks a free port and logs it", _port)
    flag("grpc_socket_path", "", "also listen on this Unix socket")
    flag(
        "grpc_max_threads",
        128,
        "maximum number of concurrent calls, plus 4 for health checks; more fail with RESOURCE_EXHAUSTED",
        _threads,
    )
    flag(
        "grpc_channel_arguments", (), "arguments of the gRPC server: key=value, separated by commas", _channel_arguments
    )
    flag("model_name", "default", "name of the model in --model_base_path")
    flag("model_base_path", None, "folder with the versions of one model", _path)
    flag("model_config_file", None, "file with a ModelServerConfig in text format, for several models", _path)
    flag("model_config_file_poll_wait_seconds", 0.0, "seconds between two checks of that file; 0: read it once", float)
    flag("file_system_poll_wait_seconds", 1.0, "seconds between two checks for versions; 0: check once", float)
    flag("allow_version_labels_for_unavailable_models", False, "allow a new label for a version that is not loaded yet")
    flag("max_num_load_retries", 5, "number of retries for a version that failed to load", _count)
    flag("load_retry_interval_micros", 60_000_000, "time between two attempts, in microseconds", _count)
    flag("enable_model_warmup", True, "replay assets.extra/tf_serving_warmup_requests before serving a version")
    flag("enable_batching", False, "batch concurrent requests")
    flag("batching_parameters_file", None, "file with BatchingParameters in text format", _path)
    flag("enable_serialization_as_tensor_content", False, "return tensors as raw bytes instead of typed lists")
    flag("enable_grpc_healthcheck_service", False, "answer the gRPC health checking protocol (grpc.health.v1)")
    flag("tensorflow_session_parallelism", 0, "threads within and between operations; 0: one for each core", _count)
    flag("tensorflow_intra_op_parallelism", 0, "threads within one operation; 0: one for each core", _count)
    flag("tensorflow_inter_op_parallelism", 0, "concurrent operations; 0: one for each core", _count)
    flag("saved_model_tags", "serve", "comma-separated tags of the graph to load")
    flag(
        "engine",
        "auto",
        "auto, tensorflow or openvino; auto: OpenVINO, if it is installed and the version contains a network for it; "
        "not a flag of TensorFlow Serving",
        _engine,
    )
    flag("drain_seconds", 8.0, "seconds for requests in flight after SIGTERM; not a flag of TensorFlow Serving", float)
    flag(
        "log_level",
        "info",
        "minimum log level: debug, info, warning or error; not a flag of TensorFlow Serving",
        _level,
    )
    for name in WITHOUT_EFFECT:
        parser.add_argument(f"--{name}", nargs="?", const="true", default=None, help=argparse.SUPPRESS)
    return parser


def _engine(text: str) -> str:
    if text not in get_args(Engine):
        raise argparse.ArgumentTypeError(f"expected auto, tensorflow or openvino, not {text!r}")
    return text


def _level(text: str) -> str:
    if text not in ("debug", "info", "warning", "error"):
        raise argparse.ArgumentTypeError(f"expected debug, info, warning or error, not {text!r}")
    return text
