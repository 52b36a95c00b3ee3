"""Receive the message of a call, within limits.

gRPC hands over a message only when it is complete, so its bytes cannot be counted while they arrive. Instead, the
number of messages that arrive at a time is limited: they fit into memory even if each has the maximum size. The others
wait in turns; gRPC holds back their senders. A sender that takes long gives way to those who wait.
"""

from __future__ import annotations

import asyncio
import time
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

MEMORY_SHARE = 0.5
"""Memory for messages while they arrive, which nobody can count, in relation to `Settings.max_upload_memory_bytes`. It
adds to that of the requests whose body has arrived."""

CONTESTED_SECONDS = 5.0
"""Time that a message may take while other callers wait to send theirs. Slow uploads over HTTP have as much grace."""

CHECK_SECONDS = 1.0
"""How often a message that takes longer is checked."""

OPEN_SLOTS = 8
"""Messages of health checks that arrive at a time, one of each caller. They do not wait for others."""

OPEN_WAIT_SECONDS = 5.0
"""Time that a health check may wait for its turn."""

OPEN_SECONDS = 1.0
"""Time for the message of a health check to arrive, which has a few bytes and comes with the call."""


class Receiver:
    """Receives messages."""

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self._admission = admission
        self._seconds = settings.upload_timeout_seconds
        slots = max(1, int(settings.max_upload_memory_bytes * MEMORY_SHARE) // settings.max_tensor_body_bytes)
        self._messages = _Slots(slots, max(1, slots // CALLER_SHARE))
        self._health_checks = _Slots(OPEN_SLOTS, 1)

    async def receive(self, context: Context, record: RequestRecord) -> bytes:
        """The message of a call.

        Raises:
            Overloaded: The limit on uploads is reached, or the caller would exceed its share.
            UploadTimeout: The message took too long.
            DeadlineExceeded: It was not its turn in time.
            BadRequest: There is no message, or more than one.
        """
        self._admission.begin_upload(record.caller)
        try:
            async with self._messages.slot(record, self._seconds) as slots:
                return await _received(context, record, self._seconds, slots)
        finally:
            self._admission.end_upload(record.caller)

    async def receive_open(self, context: Context, record: RequestRecord) -> bytes:
        """The message of a call that needs no key; it is small. Raises as `receive` does, except Overloaded."""
        async with self._health_checks.slot(record, OPEN_WAIT_SECONDS) as slots:
            return await _received(context, record, OPEN_SECONDS, slots)


class _Slots:
    """Slots that callers take in turns, of which one caller holds only some."""

    def __init__(self, slots: int, share: int) -> None:
        self._slots = Turns(slots)
        self._share = share
        self._callers: WeakValueDictionary[str, Turns] = WeakValueDictionary()  # while they send

    @asynccontextmanager
    async def slot(self, record: RequestRecord, seconds: float) -> AsyncIterator[Turns]:
        """Hold a slot; raises DeadlineExceeded if none is free in time."""
        deadline = Deadline.after(seconds)
        own = self._callers.get(record.caller) or Turns(self._share)
        self._callers[record.caller] = own
        async with own.slot(record.turn, deadline), self._slots.slot(record.turn, deadline):
            yield self._slots


async def _received(context: Context, record: RequestRecord, seconds: float, slots: Turns) -> bytes:
    """The message of a caller that holds a slot. One who takes too long comes later the next time."""
    started = time.monotonic()
    reading = asyncio.ensure_future(_only_message(context))
    try:
        while True:
            passed = time.monotonic() - started
            if passed >= seconds:
                raise UploadTimeout(f"The message took longer than {seconds:g} seconds.")
            if passed >= CONTESTED_SECONDS and slots.waiting:
                raise UploadTimeout(f"The message took longer than {CONTESTED_SECONDS:g} seconds while others waited.")
            if (await asyncio.wait({reading}, timeout=min(CHECK_SECONDS, seconds - passed)))[0]:
                return reading.result()
    except UploadTimeout:
        slots.charge(record.caller, time.monotonic() - started)
        raise
    finally:
        reading.cancel()


async def _only_message(context: Context) -> bytes:
    message = await context.read()
    if not isinstance(message, bytes):
        raise BadRequest("The call has no message.")
    if isinstance(await context.read(), bytes):
        raise BadRequest("The call has more than one message.")
    return message
