"""Large arrays of numbers in JSON are read piece by piece, and give what they give when they are read at once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import json_cutting, json_numbers, json_tensors
from gateway.errors import BadRequest, GatewayError, InvalidTensor
from gateway.inference_protocol import read_request
from gateway.json_numbers import Numbers
from gateway.json_tensors import json_array, read_json
from gateway.pb.serving_pb2 import DataType, SignatureDef
from gateway.routes import tfserving
from gateway.tensors import Array

DTYPES = [
    DataType.DT_UINT8,
    DataType.DT_INT8,
    DataType.DT_INT32,
    DataType.DT_INT64,
    DataType.DT_UINT64,
    DataType.DT_HALF,
    DataType.DT_FLOAT,
    DataType.DT_DOUBLE,
    DataType.DT_BOOL,
    DataType.DT_STRING,
    DataType.DT_BFLOAT16,
]
FRACTIONS = ["0.5", "-0.0", "1e2", "1E+2", "-2.5e-3", "3.141592653589793", "16777217.0"]
WHOLE = ["0", "1", "-0", "7", "255", "256", "-1", "-128", "65536", "9007199254740993", "9223372036854775807"]
LARGE = [
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1" + "0" * 30,
    "1" + "0" * 400,
    "1e400",
]
ODD = [
    "null",
    "true",
    "false",
    "NaN",
    "-Infinity",
    "Infinity",
    '"a"',
    '"]"',
    '"[\\""',
    '"\\\\"',
    '"é"',
    '{"b64": "YQ=="}',
]
BROKEN = [
    "01",
    "1.",
    ".5",
    "+1",
    "--1",
    "1 2",
    "tru",
    "",
    "NaNN",
    "nan",
    "1]",
    "[1",
    "]",
    "[",
    "{",
    "}",
    '"',
    "\\",
    "é",
    "\x0b",
]
SPACE = ["", "", "", " ", "\n\t ", "\r\n"]


def scalars(*, broken: bool) -> st.SearchStrategy[st.SearchStrategy[str]]:
    """Kinds of values that one array may be of: some of one kind, some of all."""
    pools = [WHOLE[:5], WHOLE, FRACTIONS, FRACTIONS + WHOLE, ["true", "false"], ["null", "1"], WHOLE + LARGE]
    pools += [[*WHOLE, "NaN", "Infinity"], [*FRACTIONS, "NaN", "1e400"], WHOLE + FRACTIONS + LARGE + ODD]
    pools += [[*WHOLE, *BROKEN], [*FRACTIONS, *BROKEN, *ODD]] if broken else []
    return st.sampled_from([st.sampled_from(pool) for pool in pools])


@st.composite
def arrays(draw: st.DrawFn, *, broken: bool = True) -> str:
    """Text of nested lists: regular ones, and ones with a fault somewhere."""
    sizes = draw(st.lists(st.integers(1, 4), max_size=4))
    values = draw(scalars(broken=broken))
    ragged = draw(st.integers(0, 7)) == 0

    def text(level: int) -> str:
        before, after = draw(st.sampled_from(SPACE)), draw(st.sampled_from(SPACE))
        if level == len(sizes) or (ragged and draw(st.integers(0, 9)) == 0):
            return before + draw(values) + after
        size = draw(st.integers(0, 4)) if ragged else sizes[level]
        return before + "[" + ",".join(text(level + 1) for _ in range(size)) + "]" + after

    return text(0)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Bodies of :predict, most of them JSON."""
    one = arrays(broken=draw(st.booleans()))
    kind = draw(st.integers(0, 5))
    if kind == 0:
        given = f'"inputs": {draw(one)}'
    elif kind == 1:
        given = f'"instances": {draw(one)}'
    elif kind == 2:
        given = f'"inputs": {{"x": {draw(one)}, "y": {draw(one)}}}'
    else:
        names = draw(st.sampled_from([["x"], ["x", "y"], ["x", "x"]]))
        same = draw(one) if kind == 3 else None
        rows = [", ".join(f'"{name}": {same or draw(one)}' for name in names) for _ in range(draw(st.integers(1, 3)))]
        given = '"instances": [' + ", ".join(f"{{{row}}}" for row in rows) + "]"
    beside = draw(st.lists(arrays(broken=False) | arrays(), max_size=2))
    names = ['"other"', '"a\\"]["', '"inputs"', '"signature_name"', '"\\\\"', draw(one)]
    others = [f"{draw(st.sampled_from(names))}: {value}" for value in beside]
    end = draw(st.sampled_from(["", "", "", " ", "]", "[1,2]", ",", '"']))
    return "{" + ", ".join([*others, given] if draw(st.booleans()) else [given, *others]) + "}" + end


def signature(names: Mapping[str, int]) -> SignatureDef:
    described = SignatureDef()
    for name, dtype in names.items():
        described.inputs[name].dtype = DataType.ValueType(dtype)
    return described


def outcome(read: Callable[[], Mapping[str, Array]]) -> object:
    """What comes of reading a body: every array with its dtype, shape and values, or the class of the error."""
    try:
        return {name: (str(one.dtype), one.shape, str(one.ravel().tolist())) for name, one in read().items()}
    except GatewayError as error:
        return type(error)


@contextmanager
def sizes(whole: int, least: int, piece: int) -> Iterator[None]:
    """Bodies above `whole` bytes are read piece by piece, arrays from `least` bytes on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_tensors, "WHOLE", whole)
        patch.setattr(json_cutting, "LEAST", least)
        patch.setattr(json_numbers, "OUTLINED", piece)
        patch.setattr(json_numbers, "PARSED", piece)
        yield


def at_once() -> AbstractContextManager[None]:
    return sizes(sys.maxsize, 1, 1)


def predicted(body: str, names: Mapping[str, int]) -> object:
    return outcome(lambda: tfserving._Body(bytearray(body.encode())).inputs(signature(names)))


def inferred(body: str) -> object:
    return outcome(lambda: read_request(bytearray(body.encode()), None).inputs)


SIZES = st.tuples(st.sampled_from([2, 2, 12]), st.sampled_from([8, 24, 24, 1000]))
"""Bytes from which arrays are taken out, and of the pieces that they are read in."""

NAMES = st.sampled_from([["x"], ["x"], ["x", "y"]])

ordinary = settings(max_examples=600, deadline=None, derandomize=True, database=None)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@ordinary
@given(bodies(), NAMES, st.sampled_from(DTYPES), SIZES)
@example('{"inputs": [1[,2]]}', ["x"], DTYPES[0], (2, 1000))
@example('{"inputs": [[1,2]3,[4,5]]}', ["x"], DTYPES[0], (2, 1000))
@example('{"inputs": [[1],[]]}', ["x"], DTYPES[0], (2, 1000))
@example('{"inputs": [[1,2],3]}', ["x"], DTYPES[0], (2, 1000))
@example('{"inputs": 1, [1,2]: 3}', ["x"], DTYPES[0], (2, 1000))
@example('{"inputs": {"x": {[1,2]: 3}, "x": 1}}', ["x"], DTYPES[0], (2, 1000))
@example('{"instances": [{"x": [1,2,3,4,5,6,7]}, {"x": [1,2,3,4,  5,6,7]}]}', ["x"], DTYPES[0], (16, 1000))
def test_a_predict_body_gives_the_same_arrays_in_pieces_as_at_once(
    body: str, names: list[str], dtype: int, piece_sizes: tuple[int, int]
) -> None:
    asked = dict.fromkeys(names, dtype)
    with at_once():
        expected = predicted(body, asked)
    with sizes(0, *piece_sizes):
        assert predicted(body, asked) == expected
