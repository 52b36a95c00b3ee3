"""Convert tensors of the Open Inference Protocol (V2), in JSON or in Triton's binary form, to arrays.

Binary numbers are little-endian arrays. Binary ``BYTES`` are elements that each follow their length in four bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gateway.errors import InvalidTensor
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.json_values import decoded_base64, json_array
from gateway.tensors.messages import Inputs
from gateway.tensors.wire import Array, number_dtype

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
"""The protocol's name of each wire dtype."""

DATATYPE_OF_ARRAY = {
    str(dtype): name for number, name in DATATYPES.items() if (dtype := number_dtype(number)) is not None
}
"""The protocol's name of each NumPy dtype."""

_WIRE_DTYPES = {name: number for number, name in DATATYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """An input tensor, as in the JSON; `data` is None if its data is binary."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: Mapping[str, object]
    data: object


def images_of(tensor: TensorEntry, array: Array, max_images: int) -> Inputs:
    """The encoded images in a ``BYTES`` tensor of shape (n) or (n, 1).

    JSON cannot hold their bytes as they are: there, they are base64.

    Raises:
        InvalidTensor: They are not base64, the tensor has another shape, or more than `max_images` images.
    """
    name = tensor.name
    is_binary = tensor.data is None or "binary_data_size" in tensor.parameters
    if not is_binary and tensor.parameters.get("content_type") != "base64":  # else they are decoded already
        array = _from_base64(array, name)
    if array.ndim not in (1, 2) or array.size == 0 or array.size != len(array):
        raise InvalidTensor(f"The input {name!r} must be of shape [n] or [n, 1], with one image in each element.")
    if array.size > max_images:
        raise InvalidTensor(f"{array.size} images exceed the limit of {max_images} images per request.")
    return Inputs([array.size], [name], images=array.ravel().tolist(), shape=array.shape)


def wire_dtype(tensor: TensorEntry) -> int:
    """The wire dtype of a tensor's datatype; raises InvalidTensor if that is not accepted."""
    number = _WIRE_DTYPES.get(tensor.datatype)
    if number is None or (number != DataType.DT_STRING and number_dtype(number) is None):
        datatypes = ", ".join(name for name in _WIRE_DTYPES if name != "BF16")
        raise InvalidTensor(f"The input {tensor.name!r} is of datatype {tensor.datatype!r}; accepted are {datatypes}.")
    return number


def array_from_json(tensor: TensorEntry) -> Array:
    """The array of a tensor whose data is JSON.

    Raises:
        InvalidTensor: The datatype is not accepted, or the data does not match datatype and shape.
    """
    number = wire_dtype(tensor)
    if tensor.data is None:
        raise InvalidTensor(f"The input {tensor.name!r} has neither data nor binary_data_size.")
    array = json_array(tensor.data, number, tensor.name)
    if tensor.parameters.get("content_type") == "base64" and array.dtype == object:
        array = _from_base64(array, tensor.name)
    if array.shape != tensor.shape and not (array.ndim == 1 and array.size == math.prod(tensor.shape)):
        raise InvalidTensor(
            f"The input {tensor.name!r} declares the shape {list(tensor.shape)}, but its data has the shape "
            f"{list(array.shape)}."
        )
    return array.reshape(tensor.shape)


def _from_base64(array: Array, name: str) -> Array:
    decoded = np.empty(array.size, np.object_)
    try:
        decoded[:] = [decoded_base64(one.decode()) for one in array.ravel().tolist()]
    except ValueError as error:
        raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    return decoded.reshape(array.shape)


def array_from_bytes(tensor: TensorEntry, content: memoryview) -> Array:
    """The array of a tensor whose data is binary.

    Raises:
        InvalidTensor: The datatype is not accepted, or the length does not match datatype and shape.
    """
    count = math.prod(tensor.shape)
    dtype = number_dtype(wire_dtype(tensor))
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


def array_to_bytes(array: Array) -> bytes:
    """The binary data of an array."""
    if array.dtype != object:
        return np.ascontiguousarray(array).tobytes()
    return b"".join(struct.pack("<I", len(one)) + one for one in array.ravel().tolist())
