"""Bodies of the Open Inference Protocol (V2): its JSON, and the binary tensor data that Triton's clients send.

With the header ``Inference-Header-Content-Length`` the body is that many bytes of JSON and then the tensors one after
the other: numbers as little-endian arrays, ``BYTES`` as elements that each follow their length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.serving_pb2 import DataType, SignatureDefMap
from gateway.tensors.json_values import MAX_RANK, Text, decoded_base64, json_array, json_strings, read_json, write_json
from gateway.tensors.messages import Inputs, SignatureRules, checked_inputs, find_signature
from gateway.tensors.wire import Array, number_dtype

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
"""A message holds fewer; sizes beyond what NumPy counts make it fail even where another size is zero."""

_MAX_LENGTH_DIGITS = 12
"""Digits of a body's length that are read; Python refuses to make a number of thousands."""

_MAX_NAME_CHARACTERS = 256
_MAX_TENSORS = 64

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of an infer request other than its tensors.

    Attributes:
        id: ID that the answer repeats.
        parameters: Of the request.
        outputs: Names and parameters of the requested outputs; empty for all.
    """

    id: str | None
    parameters: Mapping[str, object]
    outputs: Sequence[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class InferBody:
    """An infer request.

    Attributes:
        head: What its JSON says.
        signature: Key of the signature to run; None if the request has images to be classified.
        inputs: Its tensors.
    """

    head: Head
    signature: str | None
    inputs: Inputs


@dataclass(frozen=True, slots=True)
class _Tensor:
    """An input as JSON describes it."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Mapping[str, object]
    data: object


