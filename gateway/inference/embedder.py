"""Embed images: the features of a model, by which similar images are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway import errors
from gateway.deadline import Deadline
from gateway.inference.batching import RequestBatcher
from gateway.inference.outputs import float_output, name_of
from gateway.inference.preprocessing import StageTimes, input_tensors, prepare
from gateway.inference.worker_pools import ImageWorkers
from gateway.observability.request_record import RequestRecord
from gateway.serving.backend import Backend, Selector, read_outputs, together
from gateway.serving.contract import EMBED, EMBEDDING, Contract
from gateway.serving.resolver import ContractResolver
from gateway.serving.version_lookup import ServedVersion
from gateway.settings import Settings
from gateway.workers.messages import Buffer

Embedding = npt.NDArray[np.float32]
"""float32 (d), of length 1."""

MAX_SIZE = 100_000
"""Maximum number of values of an embedding. VGG-16 has 25,088; most networks have 1,280 to 2,048."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embedding of each of several images, or its error, and the contract of the version that answered."""

    contract: Contract
    results: tuple[Embedding | errors.GatewayError, ...]


class Embedder:
    """Decodes images and calls the signature `embed`."""

    def __init__(self, backend: Backend, resolver: ContractResolver, workers: ImageWorkers, settings: Settings) -> None:
        self._backend = backend
        self._resolver = resolver
        self._workers = workers
        self._batcher = RequestBatcher.for_backend(backend, self._call, settings)

    async def embed(
        self,
        model: str,
        selector: Selector,
        uploads: Sequence[Buffer | errors.GatewayError],
        deadline: Deadline,
        record: RequestRecord,
    ) -> Embeddings:
        """Embed images with one version of a model. Errors among the uploads keep their place in the results.

        Raises:
            SignatureMissing: The version has no embeddings.
            GatewayError: An error that concerns all images. The error of one image is in its place in the results.
        """

        async def ask(served: ServedVersion) -> Embeddings:
            contract = served.checked_contract()
            record.answered_by(contract.model, contract.version)
            if not contract.embeds:
                raise errors.SignatureMissing(
                    f"{name_of(contract)} has no embeddings: it lacks the signature {EMBED!r}."
                )
            times = StageTimes()

            async def embedding_of(upload: Buffer | errors.GatewayError) -> Embedding | errors.GatewayError:
                image = await prepare(upload, contract, self._workers, record, deadline, times)
                if isinstance(image, errors.GatewayError):
                    return image
                return await self._batcher.row(contract, image, record.turn, deadline, bulk=len(uploads) > 1)

            try:
                results = await together([embedding_of(upload) for upload in uploads])
            finally:
                times.report(record)
            record.failures = [result.code for result in results if isinstance(result, errors.GatewayError)]
            return Embeddings(contract, tuple(results))

        return await self._resolver.answer(model, selector, deadline, ask)

    async def _call(self, contract: Contract, images: Sequence[bytes], deadline: Deadline) -> list[Embedding]:
        """Embeddings of images that `prepare` returned, by one PredictRequest."""
        answer = await self._backend.predict(
            contract.model, contract.version, EMBED, input_tensors(contract, images), [EMBEDDING], deadline
        )
        limit = len(images) * MAX_SIZE
        rows = float_output(contract, read_outputs(answer), EMBEDDING, "embeddings", max_elements=limit)
        if rows.ndim != 2 or len(rows) != len(images) or not rows.size:
            raise errors.ModelServerFailed(
                f"{name_of(contract)} returned embeddings of shape {rows.shape} for a batch of {len(images)}."
            )
        if not np.isfinite(rows).all():
            raise errors.ModelServerFailed(f"{name_of(contract)} returned embeddings that are not numbers.")
        return list(rows)
