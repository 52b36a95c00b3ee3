"""The Open Inference Protocol (V2) over HTTP: its JSON, and the binary tensor data that Triton's clients send.

With the header ``Inference-Header-Content-Length`` the body is that many bytes of JSON and then the tensors one after
the other: numbers as little-endian arrays, ``BYTES`` as elements that each follow their length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from gateway.errors import BadRequest, InvalidTensor
from gateway.interpreter import copy_of, let_others_run
from gateway.json_numbers import MAX_RANK
from gateway.json_tensors import MAX_JSON_VALUES, decoded_base64, json_array, json_strings, read_json, write_json
from gateway.pb.serving_pb2 import DataType
from gateway.tensors import Array, number_dtype

HEADER_LENGTH = "inference-header-content-length"

DATATYPES: dict[int, str] = {
    DataType.DT_BOOL: "BOOL",
    DataType.DT_UINT8: "UINT8",
    DataType.DT_UINT16: "UINT16",
    DataType.DT_UINT32: "UINT32",
    DataType.DT_UINT64: "UINT64",
    DataType.DT_INT8: "INT8",
    DataType.DT_INT16: "INT16",
    DataType.DT_INT32: "INT32",
    DataType.DT_INT64: "INT64",
    DataType.DT_HALF: "FP16",
    DataType.DT_FLOAT: "FP32",
    DataType.DT_DOUBLE: "FP64",
    DataType.DT_STRING: "BYTES",
    DataType.DT_BFLOAT16: "BF16",
}
"""Names that the protocol has for the wire dtypes."""

_WIRE_DTYPES = {name: number for number, name in DATATYPES.items()}
_NAMES = {str(dtype): name for number, name in DATATYPES.items() if (dtype := number_dtype(number)) is not None}

_MAX_ELEMENTS = 2**31
"""A message holds fewer; sizes beyond what numpy counts make it fail even where another size is zero."""

_MAX_LENGTH_DIGITS = 12
"""Digits of a body's length that are read; Python refuses to make a number of thousands."""


class TensorIn(BaseModel):
    """An input as JSON describes it."""

    name: str = Field(max_length=256)
    shape: list[int] = Field(max_length=MAX_RANK)
    datatype: str = Field(max_length=16)
    parameters: dict[str, object] = Field(default_factory=dict)
    data: object = None


class TensorAsked(BaseModel):
    """An output that is wanted."""

    name: str = Field(max_length=256)
    parameters: dict[str, object] = Field(default_factory=dict)


class InferJson(BaseModel):
    """The JSON of an infer request."""

    id: str | None = Field(None, max_length=256)
    parameters: dict[str, object] = Field(default_factory=dict)
    inputs: list[TensorIn] = Field(min_length=1, max_length=64)
    outputs: list[TensorAsked] = Field(default_factory=list, max_length=64)


@dataclass(frozen=True, slots=True)
class InferRequest:
    """An infer request, its tensors read.

    Attributes:
        head: What JSON said.
        inputs: Arrays by name; ``BYTES`` as object arrays of bytes. Emptied when the request is over.
    """

    head: InferJson
    inputs: dict[str, Array]

    def parameter(self, name: str) -> object:
        """A parameter of the request, None where it is not given."""
        return self.head.parameters.get(name)


