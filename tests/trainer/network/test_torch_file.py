import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.network.torch_file import MAGIC, PROTOCOL, read_tensors


class Global:
    """Pickles as the name of something that does not exist here, called with arguments where there are any."""

    def __init__(self, name: str) -> None:
        self.name = name


class RequestRecord:
    def __init__(self, name: str, *args: object) -> None:
        self.name, self.args = name, args


class Pickler(pickle._Pickler):
    """Writes names without importing them: the C pickler would insist that they exist."""

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + obj.name.replace(" ", "\n").encode() + b"\n")  # type: ignore[attr-defined]
        elif isinstance(obj, RequestRecord):
            self.save(Global(obj.name))
            super().save(obj.args)  # type: ignore[misc]
            self.write(pickle.REDUCE)  # type: ignore[attr-defined]
        else:
            super().save(obj, save_persistent_id)  # type: ignore[misc]

    def persistent_id(self, obj: object) -> object:
        return obj.pid if isinstance(obj, Storage) else None


class Storage:
    def __init__(self, *pid: object) -> None:
        self.pid = pid


def dumped(obj: object) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, 2).dump(obj)
    return stream.getvalue()


def storage(key: str = "0", size: int = 6, kind: str = "torch FloatStorage") -> Storage:
    return Storage("storage", Global(kind), key, "cpu", size, None)


def tensor(
    shape: tuple[int, ...] = (2, 3), strides: tuple[int, ...] = (3, 1), offset: int = 0, **of: object
) -> RequestRecord:
    block = storage(**of)  # type: ignore[arg-type]
    return RequestRecord("torch._utils _rebuild_tensor_v2", block, offset, shape, strides, False, OrderedDict())


def weights_file(path: Path, content: object, *blocks: tuple[str, bytes]) -> Path:
    """Writes a file as PyTorch did before 1.6."""
    data = b"".join(map(dumped, (MAGIC, PROTOCOL, {"little_endian": True}, content, [key for key, _ in blocks])))
    path.write_bytes(data + b"".join(block for _, block in blocks))
    return path


def block(values: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> bytes:
    return struct.pack("<q", len(values)) + values.tobytes()


SIX = ("0", block(np.arange(6, dtype=np.float32)))


def test_tensors_come_back_by_name_in_their_own_order(tmp_path: Path) -> None:
    tensors = {"rows": tensor(), "columns": tensor((3, 2), (1, 3)), "last": tensor((2,), (1,), 4)}
    read = read_tensors(weights_file(tmp_path / "a.pth", tensors, SIX))
    assert read["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read["columns"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert read["last"].tolist() == [4, 5]


def test_whole_numbers_are_read_too(tmp_path: Path) -> None:
    tensors = {"count": tensor((), (), kind="torch LongStorage", size=1)}
    read = read_tensors(weights_file(tmp_path / "a.pth", tensors, ("0", struct.pack("<qq", 1, 7))))
    assert read["count"].dtype == np.int64
    assert int(read["count"]) == 7


@pytest.mark.parametrize(
    "name", ["os system", "posix system", "builtins eval", "builtins getattr", "torch load", "collections deque"]
)
def test_a_file_that_names_anything_else_is_refused_and_nothing_is_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "was-run"
    hostile = {"weight": tensor(), "other": RequestRecord(name, f"touch {mark}")}
    with pytest.raises(TrainerError, match=f"it names {name.replace(' ', '.')}, which no tensor needs"):
        read_tensors(weights_file(tmp_path / "a.pth", hostile, SIX))
    assert not mark.exists()


def test_code_in_the_first_pickle_of_a_file_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "was-run"),)

    (tmp_path / "a.pth").write_bytes(pickle.dumps(Touch(), 2))
    with pytest.raises(TrainerError, match=r"names (posix|nt)\.mkdir"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"a": tensor((2, 4), (3, 1))}, "impossible shape"),
        ({"a": tensor((10**9, 10**9), (0, 0))}, "impossible shape"),
        ({"a": tensor((2, 3), (-3, 1))}, "impossible shape"),
        ({"a": tensor((3,), (1,), 4)}, "exceeds its storage"),
        ({"a": tensor((3,), (1,), -1)}, "exceeds its storage"),
        ({"a": 1.0}, "does not contain a dictionary of tensors"),
        ([], "does not contain a dictionary of tensors"),
    ],
)  # fmt: skip
def test_tensors_that_cannot_be_are_refused(tmp_path: Path, content: object, reason: str) -> None:
    with pytest.raises(TrainerError, match=reason):
        read_tensors(weights_file(tmp_path / "a.pth", content, SIX))


def test_a_file_that_is_cut_short_or_something_else_is_refused(tmp_path: Path) -> None:
    complete_bytes = weights_file(tmp_path / "a.pth", {"a": tensor()}, SIX).read_bytes()
    for data in (b"", b"PK\x03\x04" + bytes(100), complete_bytes[:40], complete_bytes[:-1], complete_bytes[:-30]):
        (tmp_path / "b.pth").write_bytes(data)
        with pytest.raises(TrainerError, match="is not a PyTorch file of weights"):
            read_tensors(tmp_path / "b.pth")
    with pytest.raises(TrainerError, match="cannot read"):
        read_tensors(tmp_path / "none.pth")
