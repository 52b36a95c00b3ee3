"""Bodies of the Open Inference Protocol (V2): JSON, optionally followed by binary tensor data.

With the header ``Inference-Header-Content-Length``, the body is that many bytes of JSON, then the tensors one after the
other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from gateway.errors import BadRequest, InvalidTensor
from gateway.tensors.json_values import MAX_RANK, Text, json_strings, read_json, write_json
from gateway.tensors.messages import Inputs, Signatures
from gateway.tensors.open_inference_data import (
    DATATYPE_OF_ARRAY,
    TensorEntry,
    array_from_bytes,
    array_from_json,
    array_to_bytes,
    images_of,
)
from gateway.tensors.wire import Array

HEADER_LENGTH = "inference-header-content-length"


_MAX_ELEMENTS = 2**31
"""Limit on the elements of a tensor. NumPy fails on larger shapes, even if another dimension is zero."""

_MAX_LENGTH_DIGITS = 12
"""Maximum number of digits in a body length; Python refuses to parse thousands of digits."""

MAX_TENSORS = 64
"""Most inputs, and most requested outputs, of a request."""

_MAX_NAME_CHARACTERS = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The parts of an infer request other than its tensors.

    Attributes:
        id: ID that the answer repeats.
        outputs: Names and parameters of the requested outputs; empty for all.
    """

    id: str | None
    parameters: Mapping[str, object]
    outputs: Sequence[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True)
class InferBody:
    """An infer request. Its signature is None if it has images to be classified."""

    head: Head
    signature: str | None
    inputs: Inputs


def read_request(body: Text, header_length: str | None, signatures: Signatures, *, max_images: int) -> InferBody:
    """Read the body of an infer request.

    Args:
        body: All of it.
        header_length: Value of the header `HEADER_LENGTH`; None if the whole body is JSON.
        signatures: Signatures of the version that answers.
        max_images: Maximum number of encoded images to classify; 0 if the version is not an image classifier.

    Raises:
        BadRequest: It does not follow the protocol.
        SignatureMissing: It names a signature that the version does not have.
        InvalidTensor: A tensor contradicts its shape or datatype, or does not match the signature.
    """
    text, rest = _split(memoryview(body), header_length)
    head, tensors, key = _head(read_json(text))
    return infer_body(head, key, _with_arrays(tensors, rest), signatures, max_images)


def infer_body(
    head: Head,
    signature: object,
    tensors: Iterable[tuple[TensorEntry, Array]],
    signatures: Signatures,
    max_images: int,
) -> InferBody:
    """An infer request from its parts, which differ between JSON and gRPC.

    `signature` is its parameter ``signature_name``. Raises as `read_request` does.
    """
    if not isinstance(signature, str | None):
        raise BadRequest("The parameter signature_name must be a string.")
    arrays: dict[str, tuple[TensorEntry, Array]] = {}
    for tensor, array in tensors:
        if tensor.name in arrays:
            raise BadRequest(f"The input {tensor.name!r} occurs twice.")
        arrays[tensor.name] = tensor, array
    if signature is None and max_images and len(arrays) == 1:
        [(tensor, array)] = arrays.values()
        if tensor.datatype == "BYTES":
            return InferBody(head, None, images_of(tensor, array, max_images))
    key = signatures.default if signature is None else signature
    return InferBody(head, key, signatures.inputs(key, {name: array for name, (_, array) in arrays.items()}))


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
            raise InvalidTensor(f"There is no output {name!r}. The outputs are {', '.join(map(repr, outputs))}.")
        array = outputs[name]
        datatype = "BYTES" if array.dtype == object else DATATYPE_OF_ARRAY[str(array.dtype)]
        entry: dict[str, object] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if parameters.get("binary_data", everywhere) is True:
            content = array_to_bytes(array)
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
        raise BadRequest("Inference-Header-Content-Length must be the length of the JSON at the start of the body.")
    return body[: int(header_length)], body[int(header_length) :]


