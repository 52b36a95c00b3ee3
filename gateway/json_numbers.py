"""Large arrays of numbers in JSON, of which only some thousand values at a time are ever Python objects.

To parse millions of numbers in one call, to make one array of them, to free them: each is a single step for the
interpreter, in which no other thread moves, the event loop's no more than the rest. Here a thread that reads numbers
takes steps of under a millisecond, and lets the others run after each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
import orjson

from gateway.errors import BadRequest, InvalidTensor
from gateway.interpreter import let_others_run
from gateway.pb.serving_pb2 import DataType
from gateway.tensors import Array, dtype_name, number_dtype

MAX_RANK = 16
"""Nested lists that are followed; TensorFlow itself knows tensors of up to 254 dimensions, image models of 5."""

SPACE = b" \t\n\r"
"""What JSON has between values."""

Text = bytes | bytearray

OUTLINED = 64 * 2**10
"""Bytes of text whose outline is taken at once."""

FEWEST = 64
"""Values that are worth an array: a shape of few numbers and much whitespace stays a list."""

PARSED = 32 * 2**10
"""Bytes of text that are parsed at once: at most 16,384 numbers."""

_SCALAR = b"0123456789+-.eEtrufalsnNIiy"
_CLASSES = bytes(ord("0") if code in _SCALAR else code if code in b"[]," + SPACE else ord("?") for code in range(256))
"""For an outline: every character that numbers, true, false, null, NaN and Infinity are made of is a 0."""

_NO_BRACKETS = bytes(ord(" ") if code in b"[]" else code for code in range(256))

_TAKEN: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
_KINDS: dict[type, str] = {
    str: "string",
    bytes: "string",
    bool: "boolean",
    int: "whole number",
    float: "fraction",
    dict: "object",
    list: "list",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """A regular array of numbers, booleans and nulls.

    Attributes:
        shape: Its sizes, none of them zero.
        kinds: The Python types of its values, as a JSON parser makes them.
        first: The type of the first.
        pieces: The values in order, flat, in dtypes that hold them; values that no tensor takes are left out.
    """

    shape: tuple[int, ...]
    kinds: Set[type]
    first: type
    pieces: list[Array]

    def array(self, dtype: int, name: str) -> Array:
        """Array of a wire dtype; the rules and errors are those of `json_tensors.json_array`."""
        if dtype == DataType.DT_STRING:
            raise no_string(self.first, name)
        wanted = taken_dtype(self.kinds, dtype, name)
        filled: Array = np.empty(prod(self.shape), wanted)
        position = 0
        for piece in self.pieces:
            try:
                filled[position : position + len(piece)] = _converted(piece, wanted)
            except OverflowError as error:
                raise out_of_range(dtype, name) from error
            position += len(piece)
            let_others_run()
        return filled.reshape(self.shape)


def read_numbers(text: Text, start: int, end: int, *, lenient: bool) -> Numbers | None:
    """The array that a stretch of text is.

    Whether it is regular is told from its outline, in which each value is a 0 and whitespace is gone: it must be just
    the outline that an array of its shape has. The values are then parsed without their brackets.

    Args:
        text: JSON, or what should be.
        start: Where the stretch begins, with a bracket.
        end: Just after it.
        lenient: Take ``NaN``, ``Infinity`` and whole numbers of any length.

    Returns:
        None where it is not an array of one value or more in each innermost list, all values numbers, booleans or null,
        and all lists of one level of one length; or where it has few values, or 32 KiB without a comma.

    Raises:
        BadRequest: It is such an array, but for a value that is none.
    """
    outlined, parsed = _cuts(text, start, end, OUTLINED), _cuts(text, start, end, PARSED)
    if outlined is None or parsed is None:
        return None
    outlines = []
    counts = np.zeros(1 + MAX_RANK, np.int64)
    for begin, stop in pairwise(outlined):
        outlines.append(_outline(text[begin:stop], counts))
        let_others_run()
    shape = _shape(outlines[0], counts.tolist())
    if counts[0] < FEWEST or shape is None or not _same(outlines, _regular(shape)):
        return None
    kinds: set[type] = set()
    pieces, first = [], None
    for begin, stop in pairwise(parsed):
        values = _values(text, begin, stop, lenient=lenient)
        first = first or type(values[0])
        piece, found = _packed(values, small=text.find(b"e", begin, stop) < 0)
        pieces.append(piece)
        kinds |= found
        del values
        let_others_run()
    assert first is not None
    return Numbers(shape, kinds, first, pieces)


def kind_name(kind: type) -> str:
    """What JSON calls the values that a Python type stands for."""
    return _KINDS.get(kind, "value")


def no_string(kind: type, name: str) -> InvalidTensor:
    """The error for another value where a string is wanted."""
    return InvalidTensor(f'The input {name!r} takes strings or {{"b64": "..."}}, not a {kind_name(kind)}.')


def out_of_range(dtype: int, name: str) -> InvalidTensor:
    """The error for a number that a wire dtype does not hold."""
    return InvalidTensor(f"The input {name!r} has a number out of the range of {dtype_name(dtype)}.")


def taken_dtype(kinds: Set[type], dtype: int, name: str) -> np.dtype[np.generic]:
    """NumPy's dtype for a wire dtype, where it takes values of these Python types.

    Raises:
        InvalidTensor: It is not of numbers, or does not take them.
    """
    wanted = number_dtype(dtype)
    if wanted is None:
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which cannot be sent as JSON.")
    strange = kinds - _TAKEN[wanted.kind]
    if strange:
        named = ", ".join(sorted(map(kind_name, strange)))
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which does not hold a {named}.")
    return wanted


def _cuts(text: Text, start: int, end: int, size: int) -> list[int] | None:
    """Where to cut a text so that each part but the last ends with a comma; None where a part would be larger."""
    cuts = [start]
    while end - cuts[-1] > size:
        comma = text.rfind(b",", cuts[-1], cuts[-1] + size)
        if comma < 0:
            return None
        cuts.append(comma + 1)
    return [*cuts, end]


def _outline(text: Text, counts: npt.NDArray[np.int64]) -> bytes:
    """The outline of a part of an array.

    Args:
        text: The part; but for the last, it ends with a comma.
        counts: Takes, in addition, the values, the lists that end with a value, the lists that end with such a list,
            and so on.
    """
    classes = np.frombuffer(text.translate(_CLASSES, SPACE), np.uint8)
    value = classes == ord("0")
    kept = np.concatenate((classes[:1], np.compress(~(value[1:] & value[:-1]), classes[1:])))
    closing, ended = kept == ord("]"), kept == ord("0")
    for level in range(len(counts)):
        counts[level] += np.count_nonzero(ended)
        closing, ended = closing[1:], closing[1:] & ended[:-1]
        if not ended.any():
            break
    return kept.tobytes()


def _shape(outline: bytes, counts: list[int]) -> tuple[int, ...] | None:
    """The only shape that an array can have whose outline begins so, with these counts for all of it."""
    rank = len(outline) - len(outline.lstrip(b"["))
    if not 1 <= rank <= MAX_RANK or not all(counts[: rank + 1]):
        return None
    return tuple(within // lists for within, lists in pairwise(counts[: rank + 1]))[::-1]


def _regular(shape: tuple[int, ...]) -> Iterator[bytes]:
    """The outline of an array, piece by piece."""
    if not shape:
        yield b"0"
        return
    size, within = shape[0], shape[1:]
    length = 1
    for inner in reversed(within):
        length = inner * (length + 1) + 1
    if length > OUTLINED:
        for index in range(size):
            yield b"," if index else b"["
            yield from _regular(within)
    else:
        one = b"".join(_regular(within)) + b","
        many = max(1, OUTLINED // len(one))
        yield b"["
        for _ in range((size - 1) // many):
            yield one * many
        yield (one * ((size - 1) % many + 1))[:-1]
    yield b"]"


def _same(given: Iterable[bytes], wanted: Iterator[bytes]) -> bool:
    """Whether two texts in pieces are the same."""
    ahead = b""
    for one in given:
        while len(ahead) < len(one):
            more = next(wanted, None)
            if more is None:
                return False
            ahead += more
        if not ahead.startswith(one):
            return False
        ahead = ahead[len(one) :]
        let_others_run()
    return not ahead and next(wanted, None) is None


def _values(text: Text, start: int, end: int, *, lenient: bool) -> list[object]:
    """The values of a part of a regular array."""
    bare = text[start:end].translate(_NO_BRACKETS).rstrip(SPACE).removesuffix(b",")
    listed = b"[" + bare + b"]"
    try:
        values: list[object] = orjson.loads(listed)
    except orjson.JSONDecodeError as error:
        if not lenient:
            raise BadRequest(f"The body is not JSON: {error.msg} at position {start + error.pos - 1}.") from error
        try:
            values = json.loads(listed)
        except ValueError as again:
            raise BadRequest("The body is not JSON.") from again
    return values


def _packed(values: list[object], *, small: bool) -> tuple[Array, set[type]]:
    """Values as an array, and their types.

    Args:
        values: One or more.
        small: Try first whether they are whole numbers under 256, as pixels are: nothing may be a boolean.
    """
    if small:
        try:
            return np.frombuffer(bytes(values), np.uint8), {int}  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            pass
    kinds = set(map(type, values))
    if not kinds <= {int, float} and kinds != {bool}:
        return np.empty(0, np.uint8), kinds
    for takes, dtype in (({bool}, np.bool_), ({int}, np.int64), ({int}, np.uint64), ({int, float}, np.float64)):
        with suppress(OverflowError):
            if kinds <= takes:
                return np.array(values, dtype), kinds
    return np.array(values, np.object_), kinds  # of more than 300 digits each, so there are few


def _converted(values: Array, dtype: np.dtype[np.generic]) -> Array:
    """Values in a dtype that takes their kind, just as NumPy makes an array of a list of them.

    Raises:
        OverflowError: One is out of its range.
    """
    if values.dtype == np.object_:
        return np.array(values.tolist(), dtype)
    if dtype.kind == "f":  # from Python's numbers it goes by way of its float
        return values.astype(np.float64).astype(dtype)
    if dtype.kind in "iu":
        if values.dtype.kind == "f":  # whole numbers that no integer holds together
            raise OverflowError
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        if values.min() < limits.min or values.max() > limits.max:
            raise OverflowError
    return values.astype(dtype)
