"""Inputs beside the image are as the option says, small, and not built again for each call."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.errors import InvalidTensor
from gateway.pb.serving_pb2 import DataType, Tensor, TensorInfo
from gateway.serving.fixed_inputs import MAX_ROW_BYTES, fixed_inputs
from gateway.tensors.wire import array_of
from testing.colour_server import signature

FLOAT, UINT8, BOOL, STRING = DataType.DT_FLOAT, DataType.DT_UINT8, DataType.DT_BOOL, DataType.DT_STRING


def info(dtype: int, shape: tuple[int, ...]) -> TensorInfo:
    return signature({"x": (dtype, shape)}, {}).inputs["x"]


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "sent"),
    [
        (BOOL, (), False, False),
        (FLOAT, (2,), [0.5, 1], [0.5, 1]),
        (FLOAT, (-1,), 1, [1, 1, 1]),
        (FLOAT, (-1, 2), [1, 2], [[1, 2]] * 3),
        (UINT8, (-1, 2, 1), [[7], [8]], [[[7], [8]]] * 3),
        (STRING, (-1,), "a", [b"a"] * 3),
        (STRING, (-1, 2), ["a", "bc"], [[b"a", b"bc"]] * 3),
        (STRING, (2,), "a", [b"a", b"a"]),
    ],
)
def test_a_value_has_a_row_for_each_image_if_its_input_has(
    dtype: int, shape: tuple[int, ...], value: object, sent: object
) -> None:
    [fixed] = fixed_inputs({"x": info(dtype, shape)}, {"x": value})
    tensor = Tensor.FromString(b"".join(fixed.tensor(3)))
    assert tensor.dtype == dtype
    assert array_of(tensor, max_elements=100).tolist() == sent


def test_the_values_are_not_copied_for_each_call() -> None:
    [fixed] = fixed_inputs({"x": info(FLOAT, (-1, 1000))}, {"x": 1})
    for images in (1, 32):
        assert sum(piece is fixed.content for piece in fixed.tensor(images)) == images


@pytest.mark.parametrize(
    ("dtype", "value", "most"), [(UINT8, 1, MAX_ROW_BYTES), (FLOAT, 1, MAX_ROW_BYTES // 4), (STRING, "ab", 2**14)]
)
def test_the_values_of_all_inputs_are_small(dtype: int, value: object, most: int) -> None:
    infos = {"x": info(dtype, (-1, most)), "y": info(UINT8, (-1, 1))}
    [fixed] = fixed_inputs(infos, {"x": value})
    assert len(fixed.content) == MAX_ROW_BYTES
    with pytest.raises(InvalidTensor, match="With the input 'y', the values take more than 64 KiB for each image"):
        fixed_inputs(infos, {"x": value, "y": 0})
    with pytest.raises(InvalidTensor, match="With the input 'x'"):
        fixed_inputs({"x": info(dtype, (-1, most + 1))}, {"x": value})


def test_a_shape_of_any_size_is_refused_before_memory_is_allocated() -> None:
    for dtype, value in ((FLOAT, 1), (STRING, "a" * 1000)):
        for size in (10**5, 2**62):
            with pytest.raises(InvalidTensor, match="64 KiB"):
                fixed_inputs({"x": info(dtype, (-1, size, size))}, {"x": value})
    with pytest.raises(InvalidTensor, match="64 KiB"):
        fixed_inputs({"x": info(STRING, (MAX_ROW_BYTES,))}, {"x": "a" * 10**6})


def test_numbers_are_sent_in_the_dtype_of_the_signature() -> None:
    [fixed] = fixed_inputs({"x": info(DataType.DT_HALF, (-1, 2))}, {"x": [0.5, 2]})
    assert fixed.content == np.array([0.5, 2], "<f2").tobytes()
