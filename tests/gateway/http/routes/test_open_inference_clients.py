"""Clients of the Open Inference Protocol as they are published, unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from gateway.pb.serving_pb2 import DataType
from gateway.settings import Settings
from testing.colour_scores import COLOURS
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.gateway import running_gateway
from testing.photos import photo


def doubled(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * 2, np.float32)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    plain = ForeignModel({"x": (DataType.DT_FLOAT, (-1, 2))}, {"y": (DataType.DT_FLOAT, (-1, 2))}, doubled)
    server = ColourServer(models={"colours": {1: ColourModel(), 2: ColourModel()}, "doubler": {4: plain}})
    with server.serving() as address:
        values = {"serving_target": address, "default_model": "colours"}
        settings = Settings.model_validate({**values, "request_timeout_seconds": 60})  # a busy machine is slow
        with running_gateway(settings) as client:
            yield client


@pytest.fixture
def triton(client: httpx.Client) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}") as triton:
        yield triton


def test_triton_health_and_metadata(triton: InferenceServerClient) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("colours")
    assert triton.is_model_ready("colours", "2")
    assert not triton.is_model_ready("nope")
    assert triton.get_server_metadata()["name"] == "breed-gateway"
    assert triton.get_model_metadata("doubler")["inputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize("binary", [True, False])
def test_triton_tensors(triton: InferenceServerClient, binary: bool) -> None:
    infer_input = InferInput("x", [3, 2], "FP32")
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    infer_input.set_data_from_numpy(values, binary_data=binary)
    for outputs in (None, [InferRequestedOutput("y", binary_data=binary)]):
        result = triton.infer("doubler", [infer_input], outputs=outputs, request_id="7")
        assert np.array_equal(result.as_numpy("y"), values * 2)
        assert result.get_response()["id"] == "7"


def test_triton_images_as_bytes_and_as_pixels(triton: InferenceServerClient) -> None:
    infer_input = InferInput("image_bytes", [3], "BYTES")
    infer_input.set_data_from_numpy(np.array([photo(colour) for colour in COLOURS], np.object_))
    result = triton.infer("colours", [infer_input], model_version="2")
    assert result.as_numpy("classes")[:, 0].tolist() == [colour.encode() for colour in COLOURS]
    assert result.as_numpy("scores").shape == (3, 3)
    pixels = InferInput("images", [1, 8, 8, 3], "UINT8")
    pixels.set_data_from_numpy(np.full((1, 8, 8, 3), (255, 0, 0), np.uint8))
    assert triton.infer("colours", [pixels]).as_numpy("probabilities").argmax() == 0


def test_a_refusal_is_tritons_own_exception(triton: InferenceServerClient) -> None:
    pixels = InferInput("images", [1, 8], "UINT8")
    pixels.set_data_from_numpy(np.zeros((1, 8), np.uint8))
    with pytest.raises(InferenceServerException, match="must be of shape"):
        triton.infer("colours", [pixels])
