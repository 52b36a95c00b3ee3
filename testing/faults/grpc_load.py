"""Honest and other callers of the gRPC port, by the Open Inference Protocol. Codes are counted as HTTP statuses."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from gateway.pb import open_inference_pb2 as pb
from testing.faults.load import Answer, Load
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
    """The HTTP status for the code of a call; 0 if the gateway did not answer it, and did not refuse to take it."""
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
    """Callers that send the next photo after each answer, each on a connection of its own."""

    def __init__(self, address: str, callers: int) -> None:
        super().__init__("", callers=callers)
        self._address = address

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GrpcLoad]:
        callers = [asyncio.create_task(self._infer(number)) for number in range(self._callers)]
        try:
            yield self
        finally:
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)

    async def _infer(self, turn: int) -> None:
        async with channel_to(self._address) as channel:
            infer = infer_on(channel)
            while True:
                turn += 1
                colour, content = self._photos[turn % len(self._photos)]
                started = time.monotonic()
                status, right, version = 200, False, 0
                try:
                    answer = pb.ModelInferResponse.FromString(
                        await infer(photo_request(content), timeout=TIMEOUT_SECONDS)
                    )
                    right = answer.outputs[0].name == "classes" and first_string(answer) == colour
                    version = int(answer.model_version)
                except grpc.aio.AioRpcError as error:
                    status = status_of(error)
                now = time.monotonic()
                self.answers.append(Answer(now, now - started, status, right, version))
                if status != 200:
                    await asyncio.sleep(0.05)


def first_string(answer: pb.ModelInferResponse) -> str:
    """The first string of the first output, which has its length before it."""
    content = answer.raw_output_contents[0]
    length = int.from_bytes(content[:4], "little")
    return content[4 : 4 + length].decode()


async def inferred(address: str, photos: Iterable[bytes], at_once: int) -> Counter[int]:
    """Send photos, several at a time, on one connection each."""
    gate = asyncio.Semaphore(at_once)

    async def one(content: bytes) -> int:
        async with gate, channel_to(address) as channel:
            try:
                await infer_on(channel)(photo_request(content), timeout=TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError as error:
                return status_of(error)
            return 200

    return Counter(await asyncio.gather(*(one(content) for content in photos)))


async def cancelled(address: str, content: bytes, count: int) -> Counter[int]:
    """Callers that cancel their calls after 10 ms."""
    seen: Counter[int] = Counter()
    async with channel_to(address) as channel:
        for _ in range(count):
            call = infer_on(channel)(photo_request(content))
            await asyncio.sleep(0.01)
            seen[0 if call.cancel() else 200] += 1
    return seen
