"""The program behind `scripts/run`: runs a model server and the gateway on this machine."""

import asyncio
import errno
import http
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Set
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from modelserver.versions import versions_in, without_versions
from scripts.first_model import make_first_model
from scripts.supervise import Program, ProgramEnded, supervise
from trainer.errors import TrainerError
from trainer.registry import server_config
from trainer.registry.versions import model_names

LOOPBACK = "127.0.0.1"
SERVING_PORT = 8500
"""Default port of TensorFlow Serving. If it is in use, the next free one is chosen."""

PREFERRED_MODEL = "dog_breed"

READY_SECONDS = 120.0
"""Time limit for the start: TensorFlow takes about 5 s, slow disks and many models take longer."""

POLL_SECONDS = 0.2

SETTLED_SECONDS = 5.0
"""Time after which the addresses are printed although some models cannot answer yet."""


class CannotStartError(Exception):
    """A requirement for serving is missing; the message says which."""


def main(caller: Path) -> int:
    """Serves the models in `MODELS_DIR` at `GATEWAY_HOST` and `PORT`. Creates a first model if there is none.

    Args:
        caller: Folder that relative paths in the settings of the gateway refer to.

    Returns:
        0 after a stop signal such as Ctrl-C, 1 if a program could not start or ended by itself.
    """
    host = os.environ.get("GATEWAY_HOST", LOOPBACK)
    models_dir = Path(os.environ.get("MODELS_DIR", "models"))
    try:
        port = _gateway_port(host)
        asyncio.run(_make_and_serve(host, port, models_dir, caller))
    except (CannotStartError, ProgramEnded, TrainerError) as error:
        print(f"scripts/run: {error}", file=sys.stderr)
        return 1
    return 0


async def _make_and_serve(host: str, port: int, models_dir: Path, caller: Path) -> None:
    _print_advice(models_dir)
    if not await make_first_model(models_dir):
        return
    models = model_names(models_dir)
    default = os.environ.get("GATEWAY_DEFAULT_MODEL", PREFERRED_MODEL if PREFERRED_MODEL in models else models[0])
    names = os.environ.get("GATEWAY_MODELS", ",".join(models))
    for name in filter(None, map(str.strip, (default, *names.split(",")))):
        if name not in models:
            raise CannotStartError(f"{models_dir} has no model {name!r}; its models are {', '.join(models)}")
    while True:
        serving_port = _serving_port(of_gateway={str(port), os.environ.get("GATEWAY_GRPC_PORT")})
        modelserver = _modelserver(serving_port, _write_model_config(models_dir, models))
        gateway = Program(
            "gateway",
            [sys.executable, "-m", "gateway"],
            {
                "GATEWAY_HOST": host,
                "GATEWAY_PORT": str(port),
                "GATEWAY_SERVING_TARGET": f"{LOOPBACK}:{serving_port}",
                "GATEWAY_DEFAULT_MODEL": default,
                "GATEWAY_MODELS": names,
                # Import nothing from the folder of the caller.
                "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
                "PYTHONSAFEPATH": "1",
            },
            directory=caller,
        )
        announce = partial(_announce_when_ready, _reachable(host), port, serving_port, default)
        try:
            await supervise([modelserver, gateway], beside=announce)
        except ProgramEnded as ended:
            # The model server takes its port once the models are loaded. Another program may have taken it before.
            if ended.stop_requested or ended.program is not modelserver or _is_free(serving_port):
                raise
            print(f"scripts/run: another program took port {serving_port}; trying the next free port", file=sys.stderr)
        else:
            return


def _print_advice(models_dir: Path) -> None:
    for folder in sorted(models_dir.glob("[!.]*/")):
        if not versions_in(folder) and (advice := without_versions(folder)) is not None:
            print(f"scripts/run: {advice}", file=sys.stderr)


