"""Photos of several callers in one PredictRequest.

A request costs the gateway and the model server processor time of its own, whatever it carries. So photos that are
ready at about the same moment go together; each caller keeps its own deadline, its own answer and its own error.

Nobody waits for the model server, which may be stuck: a photo waits for others that are being decoded at this moment,
and only while the server has something of this version to do. So a lone caller never waits, and the others wait a
small part of the time that the server takes, `WAIT_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.backend import request_id
from gateway.contract import Contract
from gateway.deadline import Deadline
from gateway.errors import DeadlineExceeded, ModelServerFailed, UnsupportedModel
from gateway.images import Target

WAIT_SECONDS = 0.02
"""The longest wait for others: what four photos take to decode beside a busy model, and a little."""

WAIT_SHARE = 0.5
"""The same as a share of what the last answer took: a graphics card may answer sooner than a photo is decoded."""

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]
Send = Callable[[Contract, Sequence[Pixels], Deadline], Awaitable[Scores]]
Key: TypeAlias = tuple[str, int, Target]


def longest_wait(answer_seconds: float) -> float:
    """Seconds that a photo waits for others at most, where the server's last answer took so long."""
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
    photos: Sequence[_Photo]
    task: asyncio.Task[None]


@dataclass(slots=True, eq=False)
class _Traffic:
    """What goes on with one version of a model.

    Attributes:
        contract: Of the version.
        decoding: Photos that are being decoded for it.
        requests: Requests that it has not answered yet.
        answer_seconds: Time that the last of them took.
        waiting: Photos that are ready and wait for those that are being decoded.
        timer: Ends their wait.
    """

    contract: Contract
    decoding: int = 0
    requests: int = 0
    answer_seconds: float = 0.0
    waiting: list[_Photo] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Joiner:
    """Sends photos, together where that costs nobody time.

    Args:
        send: Sends uint8 (height, width, 3) photos to one version in one request, and gives scores, (n, classes).
        max_photos: Most photos in a request; 1: each has its own.
        longest_wait: Told the seconds that the last answer took, gives those that a photo waits at most.
    """

    def __init__(self, send: Send, max_photos: int, longest_wait: Callable[[float], float] = longest_wait) -> None:
        self._send = send
        self._max_photos = max_photos
        self._longest_wait = longest_wait
        self._traffic: dict[Key, _Traffic] = {}

    def expect(self, contract: Contract) -> Expected:
        """Announce a photo that is about to be decoded: those that are ready may wait for it."""
        key = (contract.model, contract.version, contract.target)
        traffic = self._traffic.get(key)
        if traffic is None or traffic.contract is not contract:  # the same version was read again, and may have changed
            traffic = self._traffic[key] = _Traffic(contract)
        return Expected(self, traffic)

    async def send(self, traffic: _Traffic, pixels: Pixels, deadline: Deadline) -> Scores:
        """Scores of a photo that is not being decoded any more; see `Expected.scores`."""
        if self._max_photos == 1 or (not traffic.waiting and self._is_time(traffic)):
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
        return scores if scores is not None else await self._send_alone(traffic, pixels, deadline)

    def go_on(self, traffic: _Traffic) -> None:
        """Send what need not wait any longer, and forget a version with which nothing goes on."""
        if traffic.waiting:
            if self._is_time(traffic):
                self._send_waiting(traffic)
            elif traffic.timer is None:
                wait = self._longest_wait(traffic.answer_seconds)
                traffic.timer = asyncio.get_running_loop().call_later(wait, self._send_waiting, traffic)
        elif not traffic.decoding and not traffic.requests:
            contract = traffic.contract
            key = (contract.model, contract.version, contract.target)
            if self._traffic.get(key) is traffic:
                del self._traffic[key]

    def _is_time(self, traffic: _Traffic) -> bool:
        return not traffic.decoding or not traffic.requests or len(traffic.waiting) >= self._max_photos

    def _send_waiting(self, traffic: _Traffic) -> None:
        if traffic.timer is not None:
            traffic.timer.cancel()
            traffic.timer = None
        photos, traffic.waiting = traffic.waiting, []
        if photos:
            task = asyncio.get_running_loop().create_task(self._send_together(traffic, photos))
            request = _Request(photos, task)
            for photo in photos:
                photo.request = request
            begun = self._begin(traffic)
            task.add_done_callback(lambda _: self._end(traffic, begun))

    async def _send_together(self, traffic: _Traffic, photos: Sequence[_Photo]) -> None:
        request_id.set(",".join(photo.request_id for photo in photos))
        deadline = max((photo.deadline for photo in photos), key=lambda one: one.at)
        try:
            scores = await self._send(traffic.contract, [photo.pixels for photo in photos], deadline)
        except (ModelServerFailed, UnsupportedModel):
            # One of them may be to blame, or the server takes fewer at once: alone each gets what is its own.
            for photo in photos:
                if not photo.scores.done():
                    photo.scores.set_result(None)
        except Exception as error:
            for photo in photos:
                if not photo.scores.done():
                    photo.scores.set_exception(error)
        else:
            for photo, own in zip(photos, scores, strict=True):
                if not photo.scores.done():
                    photo.scores.set_result(own)

    async def _send_alone(self, traffic: _Traffic, pixels: Pixels, deadline: Deadline) -> Scores:
        begun = self._begin(traffic)
        try:
            scores: Scores = (await self._send(traffic.contract, [pixels], deadline))[0]
            return scores
        finally:
            self._end(traffic, begun)

    def _begin(self, traffic: _Traffic) -> float:
        traffic.requests += 1
        return time.monotonic()

    def _end(self, traffic: _Traffic, begun: float) -> None:
        traffic.requests -= 1
        traffic.answer_seconds = time.monotonic() - begun
        self.go_on(traffic)

    def _leave(self, traffic: _Traffic, photo: _Photo) -> None:
        """Let go of a photo; a request whose callers have all gone is cancelled."""
        if photo.request is None:
            traffic.waiting.remove(photo)
            self.go_on(traffic)
        elif all(one.scores.done() for one in photo.request.photos):
            photo.request.task.cancel()


class Expected:
    """A photo on its way, from before it is decoded; leave it when it is answered, or when nothing comes of it."""

    def __init__(self, joiner: Joiner, traffic: _Traffic) -> None:
        self._joiner, self._traffic = joiner, traffic
        self._decoding = True
        traffic.decoding += 1

    def __enter__(self) -> Expected:
        return self

    def __exit__(self, *_: object) -> None:
        if self._decoding:
            self._decoded()
            self._joiner.go_on(self._traffic)

    async def scores(self, pixels: Pixels, deadline: Deadline) -> Scores:
        """Scores (classes) of the photo, uint8 (height, width, 3), now that it is decoded.

        Raises:
            DeadlineExceeded: Too late for this caller.
            Exception: What sending it raises.
        """
        self._decoded()
        return await self._joiner.send(self._traffic, pixels, deadline)

    def _decoded(self) -> None:
        self._decoding = False
        self._traffic.decoding -= 1
