"""Random calls of the gateway's gRPC port: ``python -m testing.grpc_fuzz [CALLS] [SEED]`` counts the codes.

Messages are random bytes, messages with random fields, and good requests of which bytes are changed, cut or doubled.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from gateway.pb import health_pb2
from gateway.pb import open_inference_pb2 as inference
from gateway.pb import serving_pb2 as pb
from testing.colour_scores import COLOURS
from testing.grpc_calls import HEALTH, INFER, METADATA, PREDICT, STATUS, method, predict_request, trailing
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS
from testing.tensors import number_tensor, string_tensor

SERVICE = "/inference.GRPCInferenceService"
PATHS = [
    *([PREDICT, INFER] * 4),
    METADATA,
    STATUS,
    HEALTH,
    f"{SERVICE}/ModelReady",
    f"{SERVICE}/ModelMetadata",
    f"{SERVICE}/ServerMetadata",
    f"{SERVICE}/ServerReady",
    f"{SERVICE}/ServerLive",
    "/tensorflow.serving.PredictionService/Classify",
]

DOCUMENTED = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
}
"""Codes that requests can cause by themselves, while nothing else is wrong."""

MODELS = ["colours", "doubler", "encoded", "nope", "", "a/b", "é", "x" * 300]
PHOTOS = [photo(colour, encoding=kind) for colour in COLOURS for kind in ("PNG", "JPEG", "WEBP")]
DATATYPES = ["FP32", "UINT8", "INT8", "INT64", "BYTES", "FP16", "BF16", "BOOL", "", "é"]


def message(draw: random.Random, path: str) -> bytes:
    """A random message for a method."""
    kind = draw.random()
    if kind < 0.1:
        return draw.randbytes(draw.choice([0, 1, 5, 50, 2000]))
    make: Callable[[random.Random], bytes] = {PREDICT: _predict, INFER: _infer}.get(path, _small)
    content = make(draw)
    return _damaged(draw, content) if kind < 0.5 else content


def _damaged(draw: random.Random, content: bytes) -> bytes:
    body = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(body) + 1)
        change = draw.randrange(4)
        if change == 0 and at < len(body):
            body[at] = draw.randrange(256)
        elif change == 1:
            del body[at : at + draw.randint(1, 20)]
        elif change == 2:
            body[at:at] = draw.randbytes(draw.randint(1, 20))
        else:
            body += body[:at]
    return bytes(body[:200_000])


def _shape(draw: random.Random) -> list[int]:
    sizes = [0, 1, 1, 2, 2, 3, 8, -1, 64, 10**6, 2**62]
    return [draw.choice(sizes) for _ in range(draw.choice([0, 1, 1, 2, 2, 4, 20]))]


def _tensor(draw: random.Random) -> pb.Tensor:
    kind = draw.randrange(5)
    if kind == 0:
        return number_tensor(np.ones((draw.randint(0, 4), 2), draw.choice([np.float32, np.int32])))
    if kind == 1:
        return string_tensor(
            [draw.choice([*PHOTOS, b"", b"text", draw.randbytes(40)]) for _ in range(draw.randint(0, 3))]
        )
    if kind == 2:
        return number_tensor(np.zeros((draw.randint(1, 2), 8, draw.choice([8, 7]), 3), np.uint8))
    tensor = pb.Tensor()
    tensor.dtype = draw.choice([*pb.DataType.values(), 18, 99])  # type: ignore[assignment]
    for size in _shape(draw):
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = draw.randbytes(draw.choice([0, 0, 4, 24]))
    tensor.float_val.extend([draw.choice([0.5, float("nan"), float("inf")])] * draw.randint(0, 4))
    tensor.int_val.extend([draw.choice([1, -1, 300, 2**31 - 1])] * draw.randint(0, 4))
    tensor.half_val.extend([draw.choice([1, 70_000])] * draw.randint(0, 2))
    tensor.string_val.extend([draw.randbytes(3)] * draw.randint(0, 2))
    return tensor


def _spec(draw: random.Random) -> pb.ModelSpec:
    version = draw.choice([None, None, 1, 2, 4, 77, -1, 2**63 - 1, "stable", "no", ""])
    signature = draw.choice(["", "", "pixels", "describe", "explain", "serving_default", "no"])
    return predict_request(draw.choice(MODELS), version, signature).model_spec


def _predict(draw: random.Random) -> bytes:
    request = pb.PredictRequest(model_spec=_spec(draw))
    for _ in range(draw.choice([0, 1, 1, 1, 1, 2])):
        request.inputs[draw.choice(["x", "images", "image_bytes", "request", ""])].CopyFrom(_tensor(draw))
    request.output_filter.extend(draw.choices(["y", "scores", "probabilities", "no"], k=draw.choice([0, 0, 1, 2])))
    return request.SerializeToString()


def _infer(draw: random.Random) -> bytes:
    request = inference.ModelInferRequest(
        model_name=draw.choice(MODELS), model_version=draw.choice(["", "", "1", "4", "x", "-1", "9" * 30]), id="i"
    )
    for name in draw.sample(["top_k", "signature_name", "other"], draw.choice([0, 0, 1, 2])):
        field = draw.choice(["bool_param", "int64_param", "string_param", "double_param", "uint64_param"])
        value = {"bool_param": True, "string_param": "describe", "double_param": 1.5}.get(field, draw.choice([1, 0, 9]))
        setattr(request.parameters[name], field, value)
    for _ in range(draw.choice([0, 1, 1, 1, 2])):
        tensor = request.inputs.add(
            name=draw.choice(["x", "images", "any", ""]), datatype=draw.choice(DATATYPES), shape=_shape(draw)
        )
        if draw.random() < 0.5:
            tensor.shape[:] = [draw.randint(1, 2), 2]
            tensor.contents.fp32_contents.extend([1.0] * tensor.shape[0] * 2)
            tensor.contents.int_contents.extend([draw.choice([1, 300])] * 4)
        if draw.random() < 0.3:
            tensor.datatype, tensor.shape[:] = "BYTES", [1]
            tensor.contents.bytes_contents.append(draw.choice([*PHOTOS, b""]))
    if draw.random() < 0.3:
        request.raw_input_contents.extend(draw.randbytes(draw.choice([0, 8, 192])) for _ in range(draw.randint(1, 2)))
    if draw.random() < 0.2:
        request.outputs.add(name=draw.choice(["y", "classes", "no"]))
    return request.SerializeToString()


def _small(draw: random.Random) -> bytes:
    return draw.choice(
        [
            pb.ModelStatusRequest(model_spec=_spec(draw)),
            pb.ModelMetadataRequest(model_spec=_spec(draw), metadata_field=draw.choice([["signature_def"], [], ["z"]])),
            inference.ModelReadyRequest(name=draw.choice(MODELS), version=draw.choice(["", "1", "x"])),
            health_pb2.HealthCheckRequest(service=draw.choice(["", "nope", "inference.GRPCInferenceService"])),
        ]
    ).SerializeToString()


def _metadata(draw: random.Random) -> tuple[tuple[str, str | bytes], ...]:
    pairs: list[tuple[str, str | bytes]] = [
        ("x-request-id", draw.choice(["mine", "not valid", ""])),
        ("x-routing-key", "k" * draw.choice([0, 1, 500])),
        ("authorization", draw.choice(["Bearer x", "Basic", ""])),
        ("x-forwarded-for", draw.choice(["192.0.2.1", "nonsense", ",,"])),
        ("some-bin", draw.randbytes(5)),
    ]
    return tuple(draw.sample(pairs, draw.choice([0, 0, 1, 2])))


def call(channel: grpc.Channel, seed: int) -> tuple[str, str]:
    """Make one random call.

    Returns:
        Code and method.

    Raises:
        AssertionError: The code is not documented, or an error of the gateway has no request ID.
    """
    draw = random.Random(seed)  # noqa: S311 - the same calls each time
    path = draw.choice(PATHS)
    future = method(channel, path).future(
        message(draw, path),
        timeout=DEADLINE_SECONDS,
        metadata=_metadata(draw),
        compression=draw.choice([None, None, grpc.Compression.Gzip]),
    )
    code = future.code().name
    assert code in DOCUMENTED, f"call {seed} of {path}: {code}: {future.details()}"
    assert code == "UNIMPLEMENTED" or "x-request-id" in trailing(future), f"call {seed} of {path}: {future.details()}"
    return code, path


def calls(channel: grpc.Channel, seeds: range, threads: int = 8) -> Iterator[tuple[str, str]]:
    """Make many calls, several at a time. Raises as `call` does."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda seed: call(channel, seed), seeds)


def main() -> None:
    """Run a gateway and call it."""
    from testing.colour_server import ColourServer
    from tests.gateway.grpc_api.conftest import grpc_gateway, models

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=100_000)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    options = parser.parse_args()
    server = ColourServer(models=models(), labels={("colours", "stable"): 1})
    started = time.monotonic()
    with server.serving(), grpc_gateway(server) as (client, channel):
        counts = Counter(calls(channel, range(options.seed, options.seed + options.calls)))
        in_flight = [line for line in client.get("/metrics").text.splitlines() if line.startswith("gateway_images_in_")]
    codes = Counter[str]()
    for (code, _), count in counts.items():
        codes[code] += count
    print(f"{codes.total()} calls in {time.monotonic() - started:.0f} s: {dict(codes)}; {in_flight}")  # noqa: T201


if __name__ == "__main__":
    main()
