"""Where the REST interface differs from the real server's: just as the table in docs/compatibility.md says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
import httpx
import numpy as np
import pytest

from gateway.pb import serving_pb2 as pb
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.wire import array_of
from testing import ROOT
from testing.colour_server import ColourServer, signature
from testing.photos import photo
from testing.tensors import number_tensor, string_tensor
from tests.gateway.exports import Export, plain

Start = Callable[..., httpx.Client]

FLOAT, UINT8, STRING = DataType.DT_FLOAT, DataType.DT_UINT8, DataType.DT_STRING


@dataclass(frozen=True)
class Model:
    """Echoes numbers and strings."""

    def signatures(self) -> dict[str, pb.SignatureDef]:
        described = {
            "serving_default": signature({"x": (UINT8, (-1,))}, {"y": (UINT8, (-1,))}),
            "open": signature({"x": (FLOAT, ())}, {"y": (FLOAT, ())}),
            "open_text": signature({"text": (STRING, ())}, {"y": (STRING, (-1,))}),
            "raw": signature({"data": (STRING, (-1,))}, {"length": (DataType.DT_INT32, (-1,))}),
            "__saved_model_init_op": signature({}, {"__saved_model_init_op": (DataType.DT_INVALID, ())}),
        }
        described["open"].inputs["x"].tensor_shape.unknown_rank = True
        described["open_text"].inputs["text"].tensor_shape.unknown_rank = True
        return described

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        [arrays] = [array_of(tensor, max_elements=100) for tensor in inputs.values()]
        if name == "raw":
            return {"length": number_tensor(np.array([len(one) for one in arrays.tolist()], np.int32))}
        return {"y": string_tensor(arrays.tolist()) if name == "open_text" else number_tensor(arrays)}


class RestGateway:
    """A gateway whose model is asked by TensorFlow Serving's REST interface."""

    def __init__(self, start: Start, server: ColourServer) -> None:
        self.server = server
        server.models["m"] = {1: Model(), 2: Model()}  # type: ignore[dict-item]
        server.labels["m", "stable"] = 1
        self.client = start(max_tensor_body_bytes=1_000_000)

    def predict(self, body: object, path: str = "m:predict") -> tuple[int, httpx.Response]:
        answer = self.client.post(f"/v1/models/{path}", content=json.dumps(body))
        return answer.status_code, answer

    def serve(self, name: str, model: Export) -> None:
        self.server.models[name] = {1: model}  # type: ignore[dict-item]


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def out_of_range(gateway: RestGateway) -> None:
    assert gateway.predict({"instances": [255]})[0] == 200
    assert gateway.predict({"instances": [300]})[0] == 400


