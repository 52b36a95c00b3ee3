"""Cross-request batching: images of several callers in one PredictRequest.

A model server gets only as many concurrent requests as keep it busy. Further images wait here, in turns, and are sent
together when a request returns. So a single image is sent at once, no image waits on purpose, and batches form only
under load. Each caller keeps its own deadline, answer and error.

Images of batch requests ("bulk") are sent apart from single images and always leave them one request of each server, so
a photo never waits for somebody's batch.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, ModelServerUnavailable, UnsupportedModel
from gateway.observability.request_id import request_id
from gateway.serving.backend import Backend
from gateway.serving.contract import Contract
from gateway.settings import Settings
from gateway.tensors.messages import MAX_MESSAGE_BYTES
from gateway.workers.turns import Turn, TurnQueue

logger = logging.getLogger(__name__)

MIN_REQUESTS = 2
"""Minimum number of concurrent requests to a model server: while it answers one, the next is on its way."""

ALONE_SECONDS = 60.0
"""How long images are sent one by one after the server refused a batch."""

Row = TypeVar("Row")
"""What a model returns for one image, such as its scores."""

Send: TypeAlias = Callable[[Contract, Sequence[bytes], Deadline], Awaitable[Sequence[Row]]]
Version: TypeAlias = tuple[str, int]


@dataclass(slots=True, eq=False)
class _Image(Generic[Row]):
    """An image, in the form that the model takes, that waits for its row.

    Attributes:
        bulk: Whether its request has other images.
        row: The future that its caller awaits.
        batch: The batch in which it was sent.
    """

    content: bytes
    bulk: bool
    deadline: Deadline
    request_id: str
    row: asyncio.Future[Row]
    batch: _Batch | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """A request in progress, and the number of its callers that still wait."""

    task: asyncio.Task[None]
    callers: int


@dataclass(slots=True, eq=False)
class _Lane(Generic[Row]):
    """The traffic to one version of a model.

    Attributes:
        single: Waiting images of requests with one image.
        bulk: Waiting images of requests with several images.
        requests: Number of requests in progress.
        bulk_requests: Number of bulk requests among them.
        alone_until: Until when images are sent one by one, on the monotonic clock.
    """

    contract: Contract
    single: TurnQueue[_Image[Row]] = field(default_factory=TurnQueue)
    bulk: TurnQueue[_Image[Row]] = field(default_factory=TurnQueue)
    requests: int = 0
    bulk_requests: int = 0
    alone_until: float = -math.inf

    def queue(self, bulk: bool) -> TurnQueue[_Image[Row]]:
        """The queue for an image."""
        return self.bulk if bulk else self.single

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in progress or waiting."""
        return not (self.requests or self.single or self.bulk)


