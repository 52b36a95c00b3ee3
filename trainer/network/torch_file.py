"""Read the tensors of a PyTorch weight file without PyTorch and without running code in the file.

A `.pth` file is a pickle, which can call any function by its name. This reader accepts only the names that a dictionary
of tensors needs, and replaces them by plain data.
"""

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First pickle of a file of `torch.save` before PyTorch 1.6 (MAGIC_NUMBER in torch/serialization.py)."""

PROTOCOL: Final = 1001
"""Second pickle (PROTOCOL_VERSION in the same module)."""

Array = NDArray[np.float32 | np.int64]


class _Storage(NamedTuple):
    """A block of `size` numbers at the end of the file, which contains tensors."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """Arguments of `torch._utils._rebuild_tensor_v2`, without the two that only matter for training."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_training: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_KNOWN: Final[Mapping[tuple[str, str], Callable[..., object] | str]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): "<f4",
    ("torch", "LongStorage"): "<i8",
}
"""Names that a file may use, and their replacements: two callables that only store data, and two dtypes."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no tensor needs") from None

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", "<f4" | "<i8" as dtype, str(key), str(), int(size), None):
                return _Storage(key, dtype, size)
        raise pickle.UnpicklingError("it refers to something that is not a storage")


def read_tensors(path: Path) -> dict[str, Array]:
    """Reads the tensors of a state dictionary in the file format of PyTorch before 1.6.

    Returns:
        The tensors by name, float32 or int64, in C order.

    Raises:
        TrainerError: The file cannot be read, has another format, is truncated, or contains anything but tensors.
    """
    try:
        return _read(path.read_bytes())
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # other bytes than a pickle can raise nearly anything
        raise TrainerError(f"{path} is not a PyTorch file of weights: {error}") from error


def _read(data: bytes) -> dict[str, Array]:
    stream = io.BytesIO(data)
    if (_load(stream), _load(stream)) != (MAGIC, PROTOCOL):
        raise ValueError("it does not begin like one")
    _load(stream)  # byte order and type sizes of the machine that wrote it; the data is little-endian on all of them
    content = _load(stream)
    if not isinstance(content, dict) or not all(isinstance(one, _Tensor) for one in content.values()):
        raise ValueError("it does not contain a dictionary of tensors")
    tensors: dict[str, _Tensor] = content
    dtypes = {one.storage.key: one.storage.dtype for one in tensors.values()}
    blocks: dict[str, Array] = {}
    keys = _load(stream)
    if not isinstance(keys, list):
        raise ValueError("it does not list its storages")
    for key in keys:
        count, at = int(np.frombuffer(data, "<i8", 1, stream.tell())[0]), stream.tell() + 8
        blocks[key] = np.frombuffer(data, dtypes[key], count, at)  # raises ValueError if the file ends before
        stream.seek(at + blocks[key].nbytes)
    return {name: _cut(tensor, blocks[tensor.storage.key]) for name, tensor in tensors.items()}


def _load(stream: io.BytesIO) -> object:
    return _Unpickler(stream).load()


def _cut(tensor: _Tensor, block: Array) -> Array:
    """Returns a copy of a tensor, which is given by an offset and strides in elements."""
    pairs = list(zip(tensor.shape, tensor.strides, strict=True))
    if any(size < 1 or stride < 0 for size, stride in pairs) or math.prod(tensor.shape) > len(block):
        raise ValueError("it contains a tensor of an impossible shape")
    last = tensor.offset + sum((size - 1) * stride for size, stride in pairs)
    if not 0 <= tensor.offset <= last < len(block):
        raise ValueError("it contains a tensor that exceeds its storage")
    strides = [stride * block.itemsize for stride in tensor.strides]
    cut: Array = np.lib.stride_tricks.as_strided(block[tensor.offset :], tensor.shape, strides, writeable=False)
    return cut.copy("C")
