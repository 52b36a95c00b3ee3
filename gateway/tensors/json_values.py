"""Convert JSON values to arrays of a signature's dtype, and arrays to JSON."""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from collections.abc import Mapping, Set
from itertools import chain

import numpy as np
import orjson

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.wire import Array, dtype_name, number_dtype

MAX_RANK = 16
"""Maximum depth of nested lists. TensorFlow allows tensors of up to 254 dimensions; image models use up to 5."""

HEAD_BYTES = 64
"""Bytes of a body by which JSON is told from an image."""

MAX_NAME_CHARACTERS = 300
"""Length up to which text in place of base64 is taken for the name of a file, a URL or a value in a program."""

Text = bytes | bytearray | memoryview

_KINDS: dict[str, Set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
"""The Python types of JSON values that are accepted for a kind of NumPy dtype."""

_JSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "whole number",
    float: "fraction",
    dict: "object",
    list: "list",
    type(None): "null",
}

_DATA_URL = re.compile(r"data:[^,;]*(?:;[^,;]*)*;base64,")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_NOT_JSON = "not JSON. Send images in base64; /api and /hf take image files."
_NOT_STANDARD = str.maketrans("-_", "+/", " \t\r\n=")


def read_json(body: Text) -> object:
    """Parse JSON. ``NaN`` and ``Infinity`` are accepted, as in TensorFlow Serving.

    Raises:
        BadRequest: It is not JSON, or nested too deeply.
        MemoryError: It does not fit into memory. orjson may also crash.
    """
    try:
        value: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith("Not enough memory"):
            raise MemoryError from error
        text = bytes(body)
        if kind := _other_kind(text):
            raise BadRequest(f"The body is {kind}") from error
        if b"NaN" not in text and b"Infinity" not in text:
            raise BadRequest(f"The body is not JSON: {error.msg} at position {error.pos}.") from error
        try:
            value = json.loads(text)
            json.dumps(value, ensure_ascii=False).encode()  # the standard library accepts halves of surrogate pairs
        except (ValueError, RecursionError) as again:
            raise BadRequest("The body is not JSON.") from again
    return value


def _other_kind(body: bytes) -> str:
    """What a body is that is neither JSON nor other text in UTF-8, for the message; empty if it is such text."""
    if body.startswith(b"--"):
        return f"a form, {_NOT_JSON}"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        is_text = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or not _CONTROL.search(body)
        return "not JSON in UTF-8." if is_text else f"binary data, {_NOT_JSON}"
    return ""


def write_json(value: object) -> bytes:
    """Format a value that may contain arrays as JSON. float32 has as few digits as identify the value."""
    if _finite(value):
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(value, default=_plain, ensure_ascii=False).encode()


def json_array(value: object, dtype: int, name: str) -> Array:
    """Convert a value from `read_json`, nested lists or one value for a scalar, to an array.

    Args:
        value: The value. ``{"b64": "..."}`` stands for bytes.
        dtype: Wire dtype of the signature's input; numbers are converted to it, never rounded to an integer.
        name: Name of the input, for the message.

    Raises:
        InvalidTensor: The lists are ragged or nested too deeply, or the dtype cannot hold a value.
    """
    shape, values = _flat(value, name)
    if dtype == DataType.DT_STRING:
        strings = np.empty(len(values), np.object_)
        strings[:] = [_string(one, name) for one in values]
        return strings.reshape(shape)
    array_dtype = _accepting_dtype(set(map(type, values)), dtype, name)
    try:
        return np.array(values, array_dtype).reshape(shape)
    except OverflowError as error:
        raise InvalidTensor(f"The input {name!r} has a number out of the range of {dtype_name(dtype)}.") from error


def json_strings(array: Array, *, binary: bool) -> object:
    """Nested lists of an object array of bytes: text or, if they are `binary`, ``{"b64": "..."}``."""
    texts = [
        {"b64": base64.b64encode(one).decode("ascii")} if binary else one.decode("utf-8", "replace")
        for one in array.ravel().tolist()
    ]
    nested = np.empty(len(texts), np.object_)
    nested[:] = texts
    result: object = nested.reshape(array.shape).tolist()
    return result


