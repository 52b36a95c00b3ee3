"""TensorFlow Serving's gRPC services. Their clients only need another address."""

from __future__ import annotations

import re

from gateway.errors import BadRequest, UnknownModel, UnknownVersion
from gateway.grpc_api.calls import Method
from gateway.grpc_api.fields import length_delimited_fields, parsed
from gateway.inference.predictor import TensorRequest
from gateway.model_options import MODEL_NAME
from gateway.pb.serving_pb2 import (
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelSpec,
    ModelStatusRequest,
    ModelStatusResponse,
    PredictRequest,
)
from gateway.services import tensorflow_serving
from gateway.services.services import Call, Services
from gateway.serving.backend import Selector

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"

SIGNATURE_DEF = "signature_def"
SIGNATURES_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"

MAX_LABEL_CHARACTERS = 128


async def predict(services: Services, call: Call, message: bytes) -> bytes:
    """Run a signature."""
    number = PredictRequest.MODEL_SPEC_FIELD_NUMBER
    # A field that occurs several times is one message in pieces.
    spec = parsed(ModelSpec, b"".join(length_delimited_fields(message, {number}).get(number, [])))
    model, selector = _target(spec)
    call.record.image_bytes = len(message)
    async with services.admit(call, 1):
        arguments = {"max_bytes": services.settings.max_tensor_body_bytes}
        request = TensorRequest("tensorflow_serving_grpc_request", [message], arguments, call.count_images)
        answer = await tensorflow_serving.predict(services, call, model, selector, request)
        if len(answer.answers) == 1:
            return answer.answers[0]
        joined = {
            "rows": answer.rows,
            "model": model,
            "version": answer.served.version,
            "signature": answer.request["signature"],
        }
        written = await services.predictor.write(
            "tensorflow_serving_grpc_response", joined, answer.answers, call.deadline, call.record
        )
        return written.buffers[0]


async def get_model_metadata(services: Services, _: Call, message: bytes) -> bytes:
    """The signatures of a version."""
    request = parsed(ModelMetadataRequest, message)
    model, selector = _target(request.model_spec)
    if not request.metadata_field:
        raise BadRequest("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise BadRequest(f"Metadata field {field[:80]} is not supported")
    served = await tensorflow_serving.described(services, model, selector)
    response = ModelMetadataResponse()
    response.model_spec.name = model
    response.model_spec.version.value = served.version
    # Not Any.Pack: it would write the name of our message.
    response.metadata[SIGNATURE_DEF].type_url = SIGNATURES_TYPE
    response.metadata[SIGNATURE_DEF].value = served.signature_map
    return response.SerializeToString()


async def get_model_status(services: Services, _: Call, message: bytes) -> bytes:
    """The states of all versions, or of one. A label is ignored, as by the real server."""
    request = parsed(ModelStatusRequest, message)
    model, selector = _target(request.model_spec)
    versions = await tensorflow_serving.versions(services, model)
    if selector.version is not None:
        versions = tensorflow_serving.state_of(versions, model, selector.version)
    response = ModelStatusResponse(model_version_status=versions)
    for version_status in response.model_version_status:
        if version_status.status.error_message:
            version_status.status.error_message = tensorflow_serving.HIDDEN_REASON
    return response.SerializeToString()


def _target(spec: ModelSpec) -> tuple[str, Selector]:
    """The model and the version that a request is for, with the errors of the real server."""
    if not spec.name:
        raise BadRequest("Missing ModelSpec" if spec == ModelSpec() else "ModelSpec has no name specified.")
    if not re.fullmatch(MODEL_NAME, spec.name):
        raise UnknownModel(f"Servable not found for request: Latest({spec.name[:80]})")
    choice = spec.WhichOneof("version_choice")
    if choice == "version":
        if spec.version.value < 0:
            raise UnknownVersion(f"Servable not found for request: Specific({spec.name}, {spec.version.value})")
        return spec.name, Selector(version=spec.version.value)
    if choice == "version_label":
        if not 1 <= len(spec.version_label) <= MAX_LABEL_CHARACTERS:
            raise BadRequest(f"Unrecognized servable version label: {spec.version_label[:MAX_LABEL_CHARACTERS]}")
        return spec.name, Selector(label=spec.version_label)
    return spec.name, Selector()


SERVICES = {
    PREDICTION_SERVICE: {
        "Predict": Method(predict, has_tensors=True),
        "GetModelMetadata": Method(get_model_metadata),
    },
    MODEL_SERVICE: {"GetModelStatus": Method(get_model_status)},
}
"""The methods of each service."""
