"""Send copies of answered requests to another version or model, and compare the answers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from gateway.deadline import Deadline
from gateway.errors import GatewayError, Overloaded
from gateway.inference.admission import Admission
from gateway.inference.classifier import Classification, Classifier
from gateway.inference.scores import Ranked
from gateway.model_options import ShadowOptions
from gateway.observability.metrics import Metrics
from gateway.observability.request_record import RequestRecord
from gateway.serving.backend import Selector
from gateway.settings import Settings
from gateway.workers.messages import Buffer

logger = logging.getLogger(__name__)

MAX_SHADOWS = 8
"""Limit on copies in progress. Further copies are dropped, so that a slow shadow cannot use up memory."""

SHADOW_CALLER = "shadow"
"""The caller to which copies are attributed."""


class Shadows:
    """Sends copies of answered requests to another version or model, and compares the answers.

    A copy starts after the caller has been answered. It holds permits and memory like a request, and is dropped if more
    than half of either would be in use. So a slow shadow always leaves callers the other half. `on_answer` is called
    with the answer of a shadow, in the context of the request that was copied.
    """

    def __init__(
        self,
        settings: Settings,
        classifier: Classifier,
        admission: Admission,
        metrics: Metrics,
        on_answer: Callable[[Classification], None] | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._shadows = settings.shadows
        self._timeout_seconds = settings.request_timeout_seconds
        self._classifier = classifier
        self._admission = admission
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def copy(self, answer: Classification, uploads: Sequence[Buffer | GatewayError], record: RequestRecord) -> None:
        """Send a copy of an answered request in the background, if it is selected for one."""
        options = self._shadows.get(answer.contract.model)
        if options is None or random.random() * 100 >= options.percent:  # noqa: S311 - a share, not a secret
            return
        if len(self._tasks) >= MAX_SHADOWS:
            self._count(answer, options, "dropped", len(uploads))
            return
        task = asyncio.create_task(self._compare(answer, uploads, options, record.seconds.get("predict", 0.0)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel copies under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def _room(self, uploads: Sequence[Buffer | GatewayError], record: RequestRecord) -> Iterator[None]:
        """Hold permits and memory for the life of a copy, apart from those of the original request."""
        admission = self._admission
        size = sum(len(piece) for one in uploads if not isinstance(one, GatewayError) for piece in one)
        if (admission.in_flight + len(uploads)) * 2 > admission.max_images or (
            admission.upload_bytes + size
        ) * 2 > admission.max_upload_bytes:
            raise Overloaded("The gateway is too busy for a shadow copy.")
        with admission.admit(record.caller, len(uploads)):
            admission.hold(record.turn, size)
            try:
                yield
            finally:
                admission.release(record.turn)

    async def _compare(
        self,
        answer: Classification,
        uploads: Sequence[Buffer | GatewayError],
        options: ShadowOptions,
        primary_seconds: float,
    ) -> None:
        model = answer.contract.model
        selector = Selector(options.version, options.version_label)
        deadline = Deadline.after(self._timeout_seconds)
        record = RequestRecord(caller=SHADOW_CALLER)
        try:
            with self._room(uploads, record):
                shadow = await self._classifier.classify(
                    options.model or model, selector, uploads, 1, deadline, record, ready=answer
                )
        except Overloaded:
            self._count(answer, options, "dropped", len(uploads))
            return
        except GatewayError as error:
            logger.warning("the copy to the shadow %s of model %s failed: %s", options.name, model, error.detail)
            self._count(answer, options, "failed", len(uploads))
            return
        except Exception:
            logger.exception("the copy to the shadow %s of model %s failed", options.name, model)
            self._count(answer, options, "failed", len(uploads))
            return
        if self._on_answer is not None:
            self._on_answer(shadow)
        for original, copy in zip(answer.results, shadow.results, strict=True):
            if isinstance(original, Ranked) and isinstance(copy, Ranked):
                same = original.says_the_same(copy)
                self._count(answer, options, "agree" if same else "disagree", 1)
        seconds = self._metrics.shadow_seconds
        seconds.labels(model, options.name, "primary").observe(primary_seconds)
        seconds.labels(model, options.name, "shadow").observe(record.seconds.get("predict", 0.0))

    def _count(self, answer: Classification, options: ShadowOptions, outcome: str, images: int) -> None:
        self._metrics.shadow_images.labels(answer.contract.model, options.name, outcome).inc(images)