def _with_arrays(tensors: Sequence[TensorEntry], rest: memoryview) -> Iterator[tuple[TensorEntry, Array]]:
    """The arrays of tensors in JSON, or in the binary data behind it."""
    for tensor in tensors:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            yield tensor, array_from_json(tensor)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
            raise BadRequest(f"The input {tensor.name!r} has no valid binary_data_size; {len(rest)} bytes are left.")
        yield tensor, array_from_bytes(tensor, rest[:size])
        rest = rest[size:]
    if len(rest):
        raise BadRequest(f"The body has {len(rest)} more bytes than its inputs declare.")


def _head(value: object) -> tuple[Head, list[TensorEntry], object]:
    request = _checked(value, dict, "the top", "an object")
    inputs = _checked(request.get("inputs"), list, "inputs", "a list")
    outputs = _checked(request.get("outputs", []), list, "outputs", "a list")
    if not 1 <= len(inputs) <= MAX_TENSORS or len(outputs) > MAX_TENSORS:
        raise _unreadable("inputs", f"1 to {MAX_TENSORS} tensors are accepted")
    identity = request.get("id")
    head = Head(
        id=None if identity is None else checked_name(identity, "id"),
        # Keep only those that are read later, so that the others are not copied between processes.
        parameters=request_parameters(_parameters(request, "parameters")),
        outputs=[
            (
                checked_name(one.get("name"), f"outputs.{index}.name"),
                checked_output(_parameters(one, f"outputs.{index}.parameters")),
            )
            for index, one in enumerate(_checked(one, dict, "outputs", "a list of objects") for one in outputs)
        ],
    )
    tensors = [_tensor(one, f"inputs.{index}") for index, one in enumerate(inputs)]
    return head, tensors, _parameters(request, "parameters").get("signature_name")


def request_parameters(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The parameters that are needed after the tensors are read. A top_k that is not a number stays invalid."""
    kept: dict[str, object] = {"binary_data_output": parameters.get("binary_data_output") is True}
    if "top_k" in parameters:
        top_k = parameters["top_k"]
        kept["top_k"] = top_k if isinstance(top_k, int) else "not a number"
    return kept


def checked_output(parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The parameters of a requested output.

    Raises:
        InvalidTensor: One is not supported.
    """
    unknown = set(parameters) - {"binary_data"}
    if unknown:
        raise InvalidTensor(f"The output parameter {min(unknown)[:80]!r} is not supported.")
    return {name: value is True for name, value in parameters.items()}


def _tensor(value: object, where: str) -> TensorEntry:
    tensor = _checked(value, dict, where, "an object")
    name = checked_name(tensor.get("name"), f"{where}.name")
    shape = checked_shape(_checked(tensor.get("shape"), list, f"{where}.shape", "a list"), name, f"{where}.shape")
    return TensorEntry(
        name=name,
        shape=shape,
        datatype=checked_name(tensor.get("datatype"), f"{where}.datatype"),
        parameters=_parameters(tensor, f"{where}.parameters"),
        data=tensor.get("data"),
    )


def checked_shape(shape: Sequence[object], name: str, where: str) -> tuple[int, ...]:
    """The shape of an input.

    Raises:
        BadRequest: It has too many dimensions, or they are not whole numbers.
        InvalidTensor: A dimension is negative, or there are too many elements.
    """
    if len(shape) > MAX_RANK or not all(isinstance(size, int) and not isinstance(size, bool) for size in shape):
        raise _unreadable(where, f"at most {MAX_RANK} whole numbers are accepted")
    sizes = cast(Sequence[int], shape)
    if min(sizes, default=0) < 0:
        raise InvalidTensor(f"The input {name!r} has a negative dimension.")
    if math.prod(max(size, 1) for size in sizes) >= _MAX_ELEMENTS:
        raise InvalidTensor(f"The input {name!r} has too many elements.")
    return tuple(sizes)


def checked_name(value: object, where: str) -> str:
    """A name of a request.

    Raises:
        BadRequest: It is not a string, or too long.
    """
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
