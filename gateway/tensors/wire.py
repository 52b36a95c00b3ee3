"""Convert NumPy arrays to wire tensors and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gateway.pb.serving_pb2 import DataType, Tensor

_NUMBERS: dict[int, tuple[np.dtype[np.generic], str]] = {
    DataType.DT_FLOAT: (np.dtype("<f4"), "float_val"),
    DataType.DT_DOUBLE: (np.dtype("<f8"), "double_val"),
    DataType.DT_INT8: (np.dtype("i1"), "int_val"),
    DataType.DT_INT16: (np.dtype("<i2"), "int_val"),
    DataType.DT_INT32: (np.dtype("<i4"), "int_val"),
    DataType.DT_UINT8: (np.dtype("u1"), "int_val"),
    DataType.DT_UINT16: (np.dtype("<u2"), "int_val"),
    DataType.DT_INT64: (np.dtype("<i8"), "int64_val"),
    DataType.DT_UINT32: (np.dtype("<u4"), "uint32_val"),
    DataType.DT_UINT64: (np.dtype("<u8"), "uint64_val"),
    DataType.DT_BOOL: (np.dtype("?"), "bool_val"),
    DataType.DT_HALF: (np.dtype("<f2"), "half_val"),
}
_STRING = DataType.DT_STRING
_HALF, _BFLOAT16 = DataType.DT_HALF, DataType.DT_BFLOAT16
_NUMBER_TYPES = {dtype: number for number, (dtype, _) in _NUMBERS.items()}


Array = npt.NDArray[np.generic] | npt.NDArray[np.object_]
"""Values of a tensor: a numeric array, or an object array of bytes."""

Wire = Sequence[bytes | memoryview]
"""A serialised message in pieces, which are joined once, when they are sent.

The C library may allocate memory for each copy of 150 KB, the size of a photo, from the system. With eight concurrent
calls, three fewer copies reduced the CPU time of a call by a fifth to a third."""


class TensorError(ValueError):
    """A wire tensor is inconsistent, or its dtype is not supported."""


def dtype_name(number: int) -> str:
    """TensorFlow's name of a wire dtype, such as ``uint8``, ``float`` or ``string``; the number of an unknown one."""
    if number in DataType.values():
        return DataType.Name(DataType.ValueType(number)).removeprefix("DT_").lower()
    return f"dtype {number}"


def number_dtype(number: int) -> np.dtype[np.generic] | None:
    """The NumPy dtype of a wire dtype; None for strings and unsupported dtypes."""
    return _NUMBERS[number][0] if number in _NUMBERS else None


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Shape of a wire tensor."""
    return tuple(dim.size for dim in tensor.tensor_shape.dim)


def joined(shape: tuple[int, ...], dtype: int, rows: Sequence[bytes]) -> Wire:
    """Serialised tensor of rows of numbers, each little-endian and in row-major order."""
    return [_head(dtype, shape), *length_delimited(Tensor.TENSOR_CONTENT_FIELD_NUMBER, rows)]


def wire_of(array: Array) -> Wire:
    """Serialised tensor of numbers or byte strings.

    Raises:
        TensorError: The dtype of the array is not supported.
    """
    if array.dtype == np.object_:
        return strings(array.ravel().tolist(), array.shape)
    dtype = array.dtype.newbyteorder("<")
    number = _NUMBER_TYPES.get(dtype)
    if number is None:
        raise TensorError(f"arrays of {dtype} cannot be sent")
    values = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data
    return [_head(number, array.shape), *length_delimited(Tensor.TENSOR_CONTENT_FIELD_NUMBER, [values])]


def strings(values: Sequence[bytes], shape: tuple[int, ...]) -> Wire:
    """Serialised tensor of byte strings in row-major order."""
    pieces = [piece for one in values for piece in length_delimited(Tensor.STRING_VAL_FIELD_NUMBER, [one])]
    return [_head(DataType.DT_STRING, shape), *pieces]


def length_delimited(number: int, content: Wire) -> Wire:
    """A protobuf field with bytes or a message: key, length, content."""
    return [_varint(number << 3 | 2) + _varint(sum(map(len, content))), *content]


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


@lru_cache(256)
def _head(number: int, shape: tuple[int, ...]) -> bytes:
    """The serialised dtype and shape of a tensor, cached because they are the same for all photos of a model."""
    head = Tensor(dtype=DataType.Name(number))
    for size in shape:
        head.tensor_shape.dim.add(size=size)
    return head.SerializeToString()


def array_of(tensor: Tensor, *, max_elements: int) -> Array:
    """Array of any wire tensor. Raises as `number_array` does."""
    if tensor.dtype != _STRING:
        return number_array(tensor, max_elements=max_elements)
    values = string_values(tensor, max_elements=max_elements)
    strings = np.empty(len(values), np.object_)
    strings[:] = values
    return strings.reshape(shape_of(tensor))


def number_array(tensor: Tensor, *, max_elements: int) -> npt.NDArray[np.generic]:
    """Array of a numeric wire tensor, from its content or its typed list.

    Args:
        tensor: The tensor. A short typed list repeats its last value, an empty one stands for zeros. bfloat16, which
            NumPy lacks, becomes float32.
        max_elements: Maximum number of elements, checked before memory is allocated.

    Raises:
        TensorError: The dtype is not numeric, the shape is over the limit, or the values do not match the shape.
    """
    if tensor.dtype == _BFLOAT16:  # bfloat16 is the upper half of a float32
        return (_values(tensor, np.dtype("<u2"), "half_val", max_elements).astype("<u4") << 16).view("<f4")
    if tensor.dtype not in _NUMBERS:
        raise TensorError(f"not numbers: {dtype_name(tensor.dtype)}")
    dtype, field = _NUMBERS[tensor.dtype]
    return _values(tensor, dtype, field, max_elements)


def _values(tensor: Tensor, dtype: np.dtype[np.generic], field: str, max_elements: int) -> npt.NDArray[np.generic]:
    shape = shape_of(tensor)
    count = _count(shape, max_elements)
    if tensor.tensor_content:
        if len(tensor.tensor_content) != count * dtype.itemsize:
            raise TensorError(f"{len(tensor.tensor_content)} bytes for shape {shape} of {dtype}")
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    listed = getattr(tensor, field)
    if len(listed) > count:
        raise TensorError(f"{len(listed)} values for shape {shape}")
    half = tensor.dtype == _HALF
    array = np.array(listed, "<u2").view(dtype) if half else np.array(listed, dtype)
    if len(array) == count:
        return array.reshape(shape)
    values = np.full(count, array[-1] if len(array) else 0, dtype)
    values[: len(array)] = array
    return values.reshape(shape)


def string_values(tensor: Tensor, *, max_elements: int) -> list[bytes]:
    """Values of a string wire tensor in row-major order. A short list is extended as in `number_array`.

    Raises:
        TensorError: The dtype is not string, the shape is over the limit, or the values do not match the shape.
    """
    if tensor.dtype != _STRING:
        raise TensorError(f"not strings: {dtype_name(tensor.dtype)}")
    count = _count(shape_of(tensor), max_elements)
    values = list(tensor.string_val)
    if len(values) > count:
        raise TensorError(f"{len(values)} values for shape {shape_of(tensor)}")
    return values + [values[-1] if values else b""] * (count - len(values))


def _count(shape: tuple[int, ...], max_elements: int) -> int:
    if any(size < 0 for size in shape):
        raise TensorError(f"the shape {shape} has a negative dimension")
    count = math.prod(shape)
    if count > max_elements:
        raise TensorError(f"the shape {shape} has more than {max_elements} values")
    return count
