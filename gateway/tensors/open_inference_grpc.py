"""Parse and write the messages of the Open Inference Protocol over gRPC."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat

import numpy as np
from google.protobuf.message import DecodeError

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.open_inference_pb2 import InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse
from gateway.tensors.messages import Signatures
from gateway.tensors.open_inference import (
    MAX_TENSORS,
    Head,
    InferBody,
    checked_name,
    checked_output,
    checked_shape,
    infer_body,
    request_parameters,
)
from gateway.tensors.open_inference_data import (
    DATATYPE_OF_ARRAY,
    TensorEntry,
    array_from_bytes,
    array_to_bytes,
    wire_dtype,
)
from gateway.tensors.wire import Array, number_dtype

CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The list of each datatype in `InferTensorContents`."""


def read_request(message: bytes, signatures: Signatures, *, max_images: int) -> InferBody:
    """Read a serialised ModelInferRequest. `max_images` and errors are those of `open_inference.read_request`."""
    try:
        request = ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise BadRequest("The message is not a ModelInferRequest.") from error
    if not 1 <= len(request.inputs) <= MAX_TENSORS or len(request.outputs) > MAX_TENSORS:
        raise BadRequest(f"The request must have 1 to {MAX_TENSORS} inputs, and at most {MAX_TENSORS} outputs.")
    parameters = _values(request.parameters)
    outputs = [
        (checked_name(one.name, f"outputs.{index}.name"), checked_output(_values(one.parameters)))
        for index, one in enumerate(request.outputs)
    ]
    head = Head(checked_name(request.id, "id"), request_parameters(parameters), outputs)
    return infer_body(head, parameters.get("signature_name"), _tensors(request), signatures, max_images)


def write_response(head: Head, model: str, version: int, outputs: Mapping[str, Array]) -> bytes:
    """A serialised ModelInferResponse, with its tensors in `raw_output_contents`.

    Raises:
        InvalidTensor: A requested output does not exist.
    """
    response = ModelInferResponse(model_name=model, model_version=str(version), id=head.id or "")
    for name, _ in head.outputs or zip(outputs, repeat(None)):
        if name not in outputs:
            raise InvalidTensor(f"There is no output {name!r}. The outputs are {', '.join(map(repr, outputs))}.")
        array = outputs[name]
        datatype = "BYTES" if array.dtype == object else DATATYPE_OF_ARRAY[str(array.dtype)]
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(array_to_bytes(array))
    return response.SerializeToString()


def _tensors(request: ModelInferRequest) -> Iterator[tuple[TensorEntry, Array]]:
    raw: Sequence[bytes | None] = request.raw_input_contents or [None] * len(request.inputs)
    if len(raw) != len(request.inputs):
        raise BadRequest(f"raw_input_contents has {len(raw)} elements for {len(request.inputs)} inputs.")
    for index, (tensor, content) in enumerate(zip(request.inputs, raw, strict=True)):
        name = checked_name(tensor.name, f"inputs.{index}.name")
        datatype = checked_name(tensor.datatype, f"inputs.{index}.datatype")
        shape = checked_shape(tensor.shape, name, f"inputs.{index}.shape")
        entry = TensorEntry(name, shape, datatype, {}, None)
        if content is None:
            yield entry, _array_from_contents(entry, tensor.contents)
        else:
            yield entry, array_from_bytes(entry, memoryview(content))


def _array_from_contents(tensor: TensorEntry, contents: InferTensorContents) -> Array:
    dtype = number_dtype(wire_dtype(tensor))
    if tensor.datatype not in CONTENTS:
        raise InvalidTensor(f"The input {tensor.name!r} is of datatype {tensor.datatype}: use raw_input_contents.")
    values = getattr(contents, CONTENTS[tensor.datatype])
    if len(values) != math.prod(tensor.shape):
        raise InvalidTensor(
            f"The input {tensor.name!r} has {len(values)} values in {CONTENTS[tensor.datatype]} for shape "
            f"{list(tensor.shape)}."
        )
    if dtype is None:
        strings = np.empty(len(values), np.object_)
        strings[:] = values
        return strings.reshape(tensor.shape)
    try:
        return np.fromiter(values, dtype, len(values)).reshape(tensor.shape)
    except OverflowError as error:
        raise InvalidTensor(f"The input {tensor.name!r} has a number out of the range of {tensor.datatype}.") from error


def _values(parameters: Mapping[str, InferParameter]) -> dict[str, object]:
    return {
        name: getattr(parameter, choice) if (choice := parameter.WhichOneof("parameter_choice")) else None
        for name, parameter in parameters.items()
    }