def read_request(body: bytes | bytearray, header_length: str | None) -> InferRequest:
    """Read the body of an infer request.

    Args:
        body: All of it.
        header_length: Value of the header `HEADER_LENGTH`; None where all of the body is JSON.

    Raises:
        BadRequest: It is not of the protocol.
        InvalidTensor: A tensor contradicts its own shape or datatype.
    """
    length = len(body)
    if header_length is not None:
        readable = header_length.isdecimal() and len(header_length) <= _MAX_LENGTH_DIGITS
        if not readable or int(header_length) > len(body):
            raise BadRequest("Inference-Header-Content-Length must be the length of the JSON at the body's start.")
        length = int(header_length)
    try:
        head = InferJson.model_validate(read_json(body if length == len(body) else copy_of(body, 0, length)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top"
        raise BadRequest(f"The body is no infer request: at {where}: {first['msg']}.") from error
    inputs: dict[str, Array] = {}
    rest = memoryview(body)[length:]
    for tensor in head.inputs:
        if tensor.name in inputs:
            raise BadRequest(f"The input {tensor.name!r} is given twice.")
        if min(tensor.shape, default=0) < 0:
            raise InvalidTensor(f"The input {tensor.name!r} has a size under zero.")
        if math.prod(max(size, 1) for size in tensor.shape) >= _MAX_ELEMENTS:
            raise InvalidTensor(f"The input {tensor.name!r} has a shape of more elements than can be sent.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            inputs[tensor.name] = _from_json(tensor)
            tensor.data = None  # to be freed here and not on the event loop
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise BadRequest(f"The input {tensor.name!r} has a binary_data_size that the body does not hold.")
        inputs[tensor.name] = _from_bytes(tensor, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise BadRequest(f"The body has {len(rest)} bytes more than its inputs say.")
    return InferRequest(head, inputs)


def write_response(
    request: InferRequest, model: str, version: int, outputs: Mapping[str, Array]
) -> tuple[bytes, dict[str, str]]:
    """The body of an answer and its headers: binary for the outputs that were asked for so.

    Raises:
        InvalidTensor: An output is asked for that there is not, or in a way that is not offered.
    """
    everywhere = request.parameter("binary_data_output") is True
    asked = request.head.outputs or [TensorAsked(name=name) for name in outputs]
    described: list[dict[str, object]] = []
    binary: list[bytes] = []
    for one in asked:
        if one.name not in outputs:
            raise InvalidTensor(f"There is no output {one.name!r}; there is {', '.join(map(repr, outputs))}.")
        unknown = set(one.parameters) - {"binary_data"}
        if unknown:
            raise InvalidTensor(f"The output parameter {min(unknown)!r} is not offered.")
        array = outputs[one.name]
        entry: dict[str, object] = {"name": one.name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if one.parameters.get("binary_data", everywhere) is True:
            content = _to_bytes(array)
            binary.append(content)
            entry["parameters"] = {"binary_data_size": len(content)}
        else:
            entry["data"] = json_strings(array.ravel(), binary=False) if array.dtype == object else array.ravel()
        described.append(entry)
    answer: dict[str, object] = {"model_name": model, "model_version": str(version), "outputs": described}
    if request.head.id is not None:
        answer["id"] = request.head.id
    head = write_json(answer)
    if not binary:
        return head, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return b"".join((head, *binary)), headers


def datatype_of(array: Array) -> str:
    """Name that the protocol has for an array's dtype."""
    return "BYTES" if array.dtype == object else _NAMES[str(array.dtype)]


def _wire_dtype(tensor: TensorIn) -> int:
    number = _WIRE_DTYPES.get(tensor.datatype)
    if number is None or (number != DataType.DT_STRING and number_dtype(number) is None):
        known = ", ".join(name for name in _WIRE_DTYPES if name != "BF16")
        raise InvalidTensor(f"The input {tensor.name!r} is of datatype {tensor.datatype!r}; accepted are {known}.")
    return number


def _from_json(tensor: TensorIn) -> Array:
    number = _wire_dtype(tensor)
    if tensor.data is None:
        raise InvalidTensor(f"The input {tensor.name!r} has neither data nor binary_data_size.")
    array = json_array(tensor.data, number, tensor.name)
    if tensor.parameters.get("content_type") == "base64" and array.dtype == object:
        array = from_base64(array, tensor.name)
    shape = tuple(tensor.shape)
    if array.shape != shape and not (array.ndim == 1 and array.size == math.prod(shape)):
        raise InvalidTensor(f"The input {tensor.name!r} says shape {tensor.shape}, its data is {list(array.shape)}.")
    return array.reshape(shape)


def from_base64(array: Array, name: str) -> Array:
    """The bytes that the texts of an array stand for.

    Raises:
        InvalidTensor: They are not base64.
    """
    decoded = np.empty(array.size, np.object_)
    try:
        decoded[:] = [decoded_base64(one) for one in array.ravel().tolist()]
    except ValueError as error:
        raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    return decoded.reshape(array.shape)


def _from_bytes(tensor: TensorIn, content: memoryview) -> Array:
    shape, count = tuple(tensor.shape), math.prod(tensor.shape)
    number = _wire_dtype(tensor)
    dtype = number_dtype(number)
    if dtype is not None:
        if len(content) != count * dtype.itemsize:
            raise InvalidTensor(f"The input {tensor.name!r} has {len(content)} bytes for shape {tensor.shape}.")
        return np.frombuffer(content, dtype).reshape(shape)
    if count > MAX_JSON_VALUES:
        raise InvalidTensor(f"The input {tensor.name!r} has more than the {MAX_JSON_VALUES:,} strings that are taken.")
    values: list[bytes] = []
    position = 0
    while position + 4 <= len(content) and len(values) < count:
        (size,) = struct.unpack_from("<I", content, position)
        position += 4 + size
        values.append(copy_of(content, position - size, min(position, len(content))))
        let_others_run()
    if position != len(content) or len(values) != count:
        raise InvalidTensor(f"The input {tensor.name!r} does not hold {count} elements with their lengths.")
    strings = np.empty(count, np.object_)
    strings[:] = values
    return strings.reshape(shape)


def _to_bytes(array: Array) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(one)) + one for one in array.ravel().tolist())