def other_size(gateway: RestGateway) -> None:
    gateway.serve("any", Export({"x": (FLOAT, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, plain()))
    assert gateway.predict({"instances": np.ones((1, 8, 8, 3)).tolist()}, "any:predict")[0] == 200
    assert gateway.predict({"instances": np.ones((1, 4, 4, 3)).tolist()}, "any:predict")[0] == 400


def open_size(gateway: RestGateway) -> None:
    gateway.serve("any", Export({"x": (FLOAT, (-1, -1, -1, 3))}, {"y": (FLOAT, (-1, 3))}, plain()))
    assert gateway.predict({"instances": np.zeros((1, 224, 224, 3)).tolist()}, "any:predict")[0] == 200
    status, answer = gateway.predict({"instances": np.zeros((1, 8, 8, 3)).tolist()}, "any:predict")
    assert status == 400
    assert "For another size, set the options height and width of the model" in answer.json()["error"]


def wrong_rank(gateway: RestGateway) -> None:
    assert gateway.predict({"instances": [[1]]})[0] == 400


def open_rank(gateway: RestGateway) -> None:
    assert gateway.predict({"signature_name": "open", "inputs": [1]})[0] == 400
    assert gateway.predict({"signature_name": "open_text", "inputs": ["a"]})[0] == 200


def other_base64(gateway: RestGateway) -> None:
    data = b"\xfb\xff\xfe" * 9
    text = base64.urlsafe_b64encode(data).decode()
    plain_text = base64.b64encode(data).decode()
    for one in (text, f"data:image/png;base64,{plain_text}"):
        status, answer = gateway.predict({"signature_name": "raw", "instances": [{"b64": one}]})
        assert (status, answer.json()) == (200, {"predictions": [27]})


def rewritten(gateway: RestGateway) -> None:
    def formats(fields: Mapping[str, object]) -> dict[str, pb.Tensor]:
        [files] = fields.values()
        assert all(one[:2] in (b"\xff\xd8", b"\x89P") for one in files.tolist())  # type: ignore[attr-defined]
        return {"y": number_tensor(np.ones((2, 3), np.float32))}

    gateway.serve("encoded", Export({"image": (STRING, (-1,))}, {"y": (FLOAT, (-1, 3))}, formats))
    body = {"instances": [b64(photo(encoding="WebP")), b64(photo(encoding="GIF"))]}
    assert gateway.predict(body, "encoded:predict")[0] == 200


def undecodable(gateway: RestGateway) -> None:
    gateway.serve("encoded", Export({"image": (STRING, (-1,))}, {"y": (FLOAT, (-1, 3))}, plain("image")))
    gateway.server.batch_sizes.clear()
    assert gateway.predict({"instances": [b64(photo()[:60])]}, "encoded:predict")[0] == 400
    assert gateway.server.batch_sizes == []


def no_version(gateway: RestGateway) -> None:
    gateway.server.models["away"] = {}
    status, answer = gateway.predict({"instances": [1]}, "away:predict")
    assert status == 503
    assert "retry-after" in answer.headers


def labelled_state(gateway: RestGateway) -> None:
    for path, versions in (("stable", ["1"]), ("canary", ["2", "1"])):
        states = gateway.client.get(f"/v1/models/m/labels/{path}").json()["model_version_status"]
        assert [one["version"] for one in states] == versions


def load_error(gateway: RestGateway) -> None:
    gateway.server.failed_versions["m"] = {3: "/models/m/3/saved_model.pb is damaged"}
    [state, *_] = gateway.client.get("/v1/models/m").json()["model_version_status"]
    assert state["status"] == {"error_code": "INTERNAL", "error_message": "See the log of the model server."}


def bookkeeping(gateway: RestGateway) -> None:
    assert "__saved_model" not in gateway.client.get("/v1/models/m/metadata").text


def other_messages(gateway: RestGateway) -> None:
    for body, words in (
        ({"instances": ["a"]}, "The input 'x' is of type uint8, which does not hold a string."),
        ({"rows": [1]}, "The body must have either instances or inputs."),
        ({"inputs": {"z": [1]}}, "The inputs must be 'x', not 'z'."),
    ):
        status, answer = gateway.predict(body)
        assert (status, answer.json()) == (400, {"error": words})


def internal_error(gateway: RestGateway) -> None:
    assert gateway.predict({"instances": [1]})[0] == 200
    gateway.server.refusal = grpc.StatusCode.INTERNAL, "Blas GEMM launch failed"
    status, answer = gateway.predict({"instances": [1]})
    assert (status, answer.json()) == (400, {"error": "The model server could not answer this request."})


def metrics(gateway: RestGateway) -> None:
    assert gateway.client.get("/monitoring/prometheus/metrics").status_code == 404
    assert "# TYPE gateway_" in gateway.client.get("/metrics").text


def other_verbs(gateway: RestGateway) -> None:
    for verb in ("classify", "regress"):
        assert gateway.predict({"examples": []}, f"m:{verb}")[0] == 400


def rows(gateway: RestGateway) -> None:
    assert gateway.predict({"instances": [1] * 32})[0] == 200
    assert gateway.predict({"instances": [1] * 33})[0] == 400


def limits(gateway: RestGateway) -> None:
    assert gateway.predict({"instances": [1] * 500_000})[0] == 413


DIFFERENCES: dict[str, Callable[[RestGateway], None]] = {
    "a number outside the range of its type": out_of_range,
    "pixels of another size than the model's": other_size,
    "pixels for an input whose signature leaves the size open": open_size,
    "a tensor of a wrong rank": wrong_rank,
    "an input whose rank the signature leaves open": open_rank,
    "URL-safe base64 and data URLs": other_base64,
    "images among the inputs": rewritten,
    "an image that cannot be decoded": undecodable,
    "a model without an available version": no_version,
    "the state of a labelled version": labelled_state,
    "why a version could not be loaded": load_error,
    "`__saved_model_init_op` in the metadata": bookkeeping,
    "the message about a body that is not JSON or does not fit the signature": other_messages,
    "the message of an internal error of the model": internal_error,
    "Prometheus metrics": metrics,
    "`:classify` and `:regress`": other_verbs,
    "rows in one request": rows,
    "limits": limits,
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_gateway_differs_as_the_documentation_says(
    start: Start, model_server: ColourServer, difference: str
) -> None:
    DIFFERENCES[difference](RestGateway(start, model_server))


def test_the_table_of_differences_is_complete() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    [table] = re.findall(r"\| difference \|.*?\n\|---.*?\n(.*?)\n\n", text, re.DOTALL)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == list(DIFFERENCES)
