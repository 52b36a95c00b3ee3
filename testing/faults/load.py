"""Honest callers, which check every answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from testing.photos import noisy_photo

COLOURS = ("red", "green", "blue")
BREED = "/api/v1/predict_breed"
LABELLED = "/api/v1/models/labelled/predict?version_label=stable"
CALLERS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    at: float
    """Time of the answer, on the monotonic clock."""
    seconds: float
    status: int
    """HTTP status; 0 if the connection ended without an answer."""
    right: bool
    """Whether the label is that of the photo."""
    version: int


Send = Callable[[int, bytes], Awaitable[tuple[int, str, int]]]
"""Sends a photo for the caller of a number; returns status, label and version."""


class Load:
    """Callers that send the next request after each answer, and wait briefly after an error."""

    def __init__(self, url: str, path: str = BREED, callers: int = CALLERS) -> None:
        self._url = url
        self._path = path
        self._callers = callers
        self._photos = [(colour, noisy_photo(colour, seed)) for seed in range(4) for colour in COLOURS]
        self.answers: list[Answer] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        async with self._connected() as send:
            callers = [asyncio.create_task(self._call(send, number)) for number in range(self._callers)]
            try:
                yield self
            finally:
                for caller in callers:
                    caller.cancel()
                await asyncio.gather(*callers, return_exceptions=True)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Send]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._url, timeout=60, limits=limits) as client:

            async def send(_: int, photo: bytes) -> tuple[int, str, int]:
                try:
                    answer = await client.post(self._path, content=photo, headers={"content-type": "image/jpeg"})
                except httpx.TransportError:
                    return 0, "", 0
                if answer.status_code != 200:
                    return answer.status_code, "", 0
                body = answer.json()
                return 200, body.get("breed", body.get("label")), body["model"]["version"]

            yield send

    async def _call(self, send: Send, number: int) -> None:
        turn = number
        while True:
            turn += 1
            colour, photo = self._photos[turn % len(self._photos)]
            started = time.monotonic()
            status, label, version = await send(number, photo)
            now = time.monotonic()
            self.answers.append(Answer(now, now - started, status, label == colour, version))
            if status != 200:
                await asyncio.sleep(0.05)

    def since(self, moment: float) -> list[Answer]:
        return [answer for answer in self.answers if answer.at >= moment]

    def statuses(self) -> Counter[int]:
        return Counter(answer.status for answer in self.answers)

    def wrong(self) -> int:
        return sum(answer.status == 200 and not answer.right for answer in self.answers)
