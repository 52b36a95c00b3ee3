"""Record answers and feedback, and keep photos."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.inference.classifier import Classification
from gateway.inference.scores import Ranked
from gateway.observability.metrics import Metrics
from gateway.observability.request_id import request_id
from gateway.observability.request_record import RequestRecord
from gateway.prediction_log.records import BEST, Feedback, PhotoReason, Prediction, Score
from gateway.prediction_log.segments import Segments
from gateway.prediction_log.storage import Storage
from gateway.prediction_log.writer import Writer
from gateway.settings import Settings
from gateway.workers.messages import Buffer
from gateway.workers.pool import WorkerPool

MAX_WAITING_PHOTOS = 64
MAX_WAITING_BYTES = 64 * 2**20
"""Uploads that wait for their digest and, if they are to be kept, for a worker that shrinks them. Beyond either, an
answer is not recorded."""

PHOTO_SECONDS = 60.0
"""How long a worker may take for one photo; its priority is the lowest."""

KEEPER = "prediction log"
"""The caller to which work on kept photos is attributed."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An answer whose photo is still in memory."""

    record: Prediction
    upload: Buffer
    keep: bool


class PredictionLog:
    """Keeps records of answers, and photos, off the request path.

    Args:
        settings: What to keep, and for how long.
        storage: Where to keep it.
        workers: Shrink photos, at the lowest priority.
        metrics: Counts what is dropped.
    """

    def __init__(self, settings: Settings, storage: Storage, workers: WorkerPool, metrics: Metrics) -> None:
        self._settings = settings
        self._workers = workers
        self._dropped = metrics.prediction_records_dropped
        segments = Segments(
            storage,
            settings.prediction_log_segment_bytes,
            settings.prediction_log_segment_seconds,
        )
        self._writer = Writer(storage, segments, settings.prediction_log_max_days, settings.prediction_log_max_bytes)
        self._entries: asyncio.Queue[_Entry] = asyncio.Queue(MAX_WAITING_PHOTOS)
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the thread and the task that do the work."""
        self._writer.start()
        self._task = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Write what has been recorded and end. Photos that still wait are dropped."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._drop("shutdown", self._entries.qsize())
        await asyncio.to_thread(self._writer.stop)

    def answered(
        self,
        answer: Classification,
        uploads: Sequence[Buffer | GatewayError],
        record: RequestRecord,
        routing_key: str | None,
    ) -> None:
        """Record an answer. Returns at once.

        Args:
            answer: The answer.
            uploads: The photos, in the same order.
            record: Caller and times of the request.
            routing_key: The header X-Routing-Key.
        """
        seconds = sum(record.seconds.get(stage, 0.0) for stage in ("queue", "decode", "predict"))
        for index, (result, upload) in enumerate(zip(answer.results, uploads, strict=True)):
            if isinstance(result, GatewayError) or isinstance(upload, GatewayError):
                continue
            size = sum(map(len, upload))
            if self._entries.full() or self._waiting_bytes + size > MAX_WAITING_BYTES:
                self._drop("queue")
                continue
            reason = self._reason(result)
            prediction = Prediction.model_construct(
                time=datetime.now(UTC),
                request_id=request_id.get(),
                index=index,
                model=answer.contract.model,
                version=answer.contract.version,
                label=None if result.unknown else result.predictions[0][0],
                looks_like=result.looks_like,
                scores=tuple(Score(label=label, score=score) for label, score in result.predictions[:BEST]),
                digest="",
                bytes=size,
                milliseconds=round(seconds * 1000, 1),
                key=key_name(record),
                routing_key=routing_key,
                photo=reason,
            )
            self._waiting_bytes += size
            self._entries.put_nowait(_Entry(prediction, upload, reason is not None))

    def said(self, feedback: Feedback) -> bool:
        """Record feedback. Returns whether there was room for it."""
        return self._write(_line(feedback))

    def _reason(self, result: Ranked) -> PhotoReason | None:
        """Why the photo of an answer is kept, if it is."""
        kept = self._settings.prediction_log_photos
        if kept == "all":
            return "all"
        if kept == "sampled" and random.random() < self._settings.prediction_log_sample_rate:  # noqa: S311
            return "sampled"
        if kept == "uncertain":
            best = [score for _, score in result.predictions[:2]]
            margin = best[0] - best[1] if len(best) == 2 else 1.0
            if result.unknown or margin < self._settings.prediction_log_margin:
                return "uncertain"
        return None

    async def _work(self) -> None:
        """Compute digests and shrink photos, one after the other."""
        while True:
            entry = await self._entries.get()
            size = entry.record.bytes
            try:
                digest = await asyncio.to_thread(_digest, entry.upload)
                self._write(_line(entry.record.model_copy(update={"digest": digest})))
                if entry.keep:
                    await self._keep(entry, digest)
            finally:
                self._waiting_bytes -= size

    async def _keep(self, entry: _Entry, digest: str) -> None:
        try:
            reply = await self._workers.run(
                "image_preview",
                {
                    "max_side": self._settings.prediction_log_photo_side,
                    "max_pixels": self._settings.max_image_pixels,
                },
                [entry.upload],
                (KEEPER, 0),
                Deadline.after(PHOTO_SECONDS),
            )
        except GatewayError:
            self._drop("photo")
            return
        if not self._writer.put((f"photos/{entry.record.time:%Y-%m-%d}/{digest}.jpg", reply.buffers[0])):
            self._drop("queue")

    def _write(self, line: bytes) -> bool:
        put = self._writer.put(line)
        if not put:
            self._drop("queue")
        lost, self._writer.dropped_by_storage = self._writer.dropped_by_storage, 0
        self._drop("storage", lost)
        return put

    def _drop(self, reason: str, number: int = 1) -> None:
        if number:
            self._dropped.labels(reason).inc(number)


def key_name(record: RequestRecord) -> str | None:
    """Name of the API key of a request. Without keys, the caller is an address, which is not recorded."""
    return record.caller.removeprefix("key ") if record.caller.startswith("key ") else None


def _line(record: Prediction | Feedback) -> bytes:
    return record.model_dump_json().encode() + b"\n"


def _digest(upload: Buffer) -> str:
    digest = hashlib.sha256()
    for piece in upload:
        digest.update(piece)
    return digest.hexdigest()
