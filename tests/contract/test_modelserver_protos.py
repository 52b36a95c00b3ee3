"""modelserver's own messages say on the wire what TensorFlow Serving's say."""

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import model_management_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from modelserver.pb import management_pb2
from modelserver.pb import saved_model_pb2 as ours_saved

PAIRS: list[tuple[type[Message], type[Message]]] = [
    (management_pb2.ModelServerConfig, model_server_config_pb2.ModelServerConfig),
    (management_pb2.ReloadConfigRequest, model_management_pb2.ReloadConfigRequest),
    (management_pb2.ReloadConfigResponse, model_management_pb2.ReloadConfigResponse),
    (ours_saved.SavedModel, saved_model_pb2.SavedModel),
    (ours_saved.MetaGraph, meta_graph_pb2.MetaGraphDef),
    (ours_saved.PredictionLog, prediction_log_pb2.PredictionLog),
    (ours_saved.PredictLog, prediction_log_pb2.PredictLog),
]
BYTES, MESSAGE, ENUM, INT32 = (
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_INT32,
)


def check(ours: Descriptor, upstream: Descriptor) -> None:
    for field in ours.fields:
        other = upstream.fields_by_number[field.number]
        assert (field.name, field.is_repeated, field.is_packed) == (other.name, other.is_repeated, other.is_packed)
        # A message may be kept as its bytes, and an enum travels as an int32 does.
        same = field.type == other.type or (field.type, other.type) in {(BYTES, MESSAGE), (INT32, ENUM)}
        assert same, field.full_name
        message_type, other_type = field.message_type, other.message_type
        if field.type == MESSAGE and message_type and other_type and message_type.full_name != other_type.full_name:
            check(message_type, other_type)


@pytest.mark.parametrize(("ours", "upstream"), PAIRS, ids=lambda one: one.DESCRIPTOR.name)
def test_every_field_is_the_one_of_that_number_upstream(ours: type[Message], upstream: type[Message]) -> None:
    check(ours.DESCRIPTOR, upstream.DESCRIPTOR)  # type: ignore[arg-type]


def test_every_field_of_a_model_in_the_configuration_file_can_be_read() -> None:
    ours = management_pb2.ModelServerConfig.DESCRIPTOR.file.message_types_by_name["ModelConfig"]
    assert set(ours.fields_by_name) == set(model_server_config_pb2.ModelConfig.DESCRIPTOR.fields_by_name)
