"""Read the numbers of a model's answer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from gateway.errors import ModelServerFailed
from gateway.pb.serving_pb2 import Tensor
from gateway.serving.contract import Contract
from gateway.tensors.wire import TensorError, number_array


def float_output(
    contract: Contract, outputs: Mapping[str, Tensor], key: str, content: str, *, max_elements: int
) -> npt.NDArray[np.float32]:
    """An output as float32, in the shape that the model gave it.

    Args:
        contract: The version that answered.
        outputs: Its outputs.
        key: Name of the output.
        content: What the output holds, in the plural, for the message of an error.
        max_elements: Maximum number of elements.

    Raises:
        ModelServerFailed: The output is missing, does not hold numbers or has too many.
    """
    tensor = outputs.get(key)
    if tensor is None:
        raise ModelServerFailed(f"{name_of(contract)} returned no {content}.")
    try:
        return np.asarray(number_array(tensor, max_elements=max_elements), np.float32)
    except TensorError as error:
        raise ModelServerFailed(f"{name_of(contract)} returned {content} that cannot be parsed.") from error


def name_of(contract: Contract) -> str:
    """The version that answered, as the first words of an error."""
    return f"The model {contract.model!r} version {contract.version}"
