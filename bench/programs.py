"""The processes of the compared programs and of their model servers."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import grpc

from bench.clients import HttpCaller, form_request
from gateway.images import Target
from gateway.pb.serving_pb2 import ModelStatusRequest, ModelStatusResponse, ModelVersionStatus
from modelserver.servable import NETWORK
from testing import ROOT
from testing.processes import LOOPBACK, Process, Tree, free_port

Engine = Literal["tensorflow", "openvino"]

OPENVINO = "gateway, OpenVINO"
"""Name of the gateway with modelserver and OpenVINO in tables."""

OPENVINO_INT8 = "gateway, OpenVINO int8"
"""The same with a network in 8 bits."""

GATEWAY_PATH = "/api/v1/predict_breed"
PEER_PATH = "/predict"


@dataclass(frozen=True)
class Peer:
    """A peer: name in tables, SavedModel and engine."""

    name: str
    saved_model: Path
    engine: Engine = "tensorflow"


@dataclass
class Started:
    """The running processes, their addresses, and the time until the first correct answer of each."""

    target: str
    server: Tree | None
    gateway: Process
    gateway_port: int
    labels: list[str]
    size: Target
    peers: list[tuple[str, Process, int]] = field(default_factory=list)
    start_seconds: dict[str, float] = field(default_factory=dict)
    openvino: dict[str, tuple[Process, Process, int]] = field(default_factory=dict)
    """By name: model server with OpenVINO, the gateway in front of it, and its port."""
    quantized: set[str] = field(default_factory=set)
    """Names of the systems that compute in 8 bits and so return other scores."""


@contextmanager
def started(
    base_path: Path | None,
    model: str,
    photo: bytes,
    logs: Path,
    *,
    target: str | None = None,
    target_pid: int | None = None,
    peers: Sequence[Peer] = (),
    int8: Path | None = None,
    gateway: Sequence[str] = ("gateway",),
) -> Iterator[Started]:
    """Starts the model server (unless there is a `target`), the gateway and the peers, and stops them at the end.

    Args:
        base_path: Folder of the model's versions. Not needed with a `target` and without peers.
        model: Its name.
        photo: The photo of the first request to each.
        logs: Folder for their logs.
        target: Address of a running model server.
        target_pid: Its process ID, if it runs on this machine, to measure it.
        peers: The peers.
        int8: Folder of the versions of the model in 8 bits.
        gateway: Arguments of ``python -m`` for the gateway.
    """
    seconds: dict[str, float] = {}
    with ExitStack() as running:
        tree, target_is_ours = Tree(target_pid) if target_pid is not None else None, target is None
        if target is None:
            assert base_path is not None
            port = free_port()
            address = target = f"{LOOPBACK}:{port}"
            server = Process("modelserver", modelserver_arguments(base_path, model, port), {}, logs / "modelserver.log")
            running.callback(server.stop)
            seconds["modelserver"] = server.wait_until(lambda: available(address, model))
            tree = server.tree
        gateway_port = free_port()
        front = Process("gateway", gateway, gateway_environment(target, model, gateway_port), logs / "gateway.log")
        running.callback(front.stop)
        seconds["gateway"] = front.wait_until(lambda: answers(gateway_port, GATEWAY_PATH, photo))
        programs = Started(target, tree, front, gateway_port, *describe(gateway_port, model), start_seconds=seconds)
        for name, folder in {OPENVINO: base_path, OPENVINO_INT8: int8}.items() if target_is_ours else ():
            if folder is None or not has_network(folder):
                continue
            port, behind = free_port(), free_port()
            environment = gateway_environment(f"{LOOPBACK}:{behind}", model, port)
            arguments = modelserver_arguments(folder, model, behind, engine="openvino")
            server = Process(f"modelserver of {name}", arguments, {}, logs / f"modelserver of {name}.log")
            running.callback(server.stop)
            seconds[server.name] = server.wait_until(partial(available, f"{LOOPBACK}:{behind}", model))
            front = Process(name, gateway, environment, logs / f"{name}.log")
            running.callback(front.stop)
            seconds[name] = front.wait_until(partial(answers, port, GATEWAY_PATH, photo))
            programs.openvino[name] = server, front, port
            if is_quantized(folder):
                programs.quantized.add(name)
        for number, peer in enumerate(peers):
            assert base_path is not None
            port = free_port()
            card = newest_version(base_path) / "assets.extra" / "card.json"
            arguments = ["bench.peer", str(peer.saved_model.resolve()), str(card.resolve()), "--port", str(port)]
            arguments += ["--engine", peer.engine]
            inside = Process(peer.name, arguments, {}, logs / f"peer-{number}.log")
            running.callback(inside.stop)
            seconds[peer.name] = inside.wait_until(partial(answers, port, PEER_PATH, photo))
            programs.peers.append((peer.name, inside, port))
            if peer.engine == "openvino" and is_quantized(base_path):
                programs.quantized.add(peer.name)
        yield programs


def newest_version(base_path: Path) -> Path:
    """The folder of the highest version of a model.

    Raises:
        ValueError: There is none.
    """
    versions = [one for one in base_path.glob("*") if one.name.isdecimal()]
    if not versions:
        raise ValueError(f"{base_path} is not a folder of model versions")
    return max(versions, key=lambda path: int(path.name))


def has_network(base_path: Path) -> bool:
    """Whether OpenVINO is installed and the newest version of a model has a network for it."""
    return find_spec("openvino") is not None and (newest_version(base_path) / NETWORK).is_file()


def is_quantized(base_path: Path) -> bool:
    """Whether the network for OpenVINO of the newest version of a model computes in 8 bits."""
    return (
        json.loads((newest_version(base_path) / "assets.extra" / "card.json").read_text()).get("quantization")
        is not None
    )


def input_size(base_path: Path) -> tuple[int, int]:
    """Height and width of a model's input, from the model card of its newest version."""
    card = json.loads((newest_version(base_path) / "assets.extra" / "card.json").read_text())
    return card["input"]["height"], card["input"]["width"]


