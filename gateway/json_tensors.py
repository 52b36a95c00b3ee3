"""JSON values to arrays of a signature's dtype, and arrays to JSON."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from itertools import chain

import numpy as np
import orjson

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.serving_pb2 import DataType
from gateway.tensors import Array, dtype_name, number_dtype

MAX_RANK = 16
"""Nested lists that are followed; TensorFlow itself knows tensors of up to 254 dimensions, image models of 5."""

MAX_JSON_LISTS = 1_700_000
"""Lists and objects of one text. An empty list is 3 bytes of text and 72 of memory, an object of one key 8 and 201, and
the parser lets no other thread run meanwhile: this many are at most 330 MiB and about half a second. 32 images of
224x224 pixels as nested lists have 1,612,833."""


def read_json(body: bytes | bytearray) -> object:
    """The value of a JSON text; ``NaN`` and ``Infinity`` are taken as TensorFlow Serving takes them.

    Raises:
        BadRequest: It is none, nested too deeply, or has more than `MAX_JSON_LISTS` lists and objects.
    """
    if body.count(b"[") + body.count(b"{") > MAX_JSON_LISTS:
        raise BadRequest(
            f"The body has more than {MAX_JSON_LISTS:,} lists and objects: send fewer images at once, or tensors as "
            "binary data to /v2."
        )
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"NaN" not in body and b"Infinity" not in body:
            raise BadRequest(f"The body is not JSON: {error.msg} at position {error.pos}.") from error
        try:
            value = json.loads(body)
            orjson.dumps(value)  # the standard library lets halves of surrogate pairs pass, which are no text
        except (ValueError, TypeError, RecursionError) as again:
            raise BadRequest("The body is not JSON.") from again
    return value


def write_json(value: object) -> bytes:
    """JSON text of a value that may hold arrays; float32 in as few digits as tell it apart."""
    if _finite(value):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=_plain, ensure_ascii=False).encode()


def json_array(value: object, dtype: int, name: str) -> Array:
    """Array of a tensor that is written as nested lists, or as one value for a scalar.

    Args:
        value: What JSON held. Strings stand for themselves, and ``{"b64": "..."}`` for bytes.
        dtype: Wire dtype of the signature's input; numbers are converted to it, never rounded to an integer.
        name: Name of the input, for the message.

    Raises:
        InvalidTensor: Ragged, too deep, or values that the dtype does not hold.
    """
    shape, values = _flat(value, name)
    if dtype == DataType.DT_STRING:
        strings = np.empty(len(values), np.object_)
        strings[:] = [_string(one, name) for one in values]
        return strings.reshape(shape)
    wanted = number_dtype(dtype)
    if wanted is None:
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which cannot be sent as JSON.")
    strange = set(map(type, values)) - _TAKEN[wanted.kind]
    if strange:
        kinds = ", ".join(sorted(_JSON_NAMES.get(kind, "value") for kind in strange))
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which does not hold a {kinds}.")
    try:
        return np.array(values, wanted).reshape(shape)
    except OverflowError as error:
        raise InvalidTensor(f"The input {name!r} has a number out of the range of {dtype_name(dtype)}.") from error


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


_TAKEN: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
_JSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "whole number",
    float: "fraction",
    dict: "object",
    list: "list",
    type(None): "null",
}


def _flat(value: object, name: str) -> tuple[tuple[int, ...], list[object]]:
    """Shape and values of nested lists, level by level: no recursion, and no loop in Python over single values."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        if set(map(type, level)) != {list}:
            raise InvalidTensor(f"The input {name!r} mixes lists and values.")
        if len(shape) == MAX_RANK:
            raise InvalidTensor(f"The input {name!r} is nested more than {MAX_RANK} lists deep.")
        lists = [one for one in level if isinstance(one, list)]
        sizes = set(map(len, lists))
        if len(sizes) > 1:
            raise InvalidTensor(f"The input {name!r} has lists of different lengths: {_some(sizes)}.")
        shape.append(sizes.pop())
        level = list(chain.from_iterable(lists))
    if any(isinstance(one, list) for one in level):
        raise InvalidTensor(f"The input {name!r} mixes lists and values.")
    return tuple(shape), level


def _some(sizes: set[int]) -> str:
    return " and ".join(str(size) for size in sorted(sizes)[:2])


def _string(value: object, name: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if is_binary(value):
        assert isinstance(value, dict)
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    kind = _JSON_NAMES.get(type(value), "value")
    raise InvalidTensor(f'The input {name!r} takes strings or {{"b64": "..."}}, not a {kind}.')


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
