"""A model server that polls its configuration, and published versions."""

import os
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from testing.polling_server import PollingServer
from tests.trainer.registry.drafts import put


@pytest.fixture(autouse=True)
def new_files_can_be_read_by_all() -> Iterator[None]:
    """New files can be read by every user, as by default, however whoever runs the tests has set it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "models.config"


@pytest.fixture
def server(config: Path) -> Iterator[tuple[PollingServer, str]]:
    servicer = PollingServer(config)
    grpc_server = grpc.server(futures.ThreadPoolExecutor(2))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicer, grpc_server)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    yield servicer, f"127.0.0.1:{port}"
    grpc_server.stop(grace=None).wait()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    for _ in range(3):
        put(directory)
    return directory
