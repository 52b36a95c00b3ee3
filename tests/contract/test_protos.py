"""The gateway's own messages say on the wire what TensorFlow's say, and what was generated from them is current."""

import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from gateway.pb import serving_pb2
from gateway.tensors.wire import strings

ROOT = Path(__file__).parents[2]

UPSTREAM_NAMES = {
    "Tensor": "tensorflow.TensorProto",
    "TensorShape": "tensorflow.TensorShapeProto",
    "SignatureDef": "tensorflow.SignatureDef",
    "TensorInfo": "tensorflow.TensorInfo",
    "DataType": "tensorflow.DataType",
    "Status": "tensorflow.serving.StatusProto",
    "ModelStatusRequest": "tensorflow.serving.GetModelStatusRequest",
    "ModelStatusResponse": "tensorflow.serving.GetModelStatusResponse",
    "ModelMetadataRequest": "tensorflow.serving.GetModelMetadataRequest",
    "ModelMetadataResponse": "tensorflow.serving.GetModelMetadataResponse",
}
"""Those that are called otherwise upstream; the rest have the same name in `tensorflow.serving`."""


def upstream_name(ours: str) -> str:
    """Returns what a message of breed_gateway.serving, or of Google's own, is called upstream."""
    package, _, name = ours.partition("breed_gateway.serving.")
    if package:
        return ours  # google.protobuf: the very same
    top, dot, nested = name.partition(".")
    return UPSTREAM_NAMES.get(top, f"tensorflow.serving.{top}") + dot + nested


def upstream_messages() -> dict[str, Descriptor]:
    """Returns all messages that can be reached from the three calls, by full name."""
    messages: dict[str, Descriptor] = {}
    waiting = [
        message.DESCRIPTOR
        for module in (predict_pb2, get_model_status_pb2, get_model_metadata_pb2)
        for name, message in vars(module).items()
        if name in module.DESCRIPTOR.message_types_by_name
    ]
    while waiting:
        message = waiting.pop()
        if message.full_name not in messages:
            messages[message.full_name] = message
            waiting += message.nested_types
            waiting += [field.message_type for field in message.fields if field.message_type]
    return messages


def with_nested(messages: list[Descriptor]) -> list[Descriptor]:
    return [descendant for message in messages for descendant in (message, *with_nested(list(message.nested_types)))]


OUR_MESSAGES = with_nested(list(serving_pb2.DESCRIPTOR.message_types_by_name.values()))
OUR_ENUMS = [
    *serving_pb2.DESCRIPTOR.enum_types_by_name.values(),
    *(enum for message in OUR_MESSAGES for enum in message.enum_types),
]
UPSTREAM = upstream_messages()
UPSTREAM_ENUMS = {
    field.enum_type.full_name: field.enum_type
    for message in UPSTREAM.values()
    for field in message.fields
    if field.enum_type
}


def on_the_wire(field: FieldDescriptor) -> tuple[object, ...]:
    """Returns all that decides how a field is written: number, type, repetition, packing, and what lies within."""
    # An enum travels as an int32 does.
    kind = FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type
    message_type = upstream_name(field.message_type.full_name) if field.message_type else None
    return (field.name, field.number, kind, field.is_repeated, field.is_packed, message_type)


@pytest.mark.parametrize("ours", OUR_MESSAGES, ids=lambda message: message.full_name)
def test_every_field_is_the_one_of_that_number_upstream(ours: Descriptor) -> None:
    upstream = UPSTREAM[upstream_name(ours.full_name)]
    for field in ours.fields:
        assert field.number in upstream.fields_by_number
        assert on_the_wire(field) == on_the_wire(upstream.fields_by_number[field.number])


@pytest.mark.parametrize("ours", OUR_MESSAGES, ids=lambda message: message.full_name)
def test_fields_exclude_each_other_as_they_do_upstream(ours: Descriptor) -> None:
    upstream = UPSTREAM[upstream_name(ours.full_name)]
    for choice in upstream.oneofs:
        fields = [ours.fields_by_number.get(field.number) for field in choice.fields]
        together = {field.containing_oneof for field in fields if field}
        # One alone excludes nothing: TensorInfo is read for its name only.
        assert len(together) <= 1
    for choice in ours.oneofs:
        assert {field.name for field in choice.fields} <= {
            field.name for field in upstream.oneofs_by_name[choice.name].fields
        }


@pytest.mark.parametrize("ours", OUR_ENUMS, ids=lambda enum: enum.full_name)
def test_every_value_of_an_enum_is_the_one_of_that_name_upstream(ours: EnumDescriptor) -> None:
    upstream = UPSTREAM_ENUMS[upstream_name(ours.full_name)]
    for value in ours.values:
        assert upstream.values_by_name[value.name].number == value.number


def test_a_request_is_read_upstream_as_it_was_meant() -> None:
    ours = serving_pb2.PredictRequest(output_filter=["probabilities"])
    ours.model_spec.name, ours.model_spec.signature_name = "dog_breed", "pixels"
    ours.model_spec.version.value = 3
    ours.inputs["images"].dtype = serving_pb2.DT_UINT8
    ours.inputs["images"].tensor_shape.dim.add(size=2)
    ours.inputs["images"].tensor_content = b"\x01\x02"

    theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())

    assert theirs.model_spec.version.value == 3
    assert (theirs.model_spec.name, theirs.model_spec.signature_name) == ("dog_breed", "pixels")
    assert list(theirs.output_filter) == ["probabilities"]
    assert theirs.inputs["images"].tensor_content == b"\x01\x02"
    assert [dim.size for dim in theirs.inputs["images"].tensor_shape.dim] == [2]
    assert theirs.SerializeToString(deterministic=True) == ours.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        ([b"a"], (1,)),
        ([b""], ()),
        ([], (0, 3)),
        ([b"", b"x" * 127, b"y" * 128, bytes(range(256)) * 100] * 300, (400, 3)),
    ],
)
def test_strings_are_read_upstream_as_they_were_meant(values: list[bytes], shape: tuple[int, ...]) -> None:
    theirs = tensor_pb2.TensorProto.FromString(b"".join(strings(values, shape)))

    assert theirs.dtype == types_pb2.DT_STRING
    assert tuple(dim.size for dim in theirs.tensor_shape.dim) == shape
    assert list(theirs.string_val) == values


def test_the_messages_live_in_a_package_of_their_own() -> None:
    file = descriptor_pb2.FileDescriptorProto()
    serving_pb2.DESCRIPTOR.CopyToProto(file)
    assert file.package == "breed_gateway.serving"


def test_what_was_generated_is_current(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "scripts/protos", tmp_path], env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}, check=True
    )
    generated = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*_pb2.py*"))
    assert [str(path) for path in generated] == [
        "gateway/pb/health_pb2.py",
        "gateway/pb/health_pb2.pyi",
        "gateway/pb/open_inference_pb2.py",
        "gateway/pb/open_inference_pb2.pyi",
        "gateway/pb/serving_pb2.py",
        "gateway/pb/serving_pb2.pyi",
        "modelserver/pb/batching_pb2.py",
        "modelserver/pb/batching_pb2.pyi",
        "modelserver/pb/management_pb2.py",
        "modelserver/pb/management_pb2.pyi",
        "modelserver/pb/saved_model_pb2.py",
        "modelserver/pb/saved_model_pb2.pyi",
    ]
    for path in generated:
        assert (ROOT / path).read_text() == (tmp_path / path).read_text(), f"{path} is old: run scripts/protos"
