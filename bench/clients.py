"""Clients: gRPC calls to the model server, and HTTP requests with a photo."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from gateway.images import Target, decode_image
from gateway.pb.serving_pb2 import PredictRequest, PredictResponse
from gateway.tensors.wire import number_array
from testing.tensors import number_tensor

PREDICT = "/tensorflow.serving.PredictionService/Predict"
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # otherwise, all channels of a process share a connection
)
TIMEOUT_SECONDS = 60.0
MAX_CLASSES = 1_000_000

Send: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"


def request_for(model: str, pixels: npt.NDArray[np.uint8]) -> bytes:
    """A serialised request to the signature ``pixels``.

    Args:
        model: Its name.
        pixels: uint8 (n, height, width, 3), RGB.
    """
    request = PredictRequest(output_filter=["probabilities"])
    request.model_spec.name = model
    request.model_spec.signature_name = "pixels"
    request.inputs["images"].CopyFrom(number_tensor(pixels))
    return request.SerializeToString()


class ReadyTensors:
    """Sends prepared requests, to measure the model server alone."""

    def __init__(self, address: str, requests: Sequence[bytes]) -> None:
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._send: Send = self._channel.unary_unary(PREDICT)
        self._requests = requests

    def call(self, photo: int) -> bytes:
        """See `Caller`."""
        return self._send(self._requests[photo], timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """See `Caller`."""
        self._channel.close()


class DecodeThenSend:
    """Decodes a photo and sends its pixels: the minimal work, without a gateway."""

    def __init__(self, address: str, model: str, photos: Sequence[bytes], target: Target) -> None:
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._send: Send = self._channel.unary_unary(PREDICT)
        self._model, self._photos, self._target = model, photos, target

    def call(self, photo: int) -> bytes:
        """See `Caller`."""
        pixels = decode_image(self._photos[photo], self._target)
        return self._send(request_for(self._model, pixels[None]), timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """See `Caller`."""
        self._channel.close()


def scores_of(answer: bytes) -> list[float]:
    """The probabilities in an answer of the model server for one photo."""
    scores = number_array(PredictResponse.FromString(answer).outputs["probabilities"], max_elements=MAX_CLASSES)
    return [float(score) for score in scores.reshape(-1)]


class HttpError(Exception):
    """The answer was not 200, or there was none."""


class HttpCaller:
    """Posts prepared requests over a persistent connection.

    It uses a plain socket, because a general HTTP client takes more CPU time per request than the gateway.
    """

    def __init__(self, host: str, port: int, requests: Sequence[bytes]) -> None:
        self._requests = requests
        self._socket = socket.create_connection((host, port), timeout=TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, photo: int) -> bytes:
        """See `Caller`; returns the body."""
        self._socket.sendall(self._requests[photo])
        received = self._socket.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end].lower()
        at = head.find(b"content-length:")
        if at < 0:
            raise HttpError("the response has no Content-Length")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        body = received[end + 4 :]
        while len(body) < length:
            body += self._more()
        if not received.startswith(b"HTTP/1.1 200 "):
            raise HttpError(f"{received.partition(b' ')[2][:3].decode()}: {body[:300]!r}")
        return body

    def close(self) -> None:
        """See `Caller`."""
        self._socket.close()

    def _more(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise HttpError("the connection was closed")
        return piece


BOUNDARY = "a8d1f0c35b7e"


def form_request(path: str, host: str, fields: Sequence[tuple[str, str, bytes]]) -> bytes:
    """A POST request with a multipart form; a field is a name, file name and content."""
    body = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, filename, content in fields
    )
    body += f"--{BOUNDARY}--\r\n".encode()
    return _post(path, host, f"multipart/form-data; boundary={BOUNDARY}", body)


def json_request(path: str, host: str, body: bytes) -> bytes:
    """A POST request with JSON."""
    return _post(path, host, "application/json", body)


def _post(path: str, host: str, content_type: str, body: bytes) -> bytes:
    headers: Mapping[str, str] = {"Host": host, "Content-Type": content_type, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
