"""Classify images."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from gateway import errors
from gateway.deadline import Deadline
from gateway.inference.batching import RequestBatcher
from gateway.inference.preprocessing import StageTimes, input_tensors, preparation, prepare
from gateway.inference.scores import Ranked, Scores, checked_scores, independent, rank_labels
from gateway.inference.worker_pools import ImageWorkers
from gateway.observability.request_record import RequestRecord
from gateway.serving.backend import Backend, Selector, read_outputs, together
from gateway.serving.contract import Contract
from gateway.serving.resolver import ContractResolver
from gateway.serving.version_lookup import ServedVersion
from gateway.settings import Settings
from gateway.workers.messages import Buffer

logger = logging.getLogger(__name__)

Prepared = bytes | errors.GatewayError
"""An image in the form that the model takes, or its error."""

RANKED_AT_ONCE = 8
"""Up to this many images are ranked on the event loop, more in a thread: 64 images with 1,000 classes take 4 ms."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answers to several images, in their order.

    Attributes:
        contract: Contract of the version that answered.
        results: The ranking of each image, or its error.
        prepared: Each image in the form that was sent, or its error.
    """

    contract: Contract
    results: tuple[Ranked | errors.GatewayError, ...]
    prepared: tuple[Prepared, ...]

    def best(self, top_k: int) -> Classification:
        """The same with at most `top_k` labels for each image."""
        results = (
            replace(one, predictions=one.predictions[:top_k]) if isinstance(one, Ranked) else one
            for one in self.results
        )
        return replace(self, results=tuple(results))


class Classifier:
    """Decodes images, sends them to the model server and ranks the scores."""

    def __init__(self, backend: Backend, resolver: ContractResolver, workers: ImageWorkers, settings: Settings) -> None:
        self._backend = backend
        self._resolver = resolver
        self._workers = workers
        self._independent: set[tuple[str, int]] = set()
        self._batcher = RequestBatcher.for_backend(backend, self.predict, settings)

    async def classify(
        self,
        model: str,
        selector: Selector,
        uploads: Sequence[Buffer | errors.GatewayError],
        top_k: int,
        deadline: Deadline,
        record: RequestRecord,
        *,
        ready: Classification | None = None,
    ) -> Classification:
        """Classify images with one version of a model.

        Errors among the uploads keep their place in the results. `ready` is an answer to the same uploads; its prepared
        images are reused if they fit. The record receives the version, failures and times.

        Raises:
            GatewayError: An error that concerns all images. The error of one image is in its place in the results.
        """
        prepared: list[Prepared | None] = list(ready.prepared) if ready is not None else [None] * len(uploads)
        prepared_for = ready.contract if ready is not None else None

        async def ask(served: ServedVersion) -> Classification:
            nonlocal prepared, prepared_for
            contract = served.checked_contract()
            record.answered_by(contract.model, contract.version)
            if prepared_for is None or preparation(prepared_for) != preparation(contract):
                prepared, prepared_for = [None] * len(uploads), contract
            times = StageTimes()

            async def scores_of(index: int) -> Scores | None:
                image = prepared[index]
                if image is None:
                    image = await prepare(uploads[index], contract, self._workers, record, deadline, times)
                    prepared[index] = image
                if isinstance(image, errors.GatewayError):
                    return None
                return await self._batcher.row(contract, image, record.turn, deadline, bulk=len(uploads) > 1)

            try:
                scores = await together([scores_of(index) for index in range(len(uploads))])
            finally:
                times.report(record)
            images = tuple(image for image in prepared if image is not None)
            record.failures = [image.code for image in images if isinstance(image, errors.GatewayError)]
            rank = partial(_ranked, contract, images, scores, top_k)
            results = rank() if len(images) <= RANKED_AT_ONCE else await asyncio.to_thread(rank)
            record.answers = [(one.label, one.confidence) for one in results if isinstance(one, Ranked)]
            record.baseline = contract.baseline
            return Classification(contract, results, images)

        return await self._resolver.answer(model, selector, deadline, ask)

    async def predict(self, contract: Contract, images: Sequence[bytes], deadline: Deadline) -> list[Scores]:
        """Scores of each image that `prepare` returned, by one PredictRequest."""
        answer = await self._backend.predict(
            contract.model,
            contract.version,
            contract.signature,
            input_tensors(contract, images),
            contract.outputs,
            deadline,
        )
        scores = checked_scores(contract, read_outputs(answer), len(images))
        version = contract.model, contract.version
        if version not in self._independent and independent(contract, scores):
            self._independent.add(version)
            logger.warning(
                "model %s version %d: the scores do not sum to 1, so they seem to be independent (multi-label). Only "
                "the best label is returned. To return all labels over a threshold, set the option multi_label",
                *version,
            )
        return scores


def _ranked(
    contract: Contract, prepared: Sequence[Prepared], scores: Sequence[Scores | None], top_k: int
) -> tuple[Ranked | errors.GatewayError, ...]:
    """The ranked labels or the error of each image."""
    results: list[Ranked | errors.GatewayError] = []
    for image, row in zip(prepared, scores, strict=True):
        if isinstance(image, errors.GatewayError):
            results.append(image)
        else:
            assert row is not None
            results.append(rank_labels(contract, row, top_k))
    return tuple(results)
