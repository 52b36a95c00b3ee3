"""A model server that computes nothing, to measure the gateway alone: ``python -m bench.idle_server``.

It implements TensorFlow Serving's protocol and returns the same scores for every photo. Requests are not parsed, so
only gRPC takes time.
"""

import argparse
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from gateway.pb import serving_pb2 as pb
from testing.tensors import number_tensor, string_tensor

MODEL = "idle"
SIZE = 224
CLASSES = 12


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle_server")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    server = grpc.server(
        ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    )
    services: dict[str, dict[str, Callable[[bytes], bytes]]] = {
        "tensorflow.serving.PredictionService": {"Predict": _predict, "GetModelMetadata": _fixed(_metadata())},
        "tensorflow.serving.ModelService": {"GetModelStatus": _fixed(_status())},
    }
    for name, methods in services.items():
        handlers = {method: _unary(answer) for method, answer in methods.items()}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    threading.Event().wait()


def _unary(answer: Callable[[bytes], bytes]) -> "grpc.RpcMethodHandler[bytes, bytes]":
    return grpc.unary_unary_rpc_method_handler(lambda request, _: answer(request))


def _fixed(message: bytes) -> Callable[[bytes], bytes]:
    return lambda _: message


def _predict(request: bytes) -> bytes:
    if len(request) < 1000:
        return _CARD
    rows = -(-len(request) // (SIZE * SIZE * 3 + 1000))
    return _SCORES[rows]


def _answer(outputs: dict[str, pb.Tensor]) -> bytes:
    response = pb.PredictResponse()
    response.model_spec.name = MODEL
    response.model_spec.version.value = 1
    for name, tensor in outputs.items():
        response.outputs[name].CopyFrom(tensor)
    return response.SerializeToString()


def _scores(rows: int) -> bytes:
    scores = np.linspace(1, 2, CLASSES, dtype=np.float32)
    return _answer({"probabilities": number_tensor(np.tile(scores / scores.sum(), (rows, 1)))})


def _card() -> bytes:
    card = {
        "schema": 1,
        "name": MODEL,
        "task": "image-classification",
        "labels": [f"class {number}" for number in range(CLASSES)],
        "input": {"height": SIZE, "width": SIZE, "fit": "crop", "interpolation": "bilinear"},
    }
    return _answer({"card": string_tensor([json.dumps(card).encode()])})


def _metadata() -> bytes:
    signatures = pb.SignatureDefMap()
    for name, inputs, output in (
        (
            "pixels",
            ("images", pb.DataType.DT_UINT8, (-1, SIZE, SIZE, 3)),
            ("probabilities", pb.DataType.DT_FLOAT, (-1, CLASSES)),
        ),
        ("describe", ("request", pb.DataType.DT_INT32, (-1,)), ("card", pb.DataType.DT_STRING, (-1,))),
    ):
        signature = signatures.signature_def[name]
        signature.method_name = "tensorflow/serving/predict"
        for side, (alias, dtype, shape) in ((signature.inputs, inputs), (signature.outputs, output)):
            side[alias].dtype = dtype
            for size in shape:
                side[alias].tensor_shape.dim.add(size=size)
    response = pb.ModelMetadataResponse()
    response.model_spec.name = MODEL
    response.model_spec.version.value = 1
    response.metadata["signature_def"].type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    response.metadata["signature_def"].value = signatures.SerializeToString()
    return response.SerializeToString()


def _status() -> bytes:
    response = pb.ModelStatusResponse()
    response.model_version_status.add(version=1, state=pb.ModelVersionStatus.State.AVAILABLE)
    return response.SerializeToString()


_CARD = _card()
_SCORES = {rows: _scores(rows) for rows in range(1, 129)}

if __name__ == "__main__":
    main()
