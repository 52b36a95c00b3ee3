from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.grpc_api.fields import MAX_BYTES, MAX_FIELDS, length_delimited_fields
from gateway.pb.open_inference_pb2 import ModelInferRequest
from gateway.pb.serving_pb2 import ModelSpec, PredictRequest


def test_fields_are_found_among_others_and_in_order() -> None:
    request = ModelInferRequest(model_name="one", model_version="7", id="x", raw_input_contents=[bytes(100_000)] * 3)
    message = request.SerializeToString() + ModelInferRequest(model_name="two").SerializeToString()
    assert length_delimited_fields(message, {1, 2}) == {1: [b"one", b"two"], 2: [b"7"]}
    assert length_delimited_fields(b"", {1}) == {}


names = st.text(max_size=20)


@given(
    model=names, signature=names, version=st.integers(0, 2**63 - 1), outputs=st.lists(names, max_size=3),
    split=st.booleans(),
)  # fmt: skip
def test_the_model_spec_is_the_one_that_protobuf_reads(
    model: str, signature: str, version: int, outputs: list[str], split: bool
) -> None:
    request = PredictRequest(output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = model, signature
    message = request.SerializeToString()
    if split:  # protobuf merges a message field that occurs twice
        second = PredictRequest()
        second.model_spec.version.value = version
        message += second.SerializeToString()
    spec = b"".join(length_delimited_fields(message, {1}).get(1, []))
    assert ModelSpec.FromString(spec) == PredictRequest.FromString(message).model_spec


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    try:
        fields = length_delimited_fields(message, {1})
    except BadRequest:
        return
    try:
        parsed = ModelInferRequest.FromString(message)
    except DecodeError:
        return  # protobuf also checks what lies within the fields
    assert [one.decode() for one in fields.get(1, [b""])][-1] == parsed.model_name


def test_what_would_take_long_is_refused() -> None:
    assert length_delimited_fields(b"\x18\x01" * (MAX_FIELDS - 1) + b"\x0a\x01x", {1}) == {1: [b"x"]}
    for message in (b"\x18\x01" * (MAX_FIELDS + 1), b"\x0a" + b"\x80\x80\x04" + bytes(MAX_BYTES)):
        with pytest.raises(BadRequest):
            length_delimited_fields(message + b"\x0a\x01x", {1})
