"""JSON becomes arrays of a signature's dtype, and arrays become JSON."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.json_values import decoded_base64, json_array, json_strings, read_json, write_json

PHOTO = bytes(range(256)) * 3 + b"\xfb\xef\xff\xfe"
TEXT = base64.b64encode(PHOTO).decode()
assert TEXT.endswith("==")


@pytest.mark.parametrize(
    ("value", "dtype", "shape"),
    [
        ([[1, 2], [3, 4]], DataType.DT_INT32, (2, 2)),
        ([[0, 255]], DataType.DT_UINT8, (1, 2)),
        ([1, 2.5], DataType.DT_FLOAT, (2,)),
        (7, DataType.DT_INT64, ()),
        ([], DataType.DT_FLOAT, (0,)),
        ([[], []], DataType.DT_FLOAT, (2, 0)),
        ([True, False], DataType.DT_BOOL, (2,)),
        (["a", {"b64": "Yg=="}], DataType.DT_STRING, (2,)),
        ([1.5], DataType.DT_HALF, (1,)),
    ],
)
def test_nested_lists_become_an_array(value: object, dtype: int, shape: tuple[int, ...]) -> None:
    array = json_array(value, dtype, "x")
    assert array.shape == shape


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        ([1.0], DataType.DT_INT32, "does not hold a fraction"),
        ([True], DataType.DT_INT32, "does not hold a boolean"),
        ([300], DataType.DT_UINT8, "out of the range of uint8"),
        ([-1], DataType.DT_UINT64, "out of the range of uint64"),
        ([[1], [1, 2]], DataType.DT_INT32, "different lengths: 1 and 2"),
        ([1, [2]], DataType.DT_INT32, "mixes lists and values"),
        ([None], DataType.DT_FLOAT, "does not hold a null"),
        ([{"b64": 1}], DataType.DT_STRING, "not base64"),
        ([1], DataType.DT_STRING, "not a whole number"),
        ([1], DataType.DT_BFLOAT16, "cannot be sent as JSON"),
    ],
)
def test_what_the_dtype_does_not_hold_is_told(value: object, dtype: int, words: str) -> None:
    with pytest.raises(InvalidTensor, match=words):
        json_array(value, dtype, "x")


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.rstrip("="),
        "\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76)) + "\n",
        "\r\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76)),
        base64.urlsafe_b64encode(PHOTO).decode(),
        f"data:image/jpeg;base64,{TEXT}",
    ],
    ids=["plain", "unpadded", "Android", "MIME", "URL-safe", "data URL"],
)
def test_base64_is_read_as_common_encoders_write_it(text: str) -> None:
    assert decoded_base64(text) == PHOTO


@pytest.mark.parametrize("text", ["a", "%%%%", "YQ==YQ==A", "data:image/jpeg,abc"])
def test_what_is_not_base64_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the standard library's
        decoded_base64(text)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b"[NaN, " + b"[" * 100_000, rb'["\ud800", NaN]'])
def test_what_is_not_json_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(BadRequest, match="JSON"):
        read_json(text)


def test_numbers_that_json_does_not_have_are_read_and_written_like_the_real_server() -> None:
    assert str(read_json(b"[NaN, Infinity, -Infinity]")) == "[nan, inf, -inf]"
    assert write_json({"y": np.array([np.nan, np.inf], np.float32)}) == b'{"y": [NaN, Infinity]}'


def test_numbers_are_written_in_as_few_digits_as_tell_them_apart() -> None:
    values = np.random.default_rng(0).random(1000, np.float32)
    written = write_json({"y": values})
    assert len(written) < 13 * 1000
    np.testing.assert_array_equal(np.array(json.loads(written)["y"], np.float32), values)


def test_strings_keep_their_shape_and_may_be_binary() -> None:
    array = np.array([[b"a", b"\xff"]], np.object_)
    assert json_strings(array, binary=False) == [["a", "\ufffd"]]
    assert json_strings(array, binary=True) == [[{"b64": "YQ=="}, {"b64": "/w=="}]]
