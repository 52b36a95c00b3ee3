"""A model of many signatures, none of them an image's, and requests to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx
import numpy as np

from gateway.pb import serving_pb2 as pb
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.wire import array_of
from testing.colour_server import signature
from testing.tensors import number_tensor, string_tensor

FLOAT, INT32, INT64, UINT8 = DataType.DT_FLOAT, DataType.DT_INT32, DataType.DT_INT64, DataType.DT_UINT8
BOOL, HALF, STRING = DataType.DT_BOOL, DataType.DT_HALF, DataType.DT_STRING


@dataclass(frozen=True)
class Arithmetic:
    """A model of many signatures, none of them an image's; what it gets is what the gateway sent."""

    def signatures(self) -> dict[str, pb.SignatureDef]:
        described = {
            "serving_default": signature({"x": (FLOAT, (-1, 2))}, {"y": (FLOAT, (-1, 2))}),
            "sum": signature(
                {"a": (INT32, (-1,)), "b": (INT64, (-1,))}, {"sum": (INT64, (-1,)), "less": (BOOL, (-1,))}
            ),
            "echo": signature({"text": (STRING, (-1,))}, {"text": (STRING, (-1,)), "raw_bytes": (STRING, (-1,))}),
            "shout": signature({"text": (STRING, (-1,))}, {"loud_bytes": (STRING, (-1,))}),
            "total": signature({"x": (FLOAT, (-1, -1))}, {"total": (FLOAT, ())}),
            "half": signature({"x": (HALF, (-1,))}, {"y": (HALF, (-1,))}),
            "scalar": signature({"x": (FLOAT, ())}, {"y": (FLOAT, ())}),
            "open": signature({"x": (FLOAT, ())}, {"y": (FLOAT, ())}),
            "strange": signature({"x": (DataType.DT_BFLOAT16, (-1,))}, {"y": (FLOAT, (-1,))}),
            "nothing": signature({"x": (FLOAT, (-1,))}, {"y": (FLOAT, (-1,))}),
        }
        described["open"].inputs["x"].tensor_shape.unknown_rank = True
        return described

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        arrays = {key: array_of(tensor, max_elements=1000) for key, tensor in inputs.items()}
        if name == "serving_default":
            assert arrays["x"].dtype == np.float32
            return {"y": number_tensor(np.asarray(arrays["x"], np.float32) * np.float32(0.1))}
        if name == "sum":
            assert (str(arrays["a"].dtype), str(arrays["b"].dtype)) == ("int32", "int64")
            a, b = np.asarray(arrays["a"], np.int64), np.asarray(arrays["b"], np.int64)
            return {"sum": number_tensor(a + b), "less": number_tensor(a < b)}
        if name in ("echo", "shout"):
            texts = arrays["text"].tolist()
            if name == "shout":
                return {"loud_bytes": string_tensor([one.upper() for one in texts])}
            return {"text": string_tensor(texts), "raw_bytes": string_tensor(texts)}
        if name == "total":
            return {"total": number_tensor(np.asarray(np.float32(np.asarray(arrays["x"], np.float32).sum())))}
        if name == "nothing":
            return {"y": number_tensor(np.array([np.nan, np.inf, -np.inf], np.float32)[: arrays["x"].size])}
        assert name in ("half", "scalar"), name
        return {"y": number_tensor(arrays["x"])}


def post(gateway: httpx.Client, body: object, path: str = "/v1/models/sums:predict") -> httpx.Response:
    return gateway.post(path, content=json.dumps(body))


def rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 5) if isinstance(value, float) else value
