"""Parse and write the messages of TensorFlow Serving's gRPC interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from gateway.errors import BadRequest, InvalidTensor, UploadTooLarge
from gateway.pb.serving_pb2 import DataType, PredictRequest, PredictResponse, SignatureDef, Tensor
from gateway.tensors.messages import Inputs, Signatures
from gateway.tensors.open_inference import checked_shape
from gateway.tensors.signature_check import check_names
from gateway.tensors.wire import Array, TensorError, array_of, dtype_name, number_dtype, shape_of, wire_of


@dataclass(frozen=True, slots=True)
class PredictMessage:
    """A predict request. Without `outputs`, all are returned."""

    signature: str
    outputs: Sequence[str]
    inputs: Inputs


def read_request(message: bytes, signatures: Signatures, max_bytes: int) -> PredictMessage:
    """Read a serialised PredictRequest.

    Raises:
        BadRequest: It cannot be parsed.
        SignatureMissing: It names a signature that the version does not have.
        InvalidTensor: A tensor contradicts itself, or the tensors do not match the signature.
        UploadTooLarge: The tensors are larger than `max_bytes`: a few bytes may stand for many equal values.
    """
    try:
        request = PredictRequest.FromString(message)
    except DecodeError as error:
        raise BadRequest("The message is not a PredictRequest.") from error
    key = request.model_spec.signature_name or signatures.default
    signature = signatures.find(key)
    check_names(signature, request.inputs)
    outputs = _outputs(signature, request.output_filter)
    for name, tensor in request.inputs.items():
        checked_shape(shape_of(tensor), name, f"inputs.{name[:80]}.tensor_shape")
    if sum(map(_size, request.inputs.values())) > max_bytes:
        raise UploadTooLarge(f"The tensors are larger than {max_bytes:,} bytes.", limit=max_bytes)
    arrays = {name: _array(name, tensor, max_bytes) for name, tensor in request.inputs.items()}
    return PredictMessage(key, outputs, signatures.inputs(key, arrays))


def write_response(outputs: Mapping[str, Array], model: str, version: int, signature: str) -> bytes:
    """A serialised PredictResponse; raises TensorError if the dtype of an output cannot be written."""
    response = PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = model, signature
    response.model_spec.version.value = version
    for name, array in outputs.items():
        response.outputs[name].ParseFromString(b"".join(wire_of(array)))
    return response.SerializeToString()


def _outputs(signature: SignatureDef, output_filter: Sequence[str]) -> Sequence[str]:
    """The requested outputs, with the errors of the real server."""
    for index, name in enumerate(output_filter):
        if name not in signature.outputs:
            raise InvalidTensor(f"output tensor alias not found in signature: {name[:200]}")
        if name in output_filter[:index]:
            raise InvalidTensor(f"duplicate output tensor alias: {name}")
    return list(output_filter)


def _size(tensor: Tensor) -> int:
    """Bytes of the values for which a tensor stands; a list that is too short repeats its last value."""
    count = math.prod(shape_of(tensor))
    if tensor.dtype == DataType.DT_STRING:
        strings = tensor.string_val
        return sum(map(len, strings)) + max(0, count - len(strings)) * (1 + (len(strings[-1]) if strings else 0))
    dtype = number_dtype(tensor.dtype)
    return count * (dtype.itemsize if dtype is not None else 1)


def _array(name: str, tensor: Tensor, max_bytes: int) -> Array:
    dtype = number_dtype(tensor.dtype)
    if dtype is not None and dtype.kind in "iu" and tensor.int_val:
        values = np.array(tensor.int_val, np.int64)
        if not np.array_equal(values.astype(dtype), values):
            raise InvalidTensor(f"The input {name!r} has a number out of the range of {dtype_name(tensor.dtype)}.")
    try:
        return array_of(tensor, max_elements=max_bytes)
    except TensorError as error:
        raise InvalidTensor(f"The input {name!r} is not a tensor: {error}.") from error
