"""Encoded images and pixels in the REST interface of TensorFlow Serving."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.pb import serving_pb2 as pb
from gateway.tensors.wire import array_of
from testing.colour_scores import colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel, signature
from testing.photos import photo
from testing.tensors import number_tensor, string_tensor
from tests.gateway.http.routes.arithmetic import FLOAT, STRING, post

Start = Callable[..., httpx.Client]


@dataclass(frozen=True)
class WithDefault(ColourModel):
    """A model of the contract whose default signature takes encoded images."""

    def signatures(self) -> dict[str, pb.SignatureDef]:
        default = signature(
            {"image_bytes": (STRING, (-1,))}, {"classes": (STRING, (-1, 3)), "scores": (FLOAT, (-1, 3))}
        )
        return {**super().signatures(), "serving_default": default}

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name != "serving_default":
            return super().predict(name, inputs)
        pictures = [Image.open(io.BytesIO(one)) for one in array_of(inputs["image_bytes"], max_elements=64).tolist()]
        assert all(one.format in ("JPEG", "PNG") for one in pictures)
        scores = colour_scores(np.stack([np.asarray(one.convert("RGB").resize((8, 8))) for one in pictures]))
        best = np.argsort(-scores, axis=1)
        names = [self.labels[index].encode() for index in best.ravel().tolist()]
        return {
            "classes": string_tensor(names, best.shape),
            "scores": number_tensor(np.take_along_axis(scores, best, 1)),
        }


def encoded(colour: str, encoding: str = "PNG") -> dict[str, str]:
    return {"b64": base64.b64encode(photo(colour, encoding=encoding)).decode()}


def test_images_are_refused_for_lack_of_permits_before_they_are_decoded(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    gateway = start(max_images_in_flight=2, max_batch_images=2)
    broken = {"b64": base64.b64encode(photo()[:50]).decode()}
    assert post(gateway, {"instances": [broken] * 2}, "/v1/models/colours:predict").status_code == 400
    assert post(gateway, {"instances": [broken] * 3}, "/v1/models/colours:predict").status_code == 429


@pytest.mark.parametrize("encoding", ["PNG", "JPEG", "WebP", "GIF", "BMP"])
def test_encoded_images_are_classified_by_the_default_signature(
    gateway: httpx.Client, model_server: ColourServer, encoding: str
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    body = {"instances": [{"image_bytes": encoded("red", encoding)}, {"image_bytes": encoded("blue", encoding)}]}
    answer = post(gateway, body, "/v1/models/colours:predict")
    assert answer.status_code == 200, answer.text
    assert [row["classes"][0] for row in answer.json()["predictions"]] == ["red", "blue"]
    assert answer.json()["predictions"][0]["scores"][0] > 0.8


def test_base64_that_is_not_marked_as_such_is_told_how_to_be(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    answer = post(gateway, {"instances": [encoded("red")["b64"]]}, "/v1/models/colours:predict")
    assert answer.status_code == 400
    assert "This is base64 text, not the bytes of an image" in answer.json()["error"]
    assert '{"b64": "<base64>"} in place of a string to /v1' in answer.json()["error"]


@pytest.mark.parametrize("inputs", [{"a": 1.0}, {"a": [1.0, 2.0, 3.0]}, {"a": 1.0, "b": 2.0}])
def test_a_default_signature_may_take_no_images(
    gateway: httpx.Client,
    model_server: ColourServer,
    inputs: dict[str, float | list[float]],
) -> None:
    class Counting(ColourModel):
        def signatures(self) -> dict[str, pb.SignatureDef]:
            shapes = {name: (FLOAT, np.shape(value)) for name, value in inputs.items()}
            return {**super().signatures(), "serving_default": signature(shapes, {"count": (FLOAT, ())})}

        def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
            if name != "serving_default":
                return super().predict(name, inputs)
            sizes = [array_of(one, max_elements=9).size for one in inputs.values()]
            return {"count": number_tensor(np.array(sum(sizes), np.float32))}

    model_server.models["colours"] = {1: Counting()}
    answer = post(gateway, {"inputs": inputs}, "/v1/models/colours:predict")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"outputs": sum(np.size(one) for one in inputs.values())}


@pytest.mark.parametrize("content", [b"no image", photo()[:-40], b""])
def test_an_image_that_would_fail_its_batch_on_the_server_is_refused_here(
    gateway: httpx.Client, model_server: ColourServer, content: bytes
) -> None:
    model_server.models["colours"] = {1: WithDefault()}
    body = {"instances": [encoded("red"), {"b64": base64.b64encode(content).decode()}]}
    answer = post(gateway, body, "/v1/models/colours:predict")
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert model_server.batch_sizes == []


def test_pixels_of_another_size_would_fail_the_batch_they_share_and_are_refused(
    start: Start, model_server: ColourServer
) -> None:
    anysize = ForeignModel({"x": (FLOAT, (-1, -1, -1, 3))}, {"y": (FLOAT, (-1, 3))}, colour_scores)
    model_server.models["anysize"] = {1: anysize}
    gateway = start(models="anysize", model_options={"anysize": {"height": 4, "width": 6}})
    for height, width in ((6, 4), (4, 4), (1, 1)):
        pixels = np.ones((2, height, width, 3)).tolist()
        described = {"name": "x", "shape": [2, height, width, 3], "datatype": "FP32", "data": pixels}
        for answer in (
            post(gateway, {"instances": pixels}, "/v1/models/anysize:predict"),
            post(gateway, {"inputs": [described]}, "/v2/models/anysize/infer"),
        ):
            assert answer.status_code == 400, answer.text
            assert f"must be of shape (n, 4, 6, 3), not (2, {height}, {width}, 3)" in answer.json()["error"]
    assert model_server.batch_sizes == []
    good = post(gateway, {"instances": np.ones((2, 4, 6, 3)).tolist()}, "/v1/models/anysize:predict")
    assert good.status_code == 200, good.text
