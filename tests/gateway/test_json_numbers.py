"""Large arrays of numbers in JSON are read piece by piece, and give what they give when they are read at once."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import json_cutting, json_numbers, json_tensors
from gateway.errors import BadRequest, GatewayError, InvalidTensor
from gateway.inference_protocol import DATATYPES, read_request
from gateway.json_numbers import Numbers
from gateway.json_tensors import DECODED, MAX_JSON_VALUES, decoded_base64, json_array, read_json
from gateway.pb.serving_pb2 import DataType, SignatureDef
from gateway.routes import tfserving
from gateway.tensors import Array, number_dtype

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
STRINGS = [
    '"a"',
    '"abcdefghijklmnop"',
    '"a/b\\/c+d\\/e="',
    '"abcdefghi\\\\/jkl"',
    '"abcdefghi\\tjkl"',
    '"abc\\\\"',
    '"abcdefghi\x01jkl"',
    '"abcdefghi\x7fjkl"',
    '"abcdefghi\u00e9jkl"',
    '{"b64": "YWJjZGVmZ2hpamts"}',
    '{"b64" :"YWJj\\/GVmZ2hpamts"}',
    '{"b64": "YWJjZGVmZ2hpamt"}',
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
SPACES = ["", "", " ", "\n\t ", "\r\n"]


BESIDE = ', "x": [1, [2]]'

POOLS = [
    STRINGS,
    WHOLE[:5],
    WHOLE,
    FRACTIONS,
    FRACTIONS + WHOLE,
    ["true", "false"],
    [*WHOLE, "NaN"],
    [*FRACTIONS, "-Infinity"],
]
"""Values of arrays, most of which some dtype holds."""

ODD_POOLS = [WHOLE + LARGE, ["null", "1"], [*FRACTIONS, "NaN", "1e400"], [*WHOLE, "true"], WHOLE + LARGE + ODD]
BROKEN_POOLS = [[*WHOLE, *BROKEN], [*FRACTIONS, *BROKEN, *ODD]]


@st.composite
def arrays(draw: st.DrawFn) -> str:
    """Text of nested lists: regular ones, and ones with a fault somewhere."""
    sizes = draw(st.lists(st.integers(1, 4), max_size=4))
    pools = draw(st.sampled_from([POOLS, POOLS, POOLS, ODD_POOLS, BROKEN_POOLS]))
    values = st.sampled_from(draw(st.sampled_from(pools)))
    ragged = draw(st.integers(0, 7)) == 0
    spaces = st.sampled_from(draw(st.sampled_from([[""], SPACES])))

    def text(level: int) -> str:
        if level == len(sizes) or (ragged and draw(st.integers(0, 9)) == 0):
            return draw(spaces) + draw(values) + draw(spaces)
        size = draw(st.integers(0, 4)) if ragged else sizes[level]
        listed = ",".join(text(level + 1) for _ in range(size))
        return f"{draw(spaces)}[{listed}]{draw(spaces)}"

    return text(0)


def rarely(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 11).flatmap(lambda drawn: text if drawn == 7 else st.just(""))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Bodies of :predict, most of them JSON, and the inputs of the signature that they are for."""
    names = draw(st.sampled_from([["x"], ["x"], ["x", "y"]]))
    kind = draw(st.integers(0, 4))
    if kind < 2:
        given = f'"{["inputs", "instances"][kind]}": {draw(arrays())}'
    elif kind == 2:
        given = '"inputs": {' + ", ".join(f'"{name}": {draw(arrays())}' for name in names) + "}"
    else:
        row = [draw(arrays()) for _ in names] if kind == 3 else None
        rows = [zip(names, row or [draw(arrays()) for _ in names], strict=True) for _ in range(draw(st.integers(1, 3)))]
        texts = [", ".join(f'"{name}": {one}' for name, one in each) for each in rows]
        given = '"instances": [' + ", ".join(f"{{{text}{draw(rarely(st.just(BESIDE)))}}}" for text in texts) + "]"
    keys = st.sampled_from(['"other"', '"other"', '"a\\"]["', '"\\\\"', '"é"']) | rarely(arrays())
    others = [f"{draw(keys) or BESIDE[2:5]}: {draw(arrays())}" for _ in range(draw(st.integers(0, 2)))]
    parts = [*others, given] if draw(st.booleans()) else [given, *others]
    broken = draw(rarely(st.sampled_from(["]", "[1,2]", ",", '"', ', "inputs": 1', "}"])))
    return "{" + ", ".join(parts) + "}" + broken, names if kind >= 2 else ["x"]


