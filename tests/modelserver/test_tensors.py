"""TensorProto to NumPy and back, held against TensorFlow's own."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from modelserver.tensors import to_array, to_proto

ARRAYS = (
    [np.array([[0.5, -1], [2, 3]], dtype) for dtype in (np.float32, np.float64, np.float16, tf.bfloat16.as_numpy_dtype)]
    + [
        np.array([[1, 2, 100]], dtype)
        for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
    ]
    + [np.array([True, False]), np.array([b"a", b"\xff\x00"], object), np.zeros((0, 3), np.float32)]
)


def names(array: np.ndarray) -> str:
    return str(array.dtype)


@pytest.mark.parametrize("array", ARRAYS, ids=names)
@pytest.mark.parametrize("as_content", [False, True], ids=["listed", "content"])
def test_an_array_survives_the_way_there_and_back(array: np.ndarray, as_content: bool) -> None:
    dtype = tf.as_dtype(array.dtype).as_datatype_enum
    proto = tensor_pb2.TensorProto()
    to_proto(array, dtype, proto, as_content=as_content)
    for read in (to_array(proto), tf.make_ndarray(proto)):
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype


@pytest.mark.parametrize("array", ARRAYS, ids=names)
def test_what_tensorflow_writes_is_read(array: np.ndarray) -> None:
    np.testing.assert_array_equal(to_array(tf.make_tensor_proto(array)), array)


@pytest.mark.parametrize("dtype", [types_pb2.DT_COMPLEX64, types_pb2.DT_RESOURCE, types_pb2.DT_INVALID, 999])
def test_a_dtype_that_cannot_be_served_is_refused(dtype: int) -> None:
    with pytest.raises(ValueError, match="not supported"):
        to_array(tensor_pb2.TensorProto(dtype=dtype))


def test_a_shape_that_is_not_known_is_refused() -> None:
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    proto.tensor_shape.dim.add().size = -1
    with pytest.raises(ValueError, match="not fully known"):
        to_array(proto)