def _modelserver(port: int, config: Path) -> Program:
    # The flags of TensorFlow Serving in docker-compose.yml; a test compares them.
    return Program(
        "modelserver",
        [
            *(sys.executable, "-m", "modelserver", f"--host={LOOPBACK}", f"--port={port}"),
            *(f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"),
            *("--allow_version_labels_for_unavailable_models=true", "--grpc_max_threads=704"),
            "--enable_grpc_healthcheck_service=true",
            *("--max_num_load_retries=3", "--load_retry_interval_micros=1000000"),
            *("--enable_batching=true", "--batching_parameters_file=serving/batching.config"),
        ],
    )


def _write_model_config(models_dir: Path, models: list[str]) -> Path:
    """Updates `models.config` in the folder of the models with the existing models; keeps labels and policies."""
    path = models_dir / "models.config"
    with server_config.edit(path) as config:
        entries = config.model_config_list.config
        for entry in [entry for entry in entries if entry.name not in models]:
            entries.remove(entry)  # the server would wait for it forever
        for name in models:
            server_config.find_or_add(config, name).base_path = str((models_dir / name).resolve())
    return path


def _gateway_port(host: str) -> int:
    text = os.environ.get("PORT") or os.environ.get("GATEWAY_PORT", "8000")
    if not text.isdecimal() or not int(text) < 65536:
        raise CannotStartError(f"PORT must be a number from 0 to 65535, not {text!r}")
    try:
        return _bind(host, int(text))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotStartError(f"port {text} is in use; choose another, such as PORT=8001 scripts/run") from error
        raise CannotStartError(f"cannot listen on {host}, port {text}: {error.strerror}") from error


def _serving_port(of_gateway: Set[str | None]) -> int:
    # Not any free port (0): the system may give it to another program before the model server takes it.
    for port in range(SERVING_PORT, SERVING_PORT + 100):
        if str(port) not in of_gateway and _is_free(port):
            return port
    raise CannotStartError(f"no port from {SERVING_PORT} to {port} is free for the model server")


def _is_free(port: int) -> bool:
    try:
        _bind(LOOPBACK, port)
    except OSError:
        return False
    return True


def _bind(host: str, port: int) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do, so that a quick restart works
        probe.bind((host, port))
        return int(probe.getsockname()[1])


async def _announce_when_ready(host: str, port: int, serving_port: int, default: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    reasons: dict[str, str] = {}
    settled = deadline
    while (unready := await asyncio.to_thread(_unready, host, port, serving_port)) is not None:
        if time.monotonic() > deadline:
            raise CannotStartError(f"not ready after {READY_SECONDS:.0f} s: {unready.reason}")
        if unready.models.keys() != reasons.keys():
            reasons, settled = unready.models, time.monotonic() + SETTLED_SECONDS
        if reasons and default not in reasons and time.monotonic() > settled:
            break
        await asyncio.sleep(POLL_SECONDS)
    else:
        reasons = {}
    for name, reason in reasons.items():
        print(f"scripts/run: the model {name} is not ready: {reason}", file=sys.stderr)
    print(_addresses(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"), flush=True)


@dataclass(frozen=True)
class _Unready:
    """Why not every model can answer yet."""

    reason: str
    models: dict[str, str] = field(default_factory=dict)
    """The models that cannot answer while others can, and the reason for each."""


def _unready(host: str, port: int, serving_port: int) -> _Unready | None:
    """Returns why not every model can answer yet, or None if all can."""
    try:
        # While the model server loads, the gateway would log each attempt to reach it and delay the next one.
        socket.create_connection((LOOPBACK, serving_port), timeout=5).close()
    except OSError as error:
        return _Unready(f"the model server does not listen: {error}")
    gateway = http.client.HTTPConnection(host, port, timeout=5)  # http.client ignores proxies in the environment
    with closing(gateway):
        try:
            gateway.request("GET", "/readyz")
            answer = gateway.getresponse()
            body = answer.read().decode(errors="replace")
            if answer.status == http.HTTPStatus.OK:
                return None
            return _Unready(body, json.loads(body).get("missing", {}))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _Unready(f"the gateway does not answer: {error}")


def _addresses(url: str) -> str:
    return (
        f"\n  page   {url}/\n  docs   {url}/docs\n"
        f"  try    curl -F dog_image=@dog.jpg {url}/api/v1/predict_breed\n"
        "\nReplace dog.jpg by any photo of a dog. Press Ctrl-C to stop.\n"
    )


def _reachable(host: str) -> str:
    """Returns the address at which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104, only compared


if __name__ == "__main__":
    sys.exit(main(Path(*sys.argv[1:])))
