"""Parse and write the bodies of TensorFlow Serving's REST interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from gateway.errors import BadRequest, InvalidTensor
from gateway.pb.serving_pb2 import SignatureDef
from gateway.tensors.json_values import Text, is_binary, json_array, json_strings, read_json, write_json
from gateway.tensors.messages import Inputs, Signatures
from gateway.tensors.signature_check import check_names
from gateway.tensors.wire import Array

BINARY_SUFFIX = "_bytes"
"""Suffix of string outputs that are returned as base64."""


@dataclass(frozen=True, slots=True)
class PredictBody:
    """A predict request. If it has rows (``instances``), the answer has too."""

    signature: str
    by_row: bool
    inputs: Inputs


def read_request(body: Text, signatures: Signatures) -> PredictBody:
    """Read the body of a predict request.

    Raises:
        BadRequest: The body cannot be parsed.
        SignatureMissing: The version does not have the signature.
        InvalidTensor: The tensors do not match the signature.
    """
    value = read_json(body)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    name = value.get("signature_name", "")
    if not isinstance(name, str):
        raise BadRequest("signature_name must be a string.")
    if ("instances" in value) == ("inputs" in value):
        raise BadRequest("The body must have either instances or inputs.")
    by_row = "instances" in value
    key = name or signatures.default
    signature = signatures.find(key)
    columns = _rows(value["instances"], signature) if by_row else _columns(value["inputs"], signature)
    check_names(signature, columns)
    arrays = {name: json_array(column, signature.inputs[name].dtype, name) for name, column in columns.items()}
    return PredictBody(key, by_row, signatures.inputs(key, arrays))


def write_response(outputs: Mapping[str, Array], *, by_row: bool) -> bytes:
    """The body of an answer.

    Raises:
        BadRequest: The outputs do not have one row for each instance.
    """
    columns = {name: _json(name, array) for name, array in outputs.items()}
    if not by_row:
        return write_json({"outputs": next(iter(columns.values())) if len(columns) == 1 else columns})
    if len({array.shape[:1] or None for array in outputs.values()}) != 1 or not all(
        array.ndim for array in outputs.values()
    ):
        raise BadRequest("The outputs do not have one row for each instance: use inputs instead of instances.")
    if len(columns) == 1:
        return write_json({"predictions": next(iter(columns.values()))})
    rows = zip(*columns.values(), strict=True)
    return write_json({"predictions": [dict(zip(columns, row, strict=True)) for row in rows]})


def _columns(value: object, signature: SignatureDef) -> dict[str, object]:
    if isinstance(value, dict) and not is_binary(value):
        return value
    return {_only_input(signature): value}


def _rows(rows: object, signature: SignatureDef) -> dict[str, object]:
    if not isinstance(rows, list) or not rows:
        raise InvalidTensor("instances must be a list of at least one row.")
    if not isinstance(rows[0], dict) or is_binary(rows[0]):
        return {_only_input(signature): rows}
    names = rows[0].keys()
    if any(not isinstance(row, dict) or row.keys() != names for row in rows):
        raise InvalidTensor("Every row of instances must name the same inputs.")
    objects = cast(list[dict[str, object]], rows)
    return {name: [row[name] for row in objects] for name in names}


def _only_input(signature: SignatureDef) -> str:
    names = list(signature.inputs)
    if len(names) != 1:
        raise InvalidTensor(f"The inputs must be named: the signature takes {', '.join(sorted(names))}.")
    return names[0]


def _json(name: str, array: Array) -> object:
    """A value for `write_json`: an array of numbers, or nested lists of strings."""
    if array.dtype == object:
        return json_strings(array, binary=name.endswith(BINARY_SUFFIX))
    return array if array.ndim else array[()]
