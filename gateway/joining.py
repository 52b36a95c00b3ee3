"""Photos of several callers in one PredictRequest.

A request costs the gateway and the model server processor time of its own, whatever it carries. So where the servers
have enough to do, photos that are ready at about the same moment go together. Each caller keeps its own deadline, its
own answer and its own error.

Nobody waits for a model server, which may be stuck: a photo waits for others that are being decoded at this moment,
`longest_wait` at most, and only while the servers have a full request's worth of photos each, on average. So a few
callers never wait, and many wait for a small part of the time that they would have spent in a server's queue.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.backend import MAX_REQUEST_BYTES, request_id
from gateway.contract import Contract
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, ModelServerUnavailable, UnsupportedModel

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.02
"""The longest wait for others: what four photos take to decode beside a busy model, and a little."""

WAIT_SHARE = 0.5
"""The same as a share of what the last answer took: a graphics card may answer sooner than a photo is decoded."""

ALONE_SECONDS = 60.0
"""For how long each photo has its own request after several together were refused."""

Pixels = npt.NDArray[np.uint8 | np.float32]
Scores = npt.NDArray[np.float32]
Send = Callable[[Contract, Sequence[Pixels], Deadline], Awaitable[Scores]]
Version: TypeAlias = tuple[str, int]


def longest_wait(answer_seconds: float) -> float:
    """Seconds that a photo waits for others at most, where the last answer took so long."""
    return min(WAIT_SECONDS, answer_seconds * WAIT_SHARE)


@dataclass(slots=True, eq=False)
class _Photo:
    """One that waits or is under way.

    Attributes:
        pixels: What the model is given.
        deadline: Of its caller.
        request_id: Of its caller.
        scores: What its caller waits for; None says that the photos could not be answered together, and it goes alone.
        request: The request it is part of, once it is sent.
    """

    pixels: Pixels
    deadline: Deadline
    request_id: str
    scores: asyncio.Future[Scores | None]
    request: _Request | None = None


@dataclass(slots=True, eq=False)
class _Request:
    """Photos under way together; it does not refer to them, or all would stay in memory until they are collected."""

    task: asyncio.Task[None]
    callers: int


@dataclass(slots=True, eq=False)
class _Traffic:
    """What goes on with one version of a model.

    Attributes:
        contract: Of the version.
        decoding: Photos that are being decoded for it and may be waited for.
        under_way: Photos that were sent and not answered yet.
        answer_seconds: Time that the last answer took.
        alone_until: Until when nothing is joined, on the monotonic clock.
        waiting: Photos that are ready and wait for those that are being decoded.
        timer: Ends their wait.
    """

    contract: Contract
    decoding: set[Expected] = field(default_factory=set)
    under_way: int = 0
    answer_seconds: float = 0.0
    alone_until: float = -math.inf
    waiting: list[_Photo] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def is_busy(self) -> bool:
        """Whether anything goes on."""
        return bool(self.decoding or self.waiting or self.under_way)

    def stop_timer(self) -> None:
        """The wait is over."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Joiner:
    """Sends photos, together where the servers have enough to do.

    Args:
        send: Sends photos, (height, width, 3) as the model takes them, to one version in one request, and gives scores,
            (n, classes).
        max_photos: Most photos in a request; 1: each has its own.
        servers: How many model servers there are.
        longest_wait: Told the seconds that the last answer took, gives those that a photo waits at most.
    """

    def __init__(
        self,
        send: Send,
        max_photos: int,
        servers: Callable[[], int],
        longest_wait: Callable[[float], float] = longest_wait,
    ) -> None:
        self._send = send
        self._max_photos = max_photos
        self._servers = servers
        self._longest_wait = longest_wait
        self._traffic: dict[Version, _Traffic] = {}

    def expect(self, contract: Contract) -> Expected:
        """Announce a photo that is about to be decoded: those that are ready may wait for it."""
        version = contract.model, contract.version
        traffic = self._traffic.get(version)
        if traffic is None or (traffic.contract is not contract and traffic.contract != contract):
            self._traffic = {known: one for known, one in self._traffic.items() if one.is_busy()}
            traffic = self._traffic[version] = _Traffic(contract)
        traffic.contract = contract  # equal, and the next comparison is short
        return Expected(self, traffic)

    async def send(self, traffic: _Traffic, pixels: Pixels, deadline: Deadline) -> Scores:
        """Scores of a photo that is not being decoded any more; see `Expected.scores`."""
        alone = self._max_photos == 1 or pixels.nbytes * self._max_photos > MAX_REQUEST_BYTES
        if alone or (not traffic.waiting and self._is_time(traffic)):
            return await self._send_alone(traffic, pixels, deadline)
        photo = _Photo(pixels, deadline, request_id.get(), asyncio.get_running_loop().create_future())
        traffic.waiting.append(photo)
        self.go_on(traffic)
        try:
            async with asyncio.timeout(deadline.remaining()):
                scores = await photo.scores
        except TimeoutError:
            raise DeadlineExceeded("The model server did not answer within the request's deadline.") from None
        finally:
            photo.scores.cancel()  # where there are none yet: its caller is gone
            self._leave(traffic, photo)
            del photo  # an error refers to this frame, and the photo to the error
        return scores if scores is not None else await self._send_alone(traffic, pixels, deadline)

    def go_on(self, traffic: _Traffic) -> None:
        """Send what need not wait any longer."""
        if not traffic.waiting:
            traffic.stop_timer()
        elif self._is_time(traffic):
            self._send_waiting(traffic)
        elif traffic.timer is None:
            wait = self._longest_wait(traffic.answer_seconds)
            traffic.timer = asyncio.get_running_loop().call_later(wait, self._waited_enough, traffic)

    def _is_time(self, traffic: _Traffic) -> bool:
        return (
            not traffic.decoding
            or len(traffic.waiting) >= self._max_photos
            or traffic.under_way < self._max_photos * self._servers()
            or traffic.alone_until > time.monotonic()
        )

    def _waited_enough(self, traffic: _Traffic) -> None:
        traffic.decoding.clear()  # what takes long to decode is waited for once, and not by everybody who comes
        self._send_waiting(traffic)

    def _send_waiting(self, traffic: _Traffic) -> None:
        traffic.stop_timer()
        photos, traffic.waiting = traffic.waiting, []
        size = 1 if traffic.alone_until > time.monotonic() else self._max_photos
        for start in range(0, len(photos), size):
            self._start(traffic, photos[start : start + size])

    def _start(self, traffic: _Traffic, photos: list[_Photo]) -> None:
        count = len(photos)
        task = asyncio.get_running_loop().create_task(self._send_together(traffic, photos))
        request = _Request(task, callers=count)
        for photo in photos:
            photo.request = request
        traffic.under_way += count
        task.add_done_callback(lambda _: self._ended(traffic, count))

    async def _send_together(self, traffic: _Traffic, photos: list[_Photo]) -> None:
        request_id.set(",".join(photo.request_id for photo in photos))
        scores = [photo.scores for photo in photos]
        deadline = max((photo.deadline for photo in photos), key=lambda one: one.at)
        pixels = [photo.pixels for photo in photos]
        begun = time.monotonic()
        try:
            _settle(scores, list(await self._send(traffic.contract, pixels, deadline)))
            traffic.answer_seconds = time.monotonic() - begun
        except (ModelServerFailed, UnsupportedModel) as error:
            # One of them may be to blame, or the server takes fewer at once: alone each gets what is its own.
            if len(scores) > 1:
                logger.warning("%d photos that went together go alone: %s", len(scores), error.detail)
                traffic.alone_until = time.monotonic() + ALONE_SECONDS
                _settle(scores, [None] * len(scores))
            else:
                _settle(scores, error)
        except asyncio.CancelledError:  # by its callers, who are gone, or because the connection was closed
            _settle(scores, ModelServerUnavailable("The model server cannot be reached at the moment."))
            raise
        except Exception as error:
            _settle(scores, error)
        finally:
            # The same here: in a cycle all of it would stay until the next collection.
            photos.clear()
            scores.clear()

    async def _send_alone(self, traffic: _Traffic, pixels: Pixels, deadline: Deadline) -> Scores:
        traffic.under_way += 1
        begun = time.monotonic()
        try:
            scores: Scores = (await self._send(traffic.contract, [pixels], deadline))[0]
            traffic.answer_seconds = time.monotonic() - begun
            return scores
        finally:
            self._ended(traffic, 1)

    def _ended(self, traffic: _Traffic, photos: int) -> None:
        traffic.under_way -= photos
        self.go_on(traffic)

    def _leave(self, traffic: _Traffic, photo: _Photo) -> None:
        """Let go of a photo; a request whose callers have all gone is cancelled."""
        request, photo.request = photo.request, None
        if request is None:
            traffic.waiting.remove(photo)
            self.go_on(traffic)
            return
        request.callers -= 1
        if request.callers == 0:
            request.task.cancel()


class Expected:
    """A photo on its way, from before it is decoded; leave it when it is answered, or when nothing comes of it."""

    def __init__(self, joiner: Joiner, traffic: _Traffic) -> None:
        self._joiner, self._traffic = joiner, traffic
        traffic.decoding.add(self)

    def __enter__(self) -> Expected:
        return self

    def __exit__(self, *_: object) -> None:
        self._traffic.decoding.discard(self)
        self._joiner.go_on(self._traffic)

    async def scores(self, pixels: Pixels, deadline: Deadline) -> Scores:
        """Scores (classes) of the photo, (height, width, 3) as the model takes it, now that it is decoded.

        Raises:
            DeadlineExceeded: Too late for this caller.
            Exception: What sending it raises.
        """
        self._traffic.decoding.discard(self)
        return await self._joiner.send(self._traffic, pixels, deadline)


def _settle(futures: Sequence[asyncio.Future[Scores | None]], outcome: Sequence[Scores | None] | Exception) -> None:
    """Give each caller who is still there its scores, or all of them the same error."""
    for number, future in enumerate(futures):
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome[number])