class RequestBatcher(Generic[Row]):
    """Sends images to the model server, together if several wait.

    Args:
        send: Sends images to one version in one request, and returns the row of each.
        max_batch_size: Maximum number of images in a request.
        max_images: Maximum number of images on one model server; at least `MIN_REQUESTS` requests are allowed.
        servers: Returns the number of model servers.
    """

    def __init__(self, send: Send[Row], max_batch_size: int, max_images: int, servers: Callable[[], int]) -> None:
        self._send = send
        self._max_batch_size = max_batch_size
        self._max_requests = max(MIN_REQUESTS, max_images // max_batch_size)
        self._servers = servers
        self._lanes: dict[Version, _Lane[Row]] = {}

    @classmethod
    def for_backend(cls, backend: Backend, send: Send[Row], settings: Settings) -> RequestBatcher[Row]:
        """A batcher with the limits of the settings. With tracing, each image has its own request and span."""
        max_batch_size = (
            1 if settings.tracing else min(settings.max_cross_request_batch_size, settings.max_predict_batch_size)
        )
        return cls(send, max_batch_size, settings.max_images_per_server, backend.servers)

    async def row(
        self, contract: Contract, content: bytes, turn: Turn, deadline: Deadline, *, bulk: bool = False
    ) -> Row:
        """The row of one image in the form that the model takes. With `bulk`, its request has other images.

        Raises:
            DeadlineExceeded: The deadline of this caller has passed.
            Exception: As `send` raises it.
        """
        lane = self._lane(contract)
        row: asyncio.Future[Row] = asyncio.get_running_loop().create_future()
        image = _Image(content, bulk, deadline, request_id.get(), row)
        lane.queue(bulk).put(turn, image)
        if bulk:  # the others of its request may be put in the same step, and go with it
            asyncio.get_running_loop().call_soon(self._send_waiting, lane)
        elif self._has_room(lane, bulk):
            self._send_next(lane, lane.single)
        try:
            async with asyncio.timeout(deadline.remaining()):
                return await image.row
        except TimeoutError:
            raise DeadlineExceeded("The model server did not answer before the deadline of the request.") from None
        finally:
            image.row.cancel()
            self._leave(lane, turn, image)
            del image  # an error refers to this frame, and the image to the error

    def _lane(self, contract: Contract) -> _Lane[Row]:
        version = contract.model, contract.version
        lane = self._lanes.get(version)
        if lane is None or (lane.contract is not contract and lane.contract != contract):
            self._lanes = {key: one for key, one in self._lanes.items() if not one.is_idle}
            lane = self._lanes[version] = _Lane(contract)
        return lane

    def _has_room(self, lane: _Lane[Row], bulk: bool) -> bool:
        max_requests = self._max_requests * self._servers()
        return lane.requests < max_requests and (not bulk or lane.bulk_requests < max_requests - 1)

    def _send_waiting(self, lane: _Lane[Row]) -> None:
        while lane.bulk and self._has_room(lane, bulk=True) and not (lane.single and lane.bulk_requests):
            self._send_next(lane, lane.bulk)
        while lane.single and self._has_room(lane, bulk=False):
            self._send_next(lane, lane.single)

    def _send_next(self, lane: _Lane[Row], queue: TurnQueue[_Image[Row]]) -> None:
        """Send as many images of a queue as fit into one request."""
        batch_size = lane.contract.batch_size
        max_images = 1 if batch_size == 0 or lane.alone_until > time.monotonic() else self._max_batch_size
        max_images = min(max_images, batch_size) if batch_size > 0 else max_images
        fixed_input_bytes = sum(len(one.content) for one in lane.contract.fixed_inputs)
        images: list[_Image[Row]] = []
        size = 0
        while queue and len(images) < max_images and size < MAX_MESSAGE_BYTES:
            image = queue.take()
            if not image.row.done():
                images.append(image)
                size += len(image.content) + fixed_input_bytes
        if images:
            self._start(lane, images)

    def _start(self, lane: _Lane[Row], images: list[_Image[Row]]) -> None:
        bulk = images[0].bulk
        lane.requests += 1
        lane.bulk_requests += bulk
        task = asyncio.create_task(self._send_batch(lane, images))
        batch = _Batch(task, callers=len(images))
        for image in images:
            image.batch = batch
        task.add_done_callback(lambda _: self._ended(lane, bulk))

    def _ended(self, lane: _Lane[Row], bulk: bool) -> None:
        lane.requests -= 1
        lane.bulk_requests -= bulk
        self._send_waiting(lane)

    async def _send_batch(self, lane: _Lane[Row], images: list[_Image[Row]]) -> None:
        request_id.set(",".join(image.request_id for image in images))
        deadline = max((image.deadline for image in images), key=lambda one: one.at)
        try:
            rows = await self._send(lane.contract, [image.content for image in images], deadline)
            for image, row in zip(images, rows, strict=True):
                if not image.row.done():
                    image.row.set_result(row)
        except (ModelServerFailed, UnsupportedModel) as error:
            # One image may be to blame, or the server takes fewer at once: alone each gets its own answer.
            if len(images) == 1:
                _fail(images, error)
                return
            logger.warning(
                "the model server refused a batch of %d images, sending them one by one: %s", len(images), error.detail
            )
            lane.alone_until = time.monotonic() + ALONE_SECONDS
            for image in images:
                await self._send_batch(lane, [image])
        except asyncio.CancelledError:  # by its callers, who are gone, or because the connection was closed
            _fail(images, ModelServerUnavailable("The model server is not reachable."))
            raise
        except Exception as error:
            _fail(images, error)
        finally:
            images.clear()  # an error refers to this frame: in a cycle the images would stay until the next collection

    def _leave(self, lane: _Lane[Row], turn: Turn, image: _Image[Row]) -> None:
        """Remove an image. A request without remaining callers is cancelled."""
        batch, image.batch = image.batch, None
        if batch is None:
            lane.queue(image.bulk).discard(turn, image)
            return
        batch.callers -= 1
        if batch.callers == 0:
            batch.task.cancel()


def _fail(images: Sequence[_Image[Row]], error: Exception) -> None:
    for image in images:
        if not image.row.done():
            image.row.set_exception(error)
