"""Check tensors against a signature before they are sent: a wrong rank can crash a model server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from gateway.errors import InvalidTensor
from gateway.pb.serving_pb2 import DataType, SignatureDef, TensorInfo
from gateway.tensors.wire import Array, dtype_name, number_dtype


def check_inputs(signature: SignatureDef, arrays: Mapping[str, Array], max_rows: int) -> int:
    """Check the inputs of a request against the signature: names, dtype, rank and all fixed dimensions.

    Returns:
        Number of rows: the first size of the inputs whose first dimension is open, at most `max_rows`; 1 if there is
        none.

    Raises:
        InvalidTensor: The inputs do not match, or the signature is too unspecific to check them.
    """
    check_names(signature, arrays)
    rows: dict[str, int] = {}
    for name, array in arrays.items():
        info = signature.inputs[name]
        _check_dtype(name, info, array)
        _check_shape(name, info, array.shape)
        if info.tensor_shape.unknown_rank or (info.tensor_shape.dim and info.tensor_shape.dim[0].size < 0):
            rows[name] = array.shape[0]
    if len(set(rows.values())) > 1:
        raise InvalidTensor(f"The inputs have different numbers of rows: {_listed(rows)}.")
    count = next(iter(rows.values()), 1)
    if count > max_rows:
        raise InvalidTensor(f"{count} rows exceed the limit of {max_rows} rows per request.", limit=max_rows)
    return count


def check_names(signature: SignatureDef, names: Iterable[str]) -> None:
    """Refuse inputs that are missing or that the signature does not know. Raises InvalidTensor."""
    expected, actual = set(signature.inputs), set(names)
    if actual != expected:
        raise InvalidTensor(f"The inputs must be {_names(expected)}, not {_names(actual)}.")


def _check_dtype(name: str, info: TensorInfo, array: Array) -> None:
    expected = np.dtype(np.object_) if info.dtype == DataType.DT_STRING else number_dtype(info.dtype)
    if expected is None:
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(info.dtype)}, which the gateway cannot send.")
    if expected != array.dtype:
        actual = "string" if array.dtype == np.object_ else str(array.dtype)
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(info.dtype)}, not {actual}.")


def _check_shape(name: str, info: TensorInfo, shape: tuple[int, ...]) -> None:
    if info.tensor_shape.unknown_rank:
        # Numbers of an unchecked rank might reach a convolution; strings cannot.
        if info.dtype != DataType.DT_STRING:
            raise InvalidTensor(
                f"The signature leaves the rank of the input {name!r} open, and a wrong rank can crash a model server. "
                "Export the model with an input signature."
            )
        sizes: list[int] = [-1]
    else:
        sizes = [dim.size for dim in info.tensor_shape.dim]
    if len(shape) != len(sizes) or any(0 <= size != actual for size, actual in zip(sizes, shape, strict=False)):
        raise InvalidTensor(f"The input {name!r} must be of shape {_shape(sizes)}, not {_shape(shape)}.")
    if 0 in shape:
        raise InvalidTensor(f"The input {name!r} is empty: its shape is {_shape(shape)}.")


def _shape(sizes: list[int] | tuple[int, ...]) -> str:
    return "(" + ", ".join("n" if size < 0 else str(size) for size in sizes) + ")"


def _names(names: set[str]) -> str:
    return ", ".join(repr(name[:80]) for name in sorted(names)[:8]) or "none"


def _listed(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} {count}" for name, count in sorted(rows.items()))