def decoded_base64(text: str) -> bytes:
    """Decode base64.

    Like TensorFlow Serving, this ignores white space and needs no padding. It also accepts the URL-safe alphabet and
    data URLs.

    Raises:
        ValueError: It is not base64.
    """
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        prefix = _DATA_URL.match(text)
        plain = text[prefix.end() if prefix else 0 :].translate(_NOT_STANDARD)
        return binascii.a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)


def is_json_object(data: bytes) -> bool:
    """Whether a body is a JSON object, by its first `HEAD_BYTES`; no image begins like that."""
    return data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def image_in_json(data: bytes) -> bytes:
    """The image of ``{"inputs": "<base64>"}``; other bytes as they are. See `image_of_value`."""
    if not is_json_object(data):
        return data
    try:
        # orjson takes twelve times the size of the body, and crashes without
        image = image_of_value(json.loads(data))
    except (ValueError, RecursionError):
        return data
    return data if image is None else image


def image_of_value(value: object) -> bytes | None:
    """The image of a JSON value ``{"inputs": "<base64>"}``; None if there is none.

    The value may be a data URL, ``{"b64": "<base64>"}``, or a list of one of these. A short text that is not base64,
    such as the name of a file, is returned as it is: it is described in the error.
    """
    inputs = value.get("inputs") if isinstance(value, dict) else None
    if isinstance(inputs, list) and len(inputs) == 1:
        [inputs] = inputs
    if isinstance(inputs, dict):
        inputs = inputs.get("b64")
    if not isinstance(inputs, str):
        return None
    try:
        return decoded_base64(inputs)
    except ValueError:
        return inputs.encode("utf-8", "replace") if len(inputs) <= MAX_NAME_CHARACTERS else None


def is_binary(value: object) -> bool:
    """Whether a JSON value is bytes in base64."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def _flat(value: object, name: str) -> tuple[tuple[int, ...], list[object]]:
    """Shape and values of nested lists, level by level, without a recursion or a loop over single values."""
    shape: list[int] = []
    level = [value]
    while list in (kinds := set(map(type, level))):
        if kinds != {list}:
            raise InvalidTensor(f"The input {name!r} mixes lists and values at the same level.")
        if len(shape) == MAX_RANK:
            raise InvalidTensor(f"The input {name!r} is nested more than {MAX_RANK} lists deep.")
        lists: list[list[object]] = level  # type: ignore[assignment]
        sizes = set(map(len, lists))
        if len(sizes) > 1:
            some = " and ".join(map(str, sorted(sizes)[:2]))
            raise InvalidTensor(f"The input {name!r} has lists of different lengths: {some}.")
        shape.append(sizes.pop())
        level = list(chain.from_iterable(lists))
    return tuple(shape), level


def _accepting_dtype(kinds: Set[type], dtype: int, name: str) -> np.dtype[np.generic]:
    """NumPy's dtype for a wire dtype, if it accepts values of these Python types."""
    array_dtype = number_dtype(dtype)
    if array_dtype is None:
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which cannot be sent as JSON.")
    mismatches = kinds - _KINDS[array_dtype.kind]
    if dict in mismatches:
        raise InvalidTensor(
            f"The input {name!r} takes numbers of type {dtype_name(dtype)}, not an object such as "
            '{"b64": "..."}: send the pixels of an image as nested lists. /api and /hf take image files.'
        )
    if mismatches:
        names = ", ".join(sorted(_JSON_NAMES.get(kind, "value") for kind in mismatches))
        raise InvalidTensor(f"The input {name!r} is of type {dtype_name(dtype)}, which does not hold a {names}.")
    return array_dtype


def _string(value: object, name: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if is_binary(value):
        assert isinstance(value, dict)
        try:
            return decoded_base64(value["b64"])
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidTensor(f"The input {name!r} has a value that is not base64.") from error
    kind = _JSON_NAMES.get(type(value), "value")
    raise InvalidTensor(f'The input {name!r} accepts strings or {{"b64": "..."}}, not a {kind}.')


def _finite(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        # The lists of an answer contain values of one kind: rows, or named rows.
        return all(map(_finite, value)) if value and not isinstance(value[0], str) else True
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f":
        return bool(np.isfinite(value).all())
    return True


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        plain: object = value.tolist()
        return plain
    raise TypeError(f"{type(value)} has no JSON form")
