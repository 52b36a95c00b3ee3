"""Record answers and feedback, and keep photos."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.inference.classifier import Classification
from gateway.inference.scores import Ranked
from gateway.observability.metrics import Metrics
from gateway.observability.request_id import request_id
from gateway.observability.request_record import RequestRecord
from gateway.prediction_log.records import BEST, Feedback, PhotoReason, Prediction, Score, Shadow, margin
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.shipper import Shipper
from gateway.prediction_log.storage import Storage
from gateway.prediction_log.writer import Writer
from gateway.settings import Settings
from gateway.workers.messages import Buffer
from gateway.workers.pool import WorkerPool

logger = logging.getLogger(__name__)

MAX_WAITING_BYTES = 64 * 2**20
"""Maximum size of uploads that wait for their digest. Answers beyond it are not recorded."""

MAX_PHOTO_BYTES = 32 * 2**20
"""Maximum size of uploads that wait to be scaled down. Photos beyond it are not kept."""

MAX_WAITING = 256
"""Maximum number of uploads that wait for either; small ones cost more than their size."""

PHOTO_SECONDS = 60.0
"""Time limit for scaling down one photo, at the lowest priority."""

MAX_ROUTING_KEY_LENGTH = 128

CLOSE_SECONDS = 2.0
"""How long a gateway that ends waits for each of the two threads."""

CALLER = "prediction log"
"""The caller to which work on photos is attributed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An answer and its upload."""

    record: Prediction
    upload: Buffer


class _Backlog:
    """A queue with limits on the number and the size of the uploads in it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: asyncio.Queue[_Entry] = asyncio.Queue()

    def __len__(self) -> int:
        return self._entries.qsize()

    def put(self, entry: _Entry) -> bool:
        """Add an entry. Returns whether there was room for it."""
        if len(self) >= MAX_WAITING or self._bytes + entry.record.bytes > self._max_bytes:
            return False
        self._bytes += entry.record.bytes
        self._entries.put_nowait(entry)
        return True

    async def work(self, process: Callable[[_Entry], Awaitable[None]]) -> None:
        """Process entries, one after the other, for ever."""
        while True:
            entry = await self._entries.get()
            try:
                await process(entry)
            except Exception:
                logger.exception("cannot record an answer")
            finally:
                self._bytes -= entry.record.bytes
                del entry


class PredictionLog:
    """Keeps records of answers, and photos, off the request path.

    An answer takes this way: its digest is computed, and its line handed to the `Writer`; if its photo is selected, a
    worker scales it down, at the lowest priority. The `Shipper` moves files to the storage. Each step drops and counts
    what it cannot take.
    """

    def __init__(self, settings: Settings, storage: Storage, workers: WorkerPool, metrics: Metrics) -> None:
        self._settings = settings
        self._workers = workers
        self._dropped = metrics.prediction_records_dropped
        segments = Segments(storage, settings.prediction_log_segment_bytes, settings.prediction_log_segment_seconds)
        self._writer = Writer(segments, storage.spool, self._dropped)
        self._shipper = Shipper(storage, settings.prediction_log_max_days, settings.prediction_log_max_bytes)
        self._answers = _Backlog(MAX_WAITING_BYTES)
        self._photos = _Backlog(MAX_PHOTO_BYTES)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the threads and tasks that do the work."""
        self._writer.start()
        self._shipper.start()
        self._tasks = [
            asyncio.create_task(self._answers.work(self._record)),
            asyncio.create_task(self._photos.work(self._keep)),
        ]

    async def close(self) -> None:
        """Write and ship what has been recorded. Answers and photos that still wait are dropped."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._dropped.labels("shutdown").inc(len(self._answers) + len(self._photos))
        await asyncio.to_thread(self._writer.stop, CLOSE_SECONDS)
        await asyncio.to_thread(self._shipper.stop, CLOSE_SECONDS)

    def record_answers(
        self,
        answer: Classification,
        uploads: Sequence[Buffer | GatewayError],
        record: RequestRecord,
        routing_key: str | None,
    ) -> None:
        """Record the answers to the uploads of a request, in the same order. Returns at once."""
        seconds = sum(record.seconds.get(stage, 0.0) for stage in ("queue", "decode", "predict"))
        for index, (result, upload) in enumerate(zip(answer.results, uploads, strict=True)):
            if isinstance(result, GatewayError) or isinstance(upload, GatewayError):
                continue
            prediction = Prediction.model_construct(
                time=datetime.now(UTC),
                request_id=request_id.get(),
                index=index,
                model=answer.contract.model,
                version=answer.contract.version,
                label=result.label,
                labels=result.labels,
                margin=result.margin,
                looks_like=result.looks_like,
                scores=tuple(Score(label=label, score=score) for label, score in result.predictions[:BEST]),
                digest="",
                bytes=sum(map(len, upload)),
                milliseconds=round(seconds * 1000, 1),
                key=key_name(record),
                routing_key=routing_key[:MAX_ROUTING_KEY_LENGTH] if routing_key is not None else None,
                photo=self._reason(result),
            )
            if not self._answers.put(_Entry(prediction, upload)):
                self._dropped.labels("queue").inc()

    def record_shadow(self, answer: Classification) -> None:
        """Record the answers of a shadow to the photos of the current request. Returns at once."""
        for index, result in enumerate(answer.results):
            if isinstance(result, GatewayError):
                continue
            shadow = Shadow(
                request_id=request_id.get(),
                index=index,
                model=answer.contract.model,
                version=answer.contract.version,
                label=result.label,
                labels=result.labels,
                score=result.confidence,
            )
            self._writer.put_line(shadow.line())

    def record_feedback(self, feedback: Feedback) -> bool:
        """Record feedback. Returns whether there was room for it."""
        return self._writer.put_line(feedback.line())

    def _reason(self, result: Ranked) -> PhotoReason | None:
        """Why the photo of an answer is kept, if it is."""
        kept = self._settings.prediction_log_photos
        if kept == "all":
            return "all"
        if kept == "sampled" and random.random() < self._settings.prediction_log_sample_rate:  # noqa: S311
            return "sampled"
        if kept == "uncertain":
            unknown = result.label is None and result.labels is None
            answer_margin = (
                margin([score for _, score in result.predictions]) if result.margin is None else result.margin
            )
            if unknown or answer_margin < self._settings.prediction_log_margin:
                return "uncertain"
        return None

    async def _record(self, entry: _Entry) -> None:
        digest = await asyncio.to_thread(_digest, entry.upload)
        record = entry.record.model_copy(update={"digest": digest})
        self._writer.put_line(record.line())
        if record.photo is not None and not self._photos.put(_Entry(record, entry.upload)):
            self._dropped.labels("photo").inc()

    async def _keep(self, entry: _Entry) -> None:
        arguments = {
            "max_side": self._settings.prediction_log_photo_side,
            "max_pixels": self._settings.max_image_pixels,
        }
        deadline = Deadline.after(PHOTO_SECONDS)
        try:
            reply = await self._workers.run("image_preview", arguments, [entry.upload], (CALLER, 0), deadline)
        except GatewayError:
            self._dropped.labels("photo").inc()
            return
        self._writer.put_photo((f"{entry.record.time:%Y-%m-%d}", entry.record.digest, reply.buffers[0]))


def key_name(record: RequestRecord) -> str | None:
    """Name of the API key of a request. Without keys, the caller is an address, which is not recorded."""
    return record.caller.removeprefix("key ") if record.caller.startswith("key ") else None


def _digest(upload: Buffer) -> str:
    digest = hashlib.sha256()
    for piece in upload:
        digest.update(piece)
    return digest.hexdigest()
