"""Where the REST interface differs from the real server's: just as the table in docs/compatibility.md says."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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
        [given] = [array_of(tensor, max_elements=100) for tensor in inputs.values()]
        if name == "raw":
            return {"length": number_tensor(np.array([len(one) for one in given.tolist()], np.int32))}
        return {"y": string_tensor(given.tolist()) if name == "open_text" else number_tensor(given)}


class Asked:
    """A gateway whose model is asked by TensorFlow Serving's REST interface."""

    def __init__(self, start: Start, server: ColourServer) -> None:
        self.server = server
        server.models["m"] = {1: Model(), 2: Model()}  # type: ignore[dict-item]
        server.labels["m", "stable"] = 1
        self.client = start(max_tensor_body_bytes=100_000)

    def predict(self, body: object, path: str = "m:predict") -> tuple[int, httpx.Response]:
        answer = self.client.post(f"/v1/models/{path}", content=json.dumps(body))
        return answer.status_code, answer

    def serve(self, name: str, model: Export) -> None:
        self.server.models[name] = {1: model}  # type: ignore[dict-item]


def b64(data: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(data).decode()}


def out_of_range(asked: Asked) -> None:
    assert asked.predict({"instances": [255]})[0] == 200
    assert asked.predict({"instances": [300]})[0] == 400


def other_size(asked: Asked) -> None:
    asked.serve("any", Export({"x": (FLOAT, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, plain()))
    assert asked.predict({"instances": np.ones((1, 8, 8, 3)).tolist()}, "any:predict")[0] == 200
    assert asked.predict({"instances": np.ones((1, 4, 4, 3)).tolist()}, "any:predict")[0] == 400


def wrong_rank(asked: Asked) -> None:
    assert asked.predict({"instances": [[1]]})[0] == 400


def open_rank(asked: Asked) -> None:
    assert asked.predict({"signature_name": "open", "inputs": [1]})[0] == 400
    assert asked.predict({"signature_name": "open_text", "inputs": ["a"]})[0] == 200


def other_base64(asked: Asked) -> None:
    data = b"\xfb\xff\xfe" * 9
    text = base64.urlsafe_b64encode(data).decode()
    plain_text = base64.b64encode(data).decode()
    for one in (text, f"data:image/png;base64,{plain_text}"):
        status, answer = asked.predict({"signature_name": "raw", "instances": [{"b64": one}]})
        assert (status, answer.json()) == (200, {"predictions": [27]})


def rewritten(asked: Asked) -> None:
    def formats(given: Mapping[str, object]) -> dict[str, pb.Tensor]:
        [files] = given.values()
        assert all(one[:2] in (b"\xff\xd8", b"\x89P") for one in files.tolist())  # type: ignore[attr-defined]
        return {"y": number_tensor(np.ones((2, 3), np.float32))}

    asked.serve("encoded", Export({"image": (STRING, (-1,))}, {"y": (FLOAT, (-1, 3))}, formats))
    body = {"instances": [b64(photo(encoding="WebP")), b64(photo(encoding="GIF"))]}
    assert asked.predict(body, "encoded:predict")[0] == 200


def undecodable(asked: Asked) -> None:
    asked.serve("encoded", Export({"image": (STRING, (-1,))}, {"y": (FLOAT, (-1, 3))}, plain("image")))
    asked.server.batch_sizes.clear()
    assert asked.predict({"instances": [b64(photo()[:60])]}, "encoded:predict")[0] == 400
    assert asked.server.batch_sizes == []


def no_version(asked: Asked) -> None:
    asked.server.models["away"] = {}
    status, answer = asked.predict({"instances": [1]}, "away:predict")
    assert status == 503
    assert "retry-after" in answer.headers


def labelled_state(asked: Asked) -> None:
    for path, versions in (("stable", ["1"]), ("canary", ["2", "1"])):
        states = asked.client.get(f"/v1/models/m/labels/{path}").json()["model_version_status"]
        assert [one["version"] for one in states] == versions


def load_error(asked: Asked) -> None:
    asked.server.failed_versions["m"] = {3: "/models/m/3/saved_model.pb is damaged"}
    [state, *_] = asked.client.get("/v1/models/m").json()["model_version_status"]
    assert state["status"] == {"error_code": "INTERNAL", "error_message": "See the log of the model server."}


def bookkeeping(asked: Asked) -> None:
    assert "__saved_model" not in asked.client.get("/v1/models/m/metadata").text


def other_verbs(asked: Asked) -> None:
    for verb in ("classify", "regress"):
        assert asked.predict({"examples": []}, f"m:{verb}")[0] == 400


def rows(asked: Asked) -> None:
    assert asked.predict({"instances": [1] * 32})[0] == 200
    assert asked.predict({"instances": [1] * 33})[0] == 400


def limits(asked: Asked) -> None:
    assert asked.predict({"instances": [1] * 50_000})[0] == 413


DIFFERENCES: dict[str, Callable[[Asked], None]] = {
    "a number outside the range of its type": out_of_range,
    "pixels of another size than the model's": other_size,
    "a tensor of a wrong rank": wrong_rank,
    "an input whose rank the signature leaves open": open_rank,
    "URL-safe base64 and data URLs": other_base64,
    "images among the inputs": rewritten,
    "an image that cannot be decoded": undecodable,
    "a model without an available version": no_version,
    "the state of a labelled version": labelled_state,
    "why a version could not be loaded": load_error,
    "`__saved_model_init_op` in the metadata": bookkeeping,
    "`:classify` and `:regress`": other_verbs,
    "rows in one request": rows,
    "limits": limits,
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_the_gateway_differs_as_the_documentation_says(
    start: Start, model_server: ColourServer, difference: str
) -> None:
    DIFFERENCES[difference](Asked(start, model_server))


def test_the_table_of_differences_is_complete() -> None:
    text = (ROOT / "docs" / "compatibility.md").read_text("utf-8")
    [table] = re.findall(r"\| difference \|.*?\n\|---.*?\n(.*?)\n\n", text, re.DOTALL)
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == list(DIFFERENCES)
