"""Convert TensorProto messages to NumPy arrays and back, without the copies and loops of ``tf.make_ndarray``."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from gateway.pb import serving_pb2 as pb

try:
    from ml_dtypes import bfloat16
except ModuleNotFoundError:  # it is installed with TensorFlow, the only engine that uses it
    bfloat16 = None

Array = npt.NDArray[np.generic]

# Maximum size of a tensor whose message does not contain all values: gRPC's own limit for a message.
_MAX_BYTES = 2**31 - 1

# For each dtype, the field of tensor.proto that contains the values, and the dtype of the numbers in it.
_LISTS: Mapping[int, tuple[str, type[np.generic] | None]] = {
    pb.DT_FLOAT: ("float_val", np.float32),
    pb.DT_DOUBLE: ("double_val", np.float64),
    pb.DT_INT32: ("int_val", np.int32),
    pb.DT_UINT8: ("int_val", np.int32),
    pb.DT_INT16: ("int_val", np.int32),
    pb.DT_INT8: ("int_val", np.int32),
    pb.DT_UINT16: ("int_val", np.int32),
    pb.DT_STRING: ("string_val", None),
    pb.DT_INT64: ("int64_val", np.int64),
    pb.DT_BOOL: ("bool_val", np.bool_),
    pb.DT_HALF: ("half_val", np.int32),
    pb.DT_BFLOAT16: ("half_val", np.int32),
    pb.DT_UINT32: ("uint32_val", np.uint32),
    pb.DT_UINT64: ("uint64_val", np.uint64),
}
_AS_BITS = frozenset({pb.DT_HALF, pb.DT_BFLOAT16})
_NUMPY: Mapping[int, np.dtype[np.generic]] = {
    number: np.dtype(np.float16 if number == pb.DT_HALF else np.object_ if listed_as is None else listed_as)
    for number, (_, listed_as) in _LISTS.items()
    if number != pb.DT_BFLOAT16
} | {
    pb.DT_UINT8: np.dtype(np.uint8),
    pb.DT_INT16: np.dtype(np.int16),
    pb.DT_INT8: np.dtype(np.int8),
    pb.DT_UINT16: np.dtype(np.uint16),
    **({} if bfloat16 is None else {pb.DT_BFLOAT16: np.dtype(bfloat16)}),
}
_NAMES: Mapping[int, str] = {
    **{number: dtype.name for number, dtype in _NUMPY.items()},
    pb.DT_STRING: "string",
    pb.DT_BFLOAT16: "bfloat16",
    # Other dtypes of types.proto, which a client may send by mistake.
    8: "complex64",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    15: "qint16",
    16: "quint16",
    18: "complex128",
    20: "resource",
    21: "variant",
}


def dtype_name(number: int) -> str:
    """The name in TensorFlow's messages, such as ``uint8``; ``dtype 99`` for an unknown number."""
    return _NAMES.get(number, f"dtype {number}")


def shape_of(proto: pb.Tensor) -> tuple[int, ...]:
    """The shape in a message.

    Raises:
        ValueError: The shape is not fully known.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("the shape is not fully known")
    return shape


def to_array(proto: pb.Tensor) -> Array:
    """Reads a message into an array, which may be read-only and may share the message's memory.

    The values come from ``tensor_content`` or from the typed list of the dtype, where the last value repeats to fill
    the shape and none at all means zeros (tensor.proto; ``Tensor::FromProto`` in TensorFlow).

    Raises:
        ValueError: The message does not describe a tensor of a dtype that can be served.
    """
    if not is_listed(proto.dtype):
        raise ValueError(f"{dtype_name(proto.dtype)} is not supported")
    shape, dtype = shape_of(proto), _NUMPY[proto.dtype]
    count = math.prod(shape)
    if count * dtype.itemsize > _MAX_BYTES:
        raise ValueError(f"a tensor of shape {list(shape)} is too large")
    if content := proto.tensor_content:
        if proto.dtype == pb.DT_STRING:
            return _strings_from_content(content, count).reshape(shape)
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"{len(content)} bytes do not make a tensor of shape {list(shape)}")
        return np.frombuffer(content, dtype).reshape(shape)
    values = _listed(proto, dtype)[:count]
    if values.size == 0:
        values = np.array([b""], dtype) if dtype == np.object_ else np.zeros(1, dtype)
    if values.size == count:
        return values.reshape(shape)
    filled = np.empty(count, dtype)
    filled[: values.size] = values
    filled[values.size :] = values[-1]
    return filled.reshape(shape)


def _listed(proto: pb.Tensor, dtype: np.dtype[np.generic]) -> Array:
    name, listed_as = _LISTS[proto.dtype]
    values = getattr(proto, name)
    if listed_as is None:
        array = np.empty(len(values), np.object_)
        array[:] = values
        return array
    numbers = np.fromiter(values, listed_as, len(values))
    if proto.dtype in _AS_BITS:
        return numbers.astype(np.uint16).view(dtype)
    return numbers.astype(dtype, copy=False)


def _strings_from_content(content: bytes, count: int) -> Array:
    # The format of EncodeStringList in TensorFlow: all lengths as varints of protobuf, then all bytes.
    lengths: list[int] = []
    at = 0
    while len(lengths) < count:
        length = shift = 0
        while True:
            if at == len(content) or shift > 28:
                raise ValueError("the strings cannot be read")
            length |= (content[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if content[at - 1] < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("the strings cannot be read")
    array = np.empty(count, np.object_)
    for index, length in enumerate(lengths):
        array[index] = content[at : at + length]
        at += length
    return array


def to_proto(array: Array, dtype: pb.DataType, target: pb.Tensor, *, as_content: bool) -> None:
    """Write an array to ``target`` as a typed list, or as raw bytes if ``as_content``. Strings are always a list."""
    target.dtype = dtype
    dims = target.tensor_shape.dim
    for size in array.shape:
        dims.add().size = size
    if as_content and dtype != pb.DT_STRING:
        target.tensor_content = array.tobytes()
        return
    name, listed_as = _LISTS[dtype]
    flat = array.reshape(-1)
    if dtype in _AS_BITS:
        flat = flat.view(np.uint16)
    values: Iterable[object] = flat.tolist()
    if listed_as is None:
        values = [value if isinstance(value, bytes) else str(value).encode() for value in flat]
    getattr(target, name).extend(values)


def is_listed(dtype: int) -> bool:
    """Whether tensors of this dtype can be read and written here."""
    return dtype in _NUMPY