def modelserver_arguments(
    base_path: Path, model: str, port: int, batching: Path | None = None, engine: Engine = "tensorflow"
) -> list[str]:
    """Arguments of ``python -m`` that serve a model with an engine, as `scripts/run` does."""
    return [
        *("modelserver", f"--engine={engine}"),
        *(f"--host={LOOPBACK}", f"--port={port}"),
        *(f"--model_name={model}", f"--model_base_path={base_path.resolve()}"),
        *("--enable_batching=true", f"--batching_parameters_file={batching or ROOT / 'serving' / 'batching.config'}"),
    ]


def gateway_environment(target: str, model: str, port: int, **settings: str) -> dict[str, str]:
    """The environment of the gateway for a model server, and for additional settings in lower case."""
    values = {"serving_target": target, "default_model": model, "port": str(port), "log_level": "info", **settings}
    return {f"GATEWAY_{name.upper()}": value for name, value in values.items()}


def answers(port: int, path: str, photo: bytes) -> bool:
    """Whether a server at a port answers a photo with 200."""
    try:
        caller = HttpCaller(LOOPBACK, port, [form_request(path, LOOPBACK, [("dog_image", "photo", photo)])])
        try:
            caller.call(0)
        finally:
            caller.close()
    except Exception:  # not ready yet
        return False
    return True


def describe(port: int, model: str) -> tuple[list[str], Target]:
    """Labels and input size of a model, from the gateway."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request("GET", f"/api/v1/models/{model}")
        description = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    interpolation = (description.get("card") or {}).get("input", {}).get("interpolation", "bilinear")
    size = description["input"]
    return description["labels"], Target(size["height"], size["width"], size["fit"], interpolation)


def available(address: str, model: str) -> bool:
    """Whether a model server has an available version of a model."""
    request = ModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(address) as channel:
        get_model_status = channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            ModelStatusRequest.SerializeToString,
            ModelStatusResponse.FromString,
        )
        try:
            states = get_model_status(request, timeout=5).model_version_status
        except grpc.RpcError:
            return False
    return any(one.state == ModelVersionStatus.State.AVAILABLE for one in states)