def read_request(
    body: Text,
    header_length: str | None,
    signatures: SignatureDefMap,
    default_signature: str,
    rules: SignatureRules,
    *,
    max_images: int,
) -> InferBody:
    """Read the body of an infer request.

    Args:
        body: All of it.
        header_length: Value of the header `HEADER_LENGTH`; None where all of the body is JSON.
        signatures: Of the version that answers.
        default_signature: Key of the signature for a request that names none.
        rules: What else is known of that version.
        max_images: Maximum number of encoded images to classify; 0 if the version is not an image classifier.

    Raises:
        BadRequest: It does not follow the protocol.
        SignatureMissing: It names a signature that the version does not have.
        InvalidTensor: A tensor contradicts its shape or datatype, or does not match the signature.
    """
    text, rest = _split(memoryview(body), header_length)
    head, tensors, key = _head(read_json(text))
    if not isinstance(key, str | None):
        raise BadRequest("The parameter signature_name must be a string.")
    arrays: dict[str, Array] = {}
    for tensor in tensors:
        if tensor.name in arrays:
            raise BadRequest(f"The input {tensor.name!r} occurs twice.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise BadRequest(f"The input {tensor.name!r} has a binary_data_size that the body does not hold.")
        arrays[tensor.name] = _from_bytes(tensor, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise BadRequest(f"The body has {len(rest)} bytes more than its inputs say.")
    if key is None and max_images and len(tensors) == 1 and tensors[0].datatype == "BYTES":
        return InferBody(head, None, _images(tensors[0], arrays[tensors[0].name], max_images))
    key = default_signature if key is None else key
    return InferBody(head, key, checked_inputs(find_signature(signatures, key), key, arrays, rules))


def write_response(head: Head, model: str, version: int, outputs: Mapping[str, Array]) -> tuple[bytes, dict[str, str]]:
    """Write the body and headers of an answer, in binary form for the outputs that request it.

    Raises:
        InvalidTensor: A requested output does not exist, or its parameters are not supported.
    """
    everywhere = head.parameters.get("binary_data_output") is True
    described: list[dict[str, object]] = []
    binary: list[bytes] = []
    for name, parameters in head.outputs or [(name, {}) for name in outputs]:
        if name not in outputs:
            raise InvalidTensor(f"There is no output {name!r}; there is {', '.join(map(repr, outputs))}.")
        array = outputs[name]
        datatype = "BYTES" if array.dtype == object else _NAMES[str(array.dtype)]
        entry: dict[str, object] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if parameters.get("binary_data", everywhere) is True:
            content = _to_bytes(array)
            binary.append(content)
            entry["parameters"] = {"binary_data_size": len(content)}
        else:
            entry["data"] = json_strings(array.ravel(), binary=False) if array.dtype == object else array.ravel()
        described.append(entry)
    answer: dict[str, object] = {"model_name": model, "model_version": str(version), "outputs": described}
    if head.id is not None:
        answer["id"] = head.id
    text = write_json(answer)
    if not binary:
        return text, {"Content-Type": "application/json"}
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    return b"".join((text, *binary)), headers


def _split(body: memoryview, header_length: str | None) -> tuple[memoryview, memoryview]:
    """The JSON of a body, and the binary data behind it."""
    if header_length is None:
        return body, body[len(body) :]
    readable = header_length.isdecimal() and len(header_length) <= _MAX_LENGTH_DIGITS
    if not readable or int(header_length) > len(body):
        raise BadRequest("Inference-Header-Content-Length must be the length of the JSON at the body's start.")
    return body[: int(header_length)], body[int(header_length) :]


def _head(value: object) -> tuple[Head, list[_Tensor], object]:
    request = _checked(value, dict, "the top", "an object")
    inputs = _checked(request.get("inputs"), list, "inputs", "a list")
    outputs = _checked(request.get("outputs", []), list, "outputs", "a list")
    if not 1 <= len(inputs) <= _MAX_TENSORS or len(outputs) > _MAX_TENSORS:
        raise _unreadable("inputs", f"1 to {_MAX_TENSORS} tensors are accepted")
    identity = request.get("id")
    head = Head(
        id=None if identity is None else _name(identity, "id"),
        # Only what is read later: the rest would go back and forth between the processes.
        parameters=_request_parameters(_parameters(request, "parameters")),
        outputs=[
            (_name(one.get("name"), f"outputs.{index}.name"), _output(_parameters(one, f"outputs.{index}.parameters")))
            for index, one in enumerate(_checked(one, dict, "outputs", "a list of objects") for one in outputs)
        ],
    )
    tensors = [_tensor(one, f"inputs.{index}") for index, one in enumerate(inputs)]
    return head, tensors, _parameters(request, "parameters").get("signature_name")


def _request_parameters(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The parameters that are used once the tensors are read; a top_k that is not a number stays invalid."""
    kept: dict[str, object] = {"binary_data_output": parameters.get("binary_data_output") is True}
    if "top_k" in parameters:
        top_k = parameters["top_k"]
        kept["top_k"] = top_k if isinstance(top_k, int) else "not a number"
    return kept


def _output(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The parameters of a requested output.

    Raises:
        InvalidTensor: One is not offered.
    """
    unknown = set(parameters) - {"binary_data"}
    if unknown:
        raise InvalidTensor(f"The output parameter {min(unknown)[:80]!r} is not offered.")
    return {name: value is True for name, value in parameters.items()}


def _tensor(value: object, where: str) -> _Tensor:
    tensor = _checked(value, dict, where, "an object")
    name = _name(tensor.get("name"), f"{where}.name")
    shape = _checked(tensor.get("shape"), list, f"{where}.shape", "a list")
    if len(shape) > MAX_RANK or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise _unreadable(f"{where}.shape", f"at most {MAX_RANK} whole numbers are accepted")
    sizes = cast(list[int], shape)
    if min(sizes, default=0) < 0:
        raise InvalidTensor(f"The input {name!r} has a negative dimension.")
    if math.prod(max(size, 1) for size in sizes) >= _MAX_ELEMENTS:
        raise InvalidTensor(f"The input {name!r} has too many elements.")
    return _Tensor(
        name=name,
        shape=tuple(sizes),
        datatype=_name(tensor.get("datatype"), f"{where}.datatype"),
        parameters=_parameters(tensor, f"{where}.parameters"),
        data=tensor.get("data"),
    )


def _name(value: object, where: str) -> str:
    name = _checked(value, str, where, "a string")
    if len(name) > _MAX_NAME_CHARACTERS:
        raise _unreadable(where, f"at most {_MAX_NAME_CHARACTERS} characters are accepted")
    return name


def _parameters(holder: Mapping[str, object], where: str) -> Mapping[str, object]:
    return _checked(holder.get("parameters", {}), dict, where, "an object")


def _checked(value: object, kind: type[T], where: str, expected: str) -> T:
    if not isinstance(value, kind):
        raise _unreadable(where, f"it must be {expected}")
    return value


def _unreadable(where: str, problem: str) -> BadRequest:
    return BadRequest(f"The body is not an infer request: at {where}: {problem}.")


def _images(tensor: _Tensor, array: Array, max_images: int) -> Inputs:
    if "binary_data_size" not in tensor.parameters and tensor.parameters.get("content_type") != "base64":
        array = _from_base64(array, tensor.name)  # an image is no text, so in JSON it can only be that
    if array.ndim not in (1, 2) or array.size == 0 or array.size != len(array):
        raise InvalidTensor(f"The input {tensor.name!r} must be of shape [n] or [n, 1], one image an element.")
    if array.size > max_images:
        raise InvalidTensor(f"{array.size} images exceed the limit of {max_images} images per request.")
    return Inputs([array.size], [tensor.name], images=array.ravel().tolist(), shape=array.shape)


def _wire_dtype(tensor: _Tensor) -> int:
    number = _WIRE_DTYPES.get(tensor.datatype)
    if number is None or (number != DataType.DT_STRING and number_dtype(number) is None):
        known = ", ".join(name for name in _WIRE_DTYPES if name != "BF16")
        raise InvalidTensor(f"The input {tensor.name!r} is of datatype {tensor.datatype!r}; accepted are {known}.")
    return number


def _from_json(tensor: _Tensor) -> Array:
    number = _wire_dtype(tensor)
    if tensor.data is None:
        raise InvalidTensor(f"The input {tensor.name!r} has neither data nor binary_data_size.")
    array = json_array(tensor.data, number, tensor.name)
    if tensor.parameters.get("content_type") == "base64" and array.dtype == object:
        array = _from_base64(array, tensor.name)
    if array.shape != tensor.shape and not (array.ndim == 1 and array.size == math.prod(tensor.shape)):
        raise InvalidTensor(
            f"The input {tensor.name!r} says shape {list(tensor.shape)}, its data is {list(array.shape)}."
        )
    return array.reshape(tensor.shape)


def _from_base64(array: Array, name: str) -> Array:
    decoded = np.empty(array.size, np.object_)
    try:
        decoded[:] = [decoded_base64(one.decode()) for one in array.ravel().tolist()]
    except ValueError as error:
        raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    return decoded.reshape(array.shape)


def _from_bytes(tensor: _Tensor, content: memoryview) -> Array:
    count = math.prod(tensor.shape)
    dtype = number_dtype(_wire_dtype(tensor))
    if dtype is not None:
        if len(content) != count * dtype.itemsize:
            raise InvalidTensor(f"The input {tensor.name!r} has {len(content)} bytes for shape {list(tensor.shape)}.")
        return np.frombuffer(content, dtype).reshape(tensor.shape)
    values: list[bytes] = []
    position = 0
    while position + 4 <= len(content) and len(values) < count:
        (size,) = struct.unpack_from("<I", content, position)
        position += 4 + size
        values.append(bytes(content[position - size : min(position, len(content))]))
    if position != len(content) or len(values) != count:
        raise InvalidTensor(f"The input {tensor.name!r} does not hold {count} elements with their lengths.")
    strings = np.empty(count, np.object_)
    strings[:] = values
    return strings.reshape(tensor.shape)


def _to_bytes(array: Array) -> bytes:
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(one)) + one for one in array.ravel().tolist())
