"""Honest and other callers of the gRPC port, by the Open Inference Protocol. Codes are counted as HTTP statuses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import grpc.aio

from gateway.pb import open_inference_pb2 as pb
from testing.faults.load import Load, Send
from testing.grpc_calls import INFER

STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
CANCELLED = 499
"""gRPC itself ends some calls of a burst before the gateway sees them."""

TIMEOUT_SECONDS = 60


def photo_request(content: bytes, model: str = "colours") -> bytes:
    """A serialised request to classify a photo."""
    request = pb.ModelInferRequest(model_name=model)
    photo = request.inputs.add(name="image_bytes", datatype="BYTES", shape=[1])
    photo.contents.bytes_contents.append(content)
    return request.SerializeToString()


def status_of(error: grpc.aio.AioRpcError) -> int:
    """The HTTP status for the code of a call: 499 if it was cancelled, 0 if no answer of the gateway came."""
    if error.code() is grpc.StatusCode.CANCELLED:
        return CANCELLED
    answered = any(key == "x-request-id" for key, _ in error.trailing_metadata() or ())
    return STATUSES.get(error.code(), 500) if answered else 0


def channel_to(address: str) -> grpc.aio.Channel:
    """A channel with a connection of its own."""
    return grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def infer_on(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """The method that takes and returns serialised messages."""
    return channel.unary_unary(INFER)


class GrpcLoad(Load):
    """The same callers over gRPC, each on a connection of its own."""

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Send]:
        async with AsyncExitStack() as channels:
            methods = [
                infer_on(await channels.enter_async_context(channel_to(self._url))) for _ in range(self._callers)
            ]

            async def send(number: int, photo: bytes) -> tuple[int, str, int]:
                try:
                    content = await methods[number](photo_request(photo), timeout=TIMEOUT_SECONDS)
                except grpc.aio.AioRpcError as error:
                    return status_of(error), "", 0
                answer = pb.ModelInferResponse.FromString(content)
                return 200, first_string(answer), int(answer.model_version)

            yield send


def first_string(answer: pb.ModelInferResponse) -> str:
    """The first string of the first output, which has its length before it."""
    content = answer.raw_output_contents[0]
    length = int.from_bytes(content[:4], "little")
    return content[4 : 4 + length].decode()


async def inferred(address: str, photos: Iterable[bytes], at_once: int) -> Counter[int]:
    """Send photos, several at a time, on one connection each."""
    gate = asyncio.Semaphore(at_once)

    async def infer(content: bytes) -> int:
        async with gate, channel_to(address) as channel:
            try:
                await infer_on(channel)(photo_request(content), timeout=TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                return status_of(error)
            return 200

    return Counter(await asyncio.gather(*(infer(content) for content in photos)))


async def cancelled(address: str, content: bytes, count: int) -> Counter[int]:
    """Callers that cancel their calls after 10 ms."""
    statuses: Counter[int] = Counter()
    async with channel_to(address) as channel:
        for _ in range(count):
            call = infer_on(channel)(photo_request(content))
            await asyncio.sleep(0.01)
            if call.cancel():
                statuses[0] += 1
            else:
                code = await call.code()
                statuses[200 if code is grpc.StatusCode.OK else STATUSES.get(code, 500)] += 1
    return statuses
