"""A gateway with a gRPC port before a model server, both real."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import grpc
import httpx
import numpy as np
import pytest

from gateway.app import create_app
from gateway.pb.serving_pb2 import DataType, PredictRequest
from gateway.settings import Settings
from testing.colour_scores import colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel, Model
from testing.gateway import FORK_SERVER, running_gateway
from testing.grpc_calls import predict_request
from testing.processes import LOOPBACK
from testing.tensors import number_tensor

CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
"""Channels of their own connections, that take any answer."""


def doubled(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * 2, np.float32)


def models() -> dict[str, dict[int, Model]]:
    """Models: one with a card, one that takes numbers, and one that takes encoded images."""
    plain = ForeignModel({"x": (DataType.DT_FLOAT, (-1, 2))}, {"y": (DataType.DT_FLOAT, (-1, 2))}, doubled)
    encoded = ForeignModel(
        {"image_bytes": (DataType.DT_STRING, (-1,))}, {"scores": (DataType.DT_FLOAT, (-1, 3))}, colour_scores
    )
    return {"colours": {1: ColourModel(), 2: ColourModel()}, "doubler": {4: plain}, "encoded": {1: encoded}}


@contextmanager
def grpc_gateway(server: ColourServer, **settings: object) -> Iterator[tuple[httpx.Client, grpc.Channel]]:
    """Run a gateway before a model server; yields an HTTP client of it and a gRPC channel to it."""
    values: dict[str, object] = {
        "serving_target": server.address,
        "default_model": "colours",
        "grpc_port": 0,
        "request_timeout_seconds": 60,  # a busy machine is slow
        "model_refresh_seconds": 0.05,
    }
    gateway_settings = Settings.model_validate(values | settings)
    app = create_app(gateway_settings, fork_server=FORK_SERVER)
    with (
        running_gateway(gateway_settings, app) as client,
        grpc.insecure_channel(f"{LOOPBACK}:{app.state.grpc_port}", CHANNEL_OPTIONS) as channel,
    ):
        client.headers["x-grpc-address"] = f"{LOOPBACK}:{app.state.grpc_port}"
        yield client, channel


@pytest.fixture(scope="module")
def server() -> Iterator[ColourServer]:
    server = ColourServer(models=models(), labels={("colours", "stable"): 1})
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def gateway(server: ColourServer) -> Iterator[tuple[httpx.Client, grpc.Channel]]:
    with grpc_gateway(server) as both:
        yield both


@pytest.fixture(scope="module")
def channel(gateway: tuple[httpx.Client, grpc.Channel]) -> grpc.Channel:
    return gateway[1]


@pytest.fixture(scope="module")
def address(gateway: tuple[httpx.Client, grpc.Channel]) -> str:
    """Address of the gRPC port."""
    return gateway[0].headers["x-grpc-address"]


@pytest.fixture
def start(server: ColourServer) -> Iterator[Callable[..., tuple[httpx.Client, grpc.Channel]]]:
    """Starts gateways with any settings; returns a client and a channel of each."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(grpc_gateway(server, **settings))


def doubler(rows: int = 1) -> PredictRequest:
    """A request of the model `doubler`."""
    request = predict_request("doubler")
    request.inputs["x"].CopyFrom(number_tensor(np.ones((rows, 2), np.float32)))
    return request


def gauge(client: httpx.Client, name: str) -> float:
    """The sum of a gauge over its labels."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name) and not line.startswith("#"))
