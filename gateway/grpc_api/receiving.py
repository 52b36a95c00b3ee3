"""Receive the message of a call, within limits.

gRPC hands over a message only when it is complete, so its bytes cannot be counted while they arrive. In place of that,
only so many messages arrive at a time as fit into memory if each has the maximum size. The others wait in turns; gRPC
holds back their senders.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import grpc.aio

from gateway.deadline import Deadline
from gateway.errors import BadRequest, UploadTimeout
from gateway.inference.admission import CALLER_SHARE, Admission
from gateway.observability.request_record import RequestRecord
from gateway.settings import Settings
from gateway.workers.turns import Turns

Context = grpc.aio.ServicerContext[bytes, bytes]

OPEN_SLOTS = 4
"""Messages of health checks that arrive at a time. They do not wait for others."""

OPEN_SECONDS = 5.0
"""Time for the message of a health check to arrive, which has a few bytes."""


class Receiver:
    """Receives messages.

    Args:
        settings: Limits.
        admission: Permits for uploads.
    """

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self._admission = admission
        self._seconds = settings.upload_timeout_seconds
        slots = max(1, settings.max_upload_memory_bytes // settings.max_tensor_body_bytes)
        self._slots = Turns(slots)
        self._share = max(1, slots // CALLER_SHARE)
        self._callers: WeakValueDictionary[str, Turns] = WeakValueDictionary()  # while they send
        self._open_slots = Turns(OPEN_SLOTS)

    async def receive(self, context: Context, record: RequestRecord) -> bytes:
        """The message of a call.

        Raises:
            Overloaded: The limit on uploads is reached, or the caller would exceed its share.
            UploadTimeout: The message took too long.
            DeadlineExceeded: It was not its turn in time.
            BadRequest: There is no message, or more than one.
        """
        async with self._slot(record):
            return await _only_message(context, self._seconds)

    async def receive_open(self, context: Context, record: RequestRecord) -> bytes:
        """The message of a call that needs no key; it is small. Raises as `receive` does, except Overloaded."""
        async with self._open_slots.slot(record.turn, Deadline.after(OPEN_SECONDS)):
            return await _only_message(context, OPEN_SECONDS)

    @asynccontextmanager
    async def _slot(self, record: RequestRecord) -> AsyncIterator[None]:
        """Hold a slot; one caller holds at most a quarter of them."""
        deadline = Deadline.after(self._seconds)
        own = self._callers.get(record.caller) or Turns(self._share)
        self._callers[record.caller] = own
        self._admission.begin_upload(record.caller)
        try:
            async with own.slot(record.turn, deadline), self._slots.slot(record.turn, deadline):
                yield
        finally:
            self._admission.end_upload(record.caller)


async def _only_message(context: Context, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            message = await context.read()
            if not isinstance(message, bytes):
                raise BadRequest("The call has no message.")
            if isinstance(await context.read(), bytes):
                raise BadRequest("The call has more than one message.")
            return message
    except TimeoutError:
        raise UploadTimeout(f"The message took longer than {seconds:g} seconds.") from None
