"""Callers whose images go to a model server together, and the model server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from gateway.deadline import Deadline
from gateway.images import Target
from gateway.inference.batching import RequestBatcher
from gateway.inference.scores import Scores
from gateway.observability.request_id import request_id
from gateway.pb.serving_pb2 import DataType
from gateway.serving.contract import Contract

CONTRACT = Contract(
    model="m",
    version=1,
    signature="pixels",
    input_name="images",
    input_kind="pixels",
    input_dtype=DataType.DT_UINT8,
    target=Target(1, 1, "crop", "bilinear"),
    output_name="probabilities",
    labels=("a",),
    unknown_threshold=None,
    explains=False,
    card=None,
)


class Server:
    """A model server that answers when it is told to: the score of an image is the value of its one byte."""

    def __init__(self) -> None:
        self.sent: list[list[int]] = []
        self.request_ids: list[str] = []
        self.cancelled: list[int] = []
        self._answers: list[asyncio.Future[None]] = []

    async def send(self, contract: Contract, images: Sequence[bytes], deadline: Deadline) -> list[Scores]:
        del contract, deadline
        values = [image[0] for image in images]
        number = len(self.sent)
        self.sent.append(values)
        self.request_ids.append(request_id.get())
        self._answers.append(asyncio.get_running_loop().create_future())
        try:
            await self._answers[-1]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return [Scores(np.array([value], np.float32)) for value in values]

    def answer(self, number: int) -> None:
        self._answers[number].set_result(None)

    def fail(self, number: int, error: Exception) -> None:
        self._answers[number].set_exception(error)


class Callers:
    """Callers who ask for images whose values are given."""

    def __init__(self, server: Server, batcher: RequestBatcher[Scores]) -> None:
        self.server = server
        self.batcher = batcher
        self.contract = CONTRACT
        self.tasks: list[asyncio.Task[float]] = []

    async def ask(
        self, *values: int, caller: str = "a", request: object = None, bulk: bool = False, seconds: float = 30
    ) -> list[asyncio.Task[float]]:
        async def one(value: int) -> float:
            request_id.set(f"id{value}")
            turn = (caller, request if request is not None else value)
            scores = await self.batcher.row(self.contract, bytes([value]), turn, Deadline.after(seconds), bulk=bulk)
            return float(scores.values[0])

        tasks = [asyncio.create_task(one(value)) for value in values]
        self.tasks += tasks
        await settled()
        return tasks

    async def answered(self) -> list[float]:
        """All results, the model server answering whatever comes."""
        number = 0
        async with asyncio.timeout(20):
            while not all(task.done() for task in self.tasks):
                while number < len(self.server.sent):
                    with suppress(asyncio.InvalidStateError):
                        self.server.answer(number)
                    number += 1
                await asyncio.sleep(0)
        return [task.result() for task in self.tasks]


async def settled() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def callers(max_batch_size: int = 4, max_images: int = 8, servers: int = 1) -> Callers:
    """Callers of a model server with these limits."""
    server = Server()
    return Callers(server, RequestBatcher(server.send, max_batch_size, max_images, lambda: servers))
