"""Wire tensors as messages, for fake servers and requests. The gateway itself only writes them as bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gateway.pb.serving_pb2 import Tensor
from gateway.tensors.wire import strings, wire_of


def number_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """Tensor of a numeric array, as ``tensor_content``."""
    return Tensor.FromString(b"".join(wire_of(array)))


def string_tensor(values: Sequence[bytes], shape: tuple[int, ...] | None = None) -> Tensor:
    """Tensor of byte strings in row-major order; by default of shape (n)."""
    return Tensor.FromString(b"".join(strings(values, (len(values),) if shape is None else shape)))
