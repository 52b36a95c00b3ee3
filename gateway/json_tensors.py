"""JSON values to arrays of a signature's dtype, and arrays to JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from itertools import chain

import numpy as np
import orjson

from gateway.errors import BadRequest, InvalidTensor
from gateway.interpreter import let_others_run
from gateway.json_cutting import count, cut_large, is_lenient, put_back
from gateway.json_numbers import MAX_RANK, Numbers, no_string, out_of_range, taken_dtype
from gateway.pb.serving_pb2 import DataType
from gateway.tensors import Array

MAX_JSON_VALUES = 50_000
"""Values of one text that are in no regular array of numbers (see `json_cutting`): strings, objects, short lists. They
are counted by brackets and commas, those in shorter strings as well. The parser lets no other thread run meanwhile:
this many are some 4 ms and 10 MB."""

MAX_JSON_REST = 3 * 2**20
"""Bytes of one text that are in no regular array and in no long string that is cut out: up to 5 ms of the parser."""

WHOLE = 64 * 2**10
"""Bytes of text that are parsed as they are: at most 32,768 numbers."""


DECODED = 256 * 2**10
"""Characters of base64 that are decoded at once; of four each, three bytes are made."""


def read_json(body: bytes | bytearray) -> object:
    """The value of a JSON text; ``NaN`` and ``Infinity`` are taken as TensorFlow Serving takes them.

    Args:
        body: The text. A bytearray is empty afterwards: to free 32 MiB on the event loop, where it came in, takes 3 ms.

    Returns:
        Dictionaries, lists and values, as of any parser; in a text longer than `WHOLE`, the larger regular arrays of
        numbers are `Numbers`, and the longest strings may be bytes.

    Raises:
        BadRequest: It is none, nested too deeply, or has more than `MAX_JSON_VALUES` values or `MAX_JSON_REST` bytes
            beside the `Numbers` and the long strings.
    """
    try:
        return _read(body)
    finally:
        if isinstance(body, bytearray):
            body.clear()


def _read(body: bytes | bytearray) -> object:
    if len(body) <= WHOLE:
        return _parsed(body, body)
    rest, found = cut_large(body)
    if count(rest, b"[{,") > MAX_JSON_VALUES:
        raise BadRequest(
            f"The JSON has more than {MAX_JSON_VALUES:,} values that are in no regular array of numbers: the lists in "
            "a list must be of one length and hold numbers. Many strings are sent as binary data to /v2."
        )
    if len(rest) > MAX_JSON_REST:
        raise BadRequest(
            f"The JSON has more than {MAX_JSON_REST:,} bytes beside regular arrays of numbers and long strings of "
            "ASCII characters, such as base64. Other text of that size is sent as binary data to /v2."
        )
    value = _parsed(rest, body)
    return put_back(value, found) if found else value


def _parsed(text: bytes | bytearray, whole: bytes | bytearray) -> object:
    """The value of what is left of a whole text."""
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not is_lenient(whole):
            where = f" at position {error.pos}" if text is whole else ""
            raise BadRequest(f"The body is not JSON: {error.msg}{where}.") from error
        try:
            value = json.loads(text)
            # The standard library lets halves of surrogate pairs pass, which are no text.
            json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as again:
            raise BadRequest("The body is not JSON.") from again
    return value


def write_json(value: object) -> bytes:
    """JSON text of a value that may hold arrays; float32 in as few digits as tell it apart."""
    if _finite(value):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=_plain, ensure_ascii=False).encode()


def json_array(value: object, dtype: int, name: str) -> Array:
    """Array of a tensor that is written as nested lists or `Numbers`, or as one value for a scalar.

    Args:
        value: What `read_json` made of it. Strings stand for themselves, and ``{"b64": "..."}`` for bytes.
        dtype: Wire dtype of the signature's input; numbers are converted to it, never rounded to an integer.
        name: Name of the input, for the message.

    Raises:
        InvalidTensor: Ragged, too deep, or values that the dtype does not hold.
    """
    return _array(value, dtype, name, MAX_RANK)


def json_strings(array: Array, *, binary: bool) -> object:
    """Nested lists of a string array.

    Args:
        array: Object array of bytes.
        binary: Give each as ``{"b64": "..."}`` rather than as text.
    """
    values = array.ravel().tolist()
    texts = [
        {"b64": base64.b64encode(one).decode("ascii")} if binary else one.decode("utf-8", "replace") for one in values
    ]
    nested = np.empty(len(texts), np.object_)
    nested[:] = texts
    result: object = nested.reshape(array.shape).tolist()
    return result


def _array(value: object, dtype: int, name: str, max_rank: int) -> Array:
    shape, values = _flat(value, name, max_rank)
    kinds = set(map(type, values))
    if Numbers in kinds:
        return _stacked(shape, values, dtype, name, max_rank)
    if dtype == DataType.DT_STRING:
        strings = np.empty(len(values), np.object_)
        strings[:] = [_string(one, name) for one in values]
        return strings.reshape(shape)
    wanted = taken_dtype(kinds, dtype, name)
    try:
        return np.array(values, wanted).reshape(shape)
    except OverflowError as error:
        raise out_of_range(dtype, name) from error


def _stacked(shape: tuple[int, ...], values: list[object], dtype: int, name: str, max_rank: int) -> Array:
    """Array of arrays, of which some or all are `Numbers` and the others lists that are shorter as text."""
    if shape == () and isinstance(values[0], Numbers):
        if len(values[0].shape) > max_rank:
            raise _too_deep(name)
        return values[0].array(dtype, name)
    if max_rank <= len(shape):
        raise _too_deep(name)
    arrays = [_array(one, dtype, name, max_rank - len(shape)) for one in values]
    if len({one.shape for one in arrays}) > 1:
        raise InvalidTensor(f"The input {name!r} has lists of different lengths.")
    return np.stack(arrays).reshape((*shape, *arrays[0].shape))


def _flat(value: object, name: str, max_rank: int) -> tuple[tuple[int, ...], list[object]]:
    """Shape and values of nested lists, level by level: no recursion, and no loop in Python over single values.

    The values are lists and `Numbers` where there is one of the latter.
    """
    shape: list[int] = []
    level = [value]
    while (kinds := set(map(type, level))) & {list, Numbers}:
        if kinds - {list, Numbers}:
            raise InvalidTensor(f"The input {name!r} mixes lists and values.")
        if Numbers in kinds:
            break
        if len(shape) == max_rank:
            raise _too_deep(name)
        lists = [one for one in level if isinstance(one, list)]
        sizes = set(map(len, lists))
        if len(sizes) > 1:
            raise InvalidTensor(f"The input {name!r} has lists of different lengths: {_some(sizes)}.")
        shape.append(sizes.pop())
        level = list(chain.from_iterable(lists))
    return tuple(shape), level


def _too_deep(name: str) -> InvalidTensor:
    return InvalidTensor(f"The input {name!r} is nested more than {MAX_RANK} lists deep.")


def _some(sizes: set[int]) -> str:
    return " and ".join(str(size) for size in sorted(sizes)[:2])


def _string(value: object, name: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if is_binary(value):
        assert isinstance(value, dict)
        try:
            return decoded_base64(value["b64"])
        except (ValueError, TypeError) as error:
            raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    raise no_string(type(value), name)


def decoded_base64(text: object) -> bytes:
    """The bytes that a text stands for, some at a time: a photo of 4 MB would hold up all other threads for 10 ms.

    Raises:
        ValueError: It is not base64.
        TypeError: It is no text.
    """
    if not isinstance(text, str | bytes):
        raise TypeError(f"no text: {type(text)}")
    parts = []
    for start in range(0, len(text) or 1, DECODED):
        part = base64.b64decode(text[start : start + DECODED], validate=True)
        if len(part) < DECODED // 4 * 3 and start + DECODED < len(text):
            raise ValueError("more text after its end")
        parts.append(part)
        let_others_run()
    return b"".join(parts)


def is_binary(value: object) -> bool:
    """Whether a JSON value is bytes in base64."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        # Lists of one answer hold values of one kind: rows, or named rows.
        return all(map(_finite, value)) if value and not isinstance(value[0], str) else True
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return bool(np.isfinite(value).all())
    return True


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        plain: object = value.tolist()
        return plain
    raise TypeError(f"{type(value)} has no JSON form")