def signature(names: Mapping[str, int]) -> SignatureDef:
    described = SignatureDef()
    for name, dtype in names.items():
        described.inputs[name].dtype = DataType.Name(dtype)  # type: ignore[assignment]
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
        patch.setattr(json_cutting, "AS_BYTES", 2 * least)
        patch.setattr(json_cutting, "_WINDOW", piece)
        patch.setattr(json_numbers, "FEWEST", 1)
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

ordinary = settings(max_examples=250, deadline=None, derandomize=True, database=None)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@ordinary
@given(bodies(), st.sampled_from(DTYPES), SIZES)
@example(('{"inputs": [1[,2]]}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"inputs": [[1,2]3,[4,5]]}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"inputs": [[1],[]]}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"inputs": [[1,2],3]}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"inputs": 1, [1,2]: 3}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"inputs": {"x": {[1,2]: 3}, "x": 1}}', ["x"]), DTYPES[0], (2, 1000))
@example(('{"instances": [{"x": [1,2,3,4,5,6,7]}, {"x": [1,2,3,4,  5,6,7]}]}', ["x"]), DTYPES[0], (16, 1000))
def test_a_predict_body_gives_the_same_arrays_in_pieces_as_at_once(
    body: tuple[str, list[str]], dtype: int, piece_sizes: tuple[int, int]
) -> None:
    text, names = body
    with at_once():
        expected = predicted(text, dict.fromkeys(names, dtype))
    with sizes(0, *piece_sizes):
        assert predicted(text, dict.fromkeys(names, dtype)) == expected


@settings(ordinary, max_examples=100)
@given(arrays(), arrays(), st.sampled_from(list(DATATYPES.values())), st.booleans())
def test_an_infer_body_gives_the_same_arrays_in_pieces_as_at_once(
    one: str, beside: str, datatype: str, flat: bool
) -> None:
    shape: list[int] = []
    with at_once(), suppress(GatewayError):
        shape = list(json_array(read_json(one.encode()), DataType.DT_DOUBLE, "x").shape)
    if flat:
        one = "[" + one.replace("[", " ").replace("]", " ") + "]"
    text = (
        f'{{"inputs": [{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "data": {one}, '
        f'"parameters": {{"seen": {beside}}}}}], "unknown": {beside}}}'
    )
    with at_once():
        expected = inferred(text)
    with sizes(0, 16, 24):  # the shape is shorter
        assert inferred(text) == expected


def test_a_large_array_is_never_a_list() -> None:
    pixels = np.arange(2 * 40 * 60 * 3, dtype=np.uint8).reshape(2, 40, 60, 3)
    value = read_json(json.dumps({"inputs": pixels.tolist(), "rows": [{"a": one} for one in pixels.tolist()]}).encode())
    assert isinstance(value, dict)
    rows = [row["a"] for row in value["rows"]]
    for one, wanted in zip([value["inputs"], *rows], [pixels, *pixels], strict=True):
        assert isinstance(one, Numbers)
        assert one.shape == wanted.shape
        np.testing.assert_array_equal(one.array(DataType.DT_UINT8, "x"), wanted)


@pytest.mark.parametrize(("value", "position"), [("1.", 40_002), ("1 2", 40_002), ("tru", 40_003), ("01", 40_001)])
def test_a_number_in_a_large_array_that_is_none_is_named_by_its_position(value: str, position: int) -> None:
    with pytest.raises(BadRequest, match=r"The body is not JSON: .* at position") as caught:
        read_json(b"[" + b"1," * 20_000 + value.encode() + b",1" * 20_000 + b"]")
    assert int(str(caught.value).split()[-1].rstrip(".")) == pytest.approx(position, abs=3)


