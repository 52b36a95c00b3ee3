"""Inputs of a model beside the image, which have the same value in every call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.errors import InvalidTensor
from gateway.pb.serving_pb2 import DataType, TensorInfo
from gateway.serving.signature_shapes import sizes_of
from gateway.tensors.json_values import json_array
from gateway.tensors.wire import Wire, joined, strings

MAX_ROW_BYTES: Final = 64 * 1024
"""Maximum size of the values for one image: room for flags and rows of numbers. They are sent again with each image."""


@dataclass(frozen=True, slots=True)
class FixedInput:
    """One input.

    Attributes:
        name: Its name.
        dtype: Its wire dtype.
        sizes: Its shape; if the first size is -1, the input has a row for each image.
        content: The values of one row, or of the whole input if it has no rows: little-endian numbers in row-major
            order, or the serialised field of strings.
    """

    name: str
    dtype: int
    sizes: tuple[int, ...]
    content: bytes

    def tensor(self, images: int) -> Wire:
        """The serialised input of a call with this number of images. It refers to `content` and copies nothing."""
        by_row = self.sizes[:1] == (-1,)
        shape = (images, *self.sizes[1:]) if by_row else self.sizes
        rows = [self.content] * (images if by_row else 1)
        if self.dtype == DataType.DT_STRING:
            return [*strings([], shape), *rows]
        return joined(shape, self.dtype, rows)


def fixed_inputs(infos: Mapping[str, TensorInfo], values: Mapping[str, object]) -> tuple[FixedInput, ...]:
    """The inputs that have a value, in the order of their names.

    Args:
        infos: All inputs of the signature.
        values: JSON values by the name of the input. NumPy's rules of broadcasting extend each to its shape.

    Raises:
        InvalidTensor: The dtype or the shape of an input does not allow its value, or the values for one image are
            larger than `MAX_ROW_BYTES`.
    """
    fixed: list[FixedInput] = []
    for name in sorted(values):
        room = MAX_ROW_BYTES - sum(len(one.content) for one in fixed)
        fixed.append(_fixed_input(name, infos[name], values[name], room))
    return tuple(fixed)


def _fixed_input(name: str, info: TensorInfo, value: object, room: int) -> FixedInput:
    sizes = sizes_of(info)
    if sizes is None:
        sizes = (-1,) if info.dtype == DataType.DT_STRING else ()
    if -1 in sizes[1:]:
        raise InvalidTensor(f"The input {name!r} has a dimension of unknown size other than the first.")
    shape = (1, *sizes[1:]) if sizes[:1] == (-1,) else sizes
    if math.prod(shape) > room:  # each value takes a byte or more; checked before memory is allocated
        raise _too_large(name)
    try:
        array = np.broadcast_to(json_array(value, info.dtype, name), shape)
    except ValueError as error:
        listed = ", ".join("n" if size < 0 else str(size) for size in sizes)
        raise InvalidTensor(f"The value of the input {name!r} does not fit its shape ({listed}).") from error
    pieces = strings(array.ravel().tolist(), ())[1:] if info.dtype == DataType.DT_STRING else [array.tobytes()]
    if sum(map(len, pieces)) > room:
        raise _too_large(name)
    return FixedInput(name, info.dtype, sizes, b"".join(pieces))


def _too_large(name: str) -> InvalidTensor:
    return InvalidTensor(
        f"With the input {name!r}, the values take more than {MAX_ROW_BYTES // 1024} KiB for each image. Put larger "
        "constants, such as a second image, into the model."
    )
