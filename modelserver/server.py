"""The server: load models, open the port, poll folders and configuration, and drain on shutdown."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelserver import STOP_SIGNALS
from modelserver.config import Batching, ModelConfig, parse_batching, parse_models
from modelserver.engines import Engines
from modelserver.errors import ConfigError
from modelserver.flags import Flags
from modelserver.health import add_health_service
from modelserver.lifecycle import Lifecycle
from modelserver.memory import give_back
from modelserver.models import Models
from modelserver.servable import Servable
from modelserver.service import Service, make_server
from modelserver.versions import misplaced
from modelserver.warmup import warm_up

_LOG = logging.getLogger(__name__)


def run(flags: Flags) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    Both signals must be blocked, before any thread is started.

    Raises:
        ConfigError: The configuration is not valid.
        ServingError: No version of a model can be loaded.
        OSError: A file cannot be read, or the port is in use.
    """
    stop = threading.Event()
    threading.Thread(target=_await_signal, args=(stop,), name="signals", daemon=True).start()
    _check_port(flags)
    lifecycle = Lifecycle(
        _Loader(flags), retries=flags.max_num_load_retries, retry_seconds=flags.load_retry_interval_micros / 1e6
    )
    models = Models(lifecycle, labels_ahead=flags.allow_version_labels_for_unavailable_models)
    text = _read(flags.model_config_file) if flags.model_config_file else ""
    configs = parse_models(text) if flags.model_config_file else _one_model(flags)
    if not configs:
        if not flags.model_config_file_poll_wait_seconds:
            raise ConfigError(f"{flags.model_config_file} lists no model")
        _LOG.warning("%s lists no model, waiting", flags.model_config_file)
    models.configure(configs)
    Follower(flags, models, stop, text)
    while not stop.is_set() and not models.wait_until_loaded(timeout=0.2):
        pass
    if not stop.is_set():
        _serve(flags, models, stop)
    models.close()


def _await_signal(stop: threading.Event) -> None:
    # Not a handler, which Python runs in the main thread. If the signal came just before `stop.wait()`, the handler
    # would never run; if it came while that thread held the lock of `stop`, `stop.set()` would wait for it forever.
    signal.sigwait(STOP_SIGNALS)
    stop.set()


def _serve(flags: Flags, models: Models, stop: threading.Event) -> None:
    def configure(configs: dict[str, ModelConfig], seconds: float | None) -> None:
        models.configure(configs)
        models.wait_until_loaded(seconds)

    as_content = flags.enable_serialization_as_tensor_content
    service = Service(models, as_content=as_content, configure=configure)
    server = make_server(service, flags.grpc_max_threads, flags.grpc_channel_arguments)
    health = add_health_service(server) if flags.enable_grpc_healthcheck_service else None
    try:
        port = server.add_insecure_port(f"{flags.host}:{flags.port}")
        if flags.grpc_socket_path:
            server.add_insecure_port(f"unix:{flags.grpc_socket_path}")
    except RuntimeError as error:
        raise OSError(f"cannot listen on {flags.host} port {flags.port}: {error}") from error
    server.start()
    _LOG.info("listening on %s:%d", flags.host, port)
    stop.wait()
    _LOG.info("stopping: no new requests, up to %g s for those in flight", flags.drain_seconds)
    if health is not None:
        health.enter_graceful_shutdown()
    # Limit the wait here too: gRPC would wait for computations that cannot be cancelled.
    server.stop(flags.drain_seconds).wait(flags.drain_seconds + 1)
    _LOG.info("stopped")


def _check_port(flags: Flags) -> None:
    # gRPC binds the port only after the models are loaded. Report a port in use right away.
    family = socket.AF_INET6 if ":" in flags.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((flags.host.strip("[]"), flags.port))
        except OSError as error:
            raise OSError(f"cannot listen on {flags.host} port {flags.port}: {error.strerror}") from error


def _one_model(flags: Flags) -> dict[str, ModelConfig]:
    if flags.model_base_path is None:
        raise ConfigError("no model is configured")
    return {flags.model_name: ModelConfig(flags.model_name, flags.model_base_path)}


def _batching(flags: Flags) -> Batching | None:
    if not flags.enable_batching:
        return None
    path = flags.batching_parameters_file
    return parse_batching("" if path is None else _read(path))


def _read(path: Path) -> str:
    """The text of a file. Raises OSError, or ConfigError if it is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text") from error


class _Loader:
    def __init__(self, flags: Flags) -> None:
        self._engines = Engines(flags, _batching(flags))
        self._warm_up = flags.enable_model_warmup

    def __call__(self, name: str, path: Path) -> Servable:
        if (problem := misplaced(path)) is not None:
            raise OSError(problem)
        servable = self._engines.load(path)
        if self._warm_up:
            started = time.perf_counter()
            try:
                count = warm_up(servable, path)
            except BaseException:
                servable.close()
                raise
            if count:
                _LOG.info("model %s: %d warm-up requests in %.1f s", name, count, time.perf_counter() - started)
        give_back()
        return servable


class Follower:
    """Poll the folders and the configuration file, each at its own interval."""

    def __init__(self, flags: Flags, models: Models, stop: threading.Event, text: str) -> None:
        self._models = models
        self._stop = stop
        self._applied = text
        self._refused = text
        if flags.file_system_poll_wait_seconds > 0:
            self._every(flags.file_system_poll_wait_seconds, models.scan)
        if flags.model_config_file is not None and flags.model_config_file_poll_wait_seconds > 0:
            path = flags.model_config_file
            self._every(flags.model_config_file_poll_wait_seconds, lambda: self._reconfigure(path))

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def loop() -> None:
            while not self._stop.wait(seconds):
                try:
                    action()
                except Exception:  # keep polling: the cause may go away
                    _LOG.exception("polling failed; trying again at the next interval")

        threading.Thread(target=loop, name="follower", daemon=True).start()

    def _reconfigure(self, path: Path) -> None:
        # Try a refused file again, because a label may wait for its version to be loaded. Log it once.
        text = ""
        try:
            text = _read(path)
            if text == self._applied:
                return
            configs = parse_models(text)
            if not configs:  # an editor that writes the file in place empties it first; over gRPC it is refused too
                raise ConfigError("it lists no model")
            self._models.configure(configs)
        except (ConfigError, OSError) as error:
            if text != self._refused:
                _LOG.error("%s is not valid; the old configuration stays: %s", path, error)
            self._refused = text
        else:
            self._applied = self._refused = text
            _LOG.info("configuration read from %s", path)