def test_more_values_than_any_request_has_outside_of_regular_arrays_are_refused_unparsed() -> None:
    ragged = [[1, 2], [1]] * (MAX_JSON_VALUES // 4)
    with pytest.raises(BadRequest, match="more than 50,000 values that are in no regular array"):
        read_json(json.dumps({"inputs": ragged}).encode())


def test_quotes_and_brackets_in_strings_do_not_mislead() -> None:
    odd = '"[\\' + "1, " * 400 + '"'
    slashes = "\\" * 150_001
    listed = list(range(30_000))
    text = json.dumps(
        {odd: odd, "\\": 1, "a": listed, slashes: [slashes, odd * 50, {"b": listed}], "é": "é"}, ensure_ascii=False
    )
    value = read_json(text.encode())
    assert isinstance(value, dict)
    assert list(value) == [odd, "\\", "a", slashes, "é"]
    assert value[odd] == odd
    assert value[slashes][:2] == [slashes, odd * 50]
    for one in (value["a"], value[slashes][2]["b"]):
        assert isinstance(one, Numbers)
        assert one.array(DataType.DT_INT32, "a").tolist() == listed


def test_a_long_string_is_never_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    loads = orjson.loads

    def noted(text: bytes) -> object:
        parsed.append(len(text))
        return loads(text)

    monkeypatch.setattr("gateway.json_tensors.orjson.loads", noted)
    monkeypatch.setattr(json_cutting, "_WINDOW", 1_001)  # some escapes are cut in two
    image = base64.b64encode(np.random.default_rng(0).bytes(300_000)).decode()
    rows = [{"b64": image}, {"b64": image[:40_000]}, {"b64": image.replace("/", "\\/")}, image[:70_000]]
    text = json.dumps({"instances": rows}).replace("\\\\/", "\\/")
    value = read_json(text.encode())
    assert value == {
        "instances": [
            {"b64": image.encode()},
            {"b64": image[:40_000]},
            {"b64": image.encode()},
            image[:70_000].encode(),
        ]
    }
    assert max(parsed) < 1_000


@pytest.mark.parametrize("size", [5_000, 500_000])
@pytest.mark.parametrize("wrong", [b"\xff", b"\\U003D", b"\\u003"], ids=["a byte", "a large U", "a short escape"])
def test_a_long_string_that_is_no_text_is_no_json(size: int, wrong: bytes) -> None:
    with pytest.raises(BadRequest, match="not JSON"):
        read_json(b'{"a": "' + b"a" * size + wrong + b'", "b": "' + b"b" * 70_000 + b'"}')


@pytest.mark.parametrize("ending", ["", "=", "==", "\\u003d", "\\u003D\\u003d", "\\\\u003d", "=\\u003d\\n"])
def test_base64_is_read_whatever_its_writer_escapes(ending: str) -> None:
    is_base64 = not ending.startswith("\\\\") and not ending.endswith("n")
    text = '{"a": "' + "QUJD" * 20_000 + ending + '"}'
    [value] = read_json(text.encode()).values()  # type: ignore[attr-defined]
    expected = json.loads(text)["a"]
    assert value == (expected.encode() if is_base64 else expected)


@pytest.mark.parametrize("one", ['"é"', " ", '"' + "k" * 5_000_000 + '": 1'])
def test_more_text_than_the_parser_may_take_at_once_is_refused_unparsed(one: str) -> None:
    with pytest.raises(BadRequest, match="more than 3,145,728 bytes beside"):
        read_json(b'{"a": "' + (one * (3_200_000 // len(one.encode()) + 1)).encode())


def test_a_long_key_stays_a_key() -> None:
    key = "k" * 100_000
    for space in ("", " ", "\n" * 100):
        text = json.dumps({key: [key], "b": {key: 1}}).replace(f'"{key}": 1', f'"{key}"{space}: 1')
        assert read_json(text.encode()) == {key: [key.encode()], "b": {key: 1}}


def test_a_body_is_let_go_of_once_it_is_read() -> None:
    for text in (b"[1,2]", b"[" + b"1," * 50_000 + b"1]", b"[" + b"1," * 50_000 + b"]", b"[1,"):
        body = bytearray(text)
        with suppress(BadRequest):
            read_json(body)
        assert not body


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (DataType.DT_UINT8, 255),
        (DataType.DT_INT64, 2**62 + 1),
        (DataType.DT_UINT64, 2**64 - 1),
        (DataType.DT_FLOAT, 2**60 + 2**36 + 1),  # by way of a double
        (DataType.DT_FLOAT, 0.1),
        (DataType.DT_DOUBLE, 1 / 3),
    ],
)
def test_the_numbers_of_a_large_array_keep_their_value(dtype: int, value: float) -> None:
    listed = [0, 1, value] * 10_000
    read = read_json(json.dumps(listed).encode())
    assert isinstance(read, Numbers)
    np.testing.assert_array_equal(read.array(dtype, "x"), np.array(listed, number_dtype(dtype)))


@pytest.mark.parametrize(
    ("dtype", "value", "why"),
    [
        (DataType.DT_UINT8, "256", "out of the range of uint8"),
        (DataType.DT_UINT8, "-1", "out of the range of uint8"),
        (DataType.DT_UINT64, "-1", "out of the range of uint64"),
        (DataType.DT_INT64, "9223372036854775808", "out of the range of int64"),
        (DataType.DT_INT32, "1.0", "does not hold a fraction"),
        (DataType.DT_FLOAT, "true", "does not hold a boolean"),
        (DataType.DT_BOOL, "1", "does not hold a whole number"),
        (DataType.DT_FLOAT, "null", "does not hold a null"),
        (DataType.DT_STRING, "1", 'takes strings or {"b64": "..."}, not a whole number'),
    ],
)
def test_a_value_in_a_large_array_that_its_dtype_does_not_hold_is_named(dtype: int, value: str, why: str) -> None:
    read = read_json(b"[" + b"1," * 40_000 + value.encode() + b"]")
    assert isinstance(read, Numbers)
    with pytest.raises(InvalidTensor, match=re.escape(why)):
        read.array(dtype, "x")


@pytest.mark.parametrize(
    "size", [0, 1, 2, 3, DECODED // 4 * 3 - 1, DECODED // 4 * 3, DECODED // 4 * 3 + 1, DECODED * 2]
)
def test_base64_of_any_length_is_read(size: int) -> None:
    content = np.random.default_rng(0).bytes(size)
    assert decoded_base64(base64.b64encode(content)) == content
    assert decoded_base64(base64.b64encode(content).decode()) == content


@pytest.mark.parametrize("given", [{}, [], 5, None, True])
def test_base64_that_is_no_text_is_refused(given: object) -> None:
    with pytest.raises(TypeError, match="no text"):
        decoded_base64(given)
    with pytest.raises(InvalidTensor, match="not base64"):
        json_array({"b64": given}, DataType.DT_STRING, "x")


WHOLE_PART = "A" * DECODED


@pytest.mark.parametrize(
    "text",
    ["A", "AA", "AA=A", "=AAA", "A\nAAA", "é", WHOLE_PART[:-4] + "AA==" + "AAAA", WHOLE_PART + "=", WHOLE_PART + "A"],
)
def test_what_is_no_base64_is_refused_wherever_it_is(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decoded_base64(text)


def test_whole_numbers_of_every_size_stay_arrays() -> None:
    for values in ([2**64 - 1] * 5000, [-1, 2**63] * 5000):
        numbers = read_json(json.dumps(values).encode())
        assert isinstance(numbers, Numbers)
        assert all(piece.dtype != np.object_ for piece in numbers.pieces)
        np.testing.assert_array_equal(numbers.array(DataType.DT_DOUBLE, "x"), np.array(values, np.float64))
        with pytest.raises(InvalidTensor, match="out of the range"):
            numbers.array(DataType.DT_INT64, "x")


def test_a_few_numbers_among_much_whitespace_stay_a_list() -> None:
    body = b'{"shape": [1,' + b" " * 10_000 + b'2], "data": [' + b"7," * 50_000 + b"7]}"
    value = read_json(body)
    assert isinstance(value, dict)
    assert value["shape"] == [1, 2]
    assert isinstance(value["data"], Numbers)
