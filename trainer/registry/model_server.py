"""Ask a model server over gRPC for the state of a version, the version of a label, and the answer to a test image."""

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from trainer.registry.trial import Arrays, TrialError, reason, try_signatures

CALL_SECONDS = 5.0
"""Time limit of a call."""

FIRST_CALL_SECONDS = 60.0
"""Time limit of the first prediction of a version, in which TensorFlow may optimise or compile its graph."""

_State = get_model_status_pb2.ModelVersionStatus.State


class ModelServer:
    """A connection to a model server.

    Args:
        target: gRPC address of the server, ``host:port``.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self._channel = grpc.insecure_channel(target)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def version_status(self, name: str, version: int) -> tuple[str, str]:
        """Returns the state of a version and its error message; the state is `UNKNOWN` if the server does not know it.

        Raises:
            grpc.RpcError: The server did not answer.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        request.model_spec.version.value = version
        try:
            answer = self._models.GetModelStatus(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return "UNKNOWN", ""
            raise
        # A version is listed more than once if it failed and is tried again; the newest entry comes first.
        for status in answer.model_version_status:
            if status.version == version:
                return _State.Name(status.state), status.status.error_message
        return "UNKNOWN", ""

    def labelled_version(self, name: str, label: str) -> int | None:
        """Returns the version that a label stands for, or None if the server does not know the label.

        Raises:
            grpc.RpcError: The server did not answer.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        request.model_spec.version_label = label
        try:
            answer = self._predictions.GetModelMetadata(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                return None
            raise
        return int(answer.model_spec.version.value)

    def try_out(self, name: str, version: int) -> str:
        """Sends a test image to a version and returns a sentence about the answer.

        Raises:
            TrialError: The call failed, or the number of scores is not the number of labels.
            grpc.RpcError: The server did not answer.
        """
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        request.model_spec.version.value = version
        packed = self._predictions.GetModelMetadata(request, timeout=CALL_SECONDS).metadata["signature_def"]
        signatures = get_model_metadata_pb2.SignatureDefMap()
        packed.Unpack(signatures)
        return try_signatures(signatures.signature_def, lambda key, inputs: self._call(name, version, key, inputs))

    def _call(self, name: str, version: int, key: str, inputs: Arrays) -> Arrays:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.version.value = version
        request.model_spec.signature_name = key
        for alias, array in inputs.items():
            request.inputs[alias].CopyFrom(tf.make_tensor_proto(array))
        try:
            answer = self._predictions.Predict(request, timeout=FIRST_CALL_SECONDS)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
                raise
            raise TrialError(f"loads, but fails when it is called: {reason(error.details() or '')}") from error
        return {alias: tf.make_ndarray(tensor) for alias, tensor in answer.outputs.items()}
