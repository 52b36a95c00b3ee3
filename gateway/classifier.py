"""Images in, ranked labels out."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from gateway import errors, images
from gateway.backend import MAX_REQUEST_BYTES, Backend, Selector, together
from gateway.calls import Call
from gateway.contract import Contract
from gateway.deadline import Deadline
from gateway.decoding import Decoders
from gateway.joining import Expected, Joiner, Pixels, Scores
from gateway.pb.serving_pb2 import DataType, Tensor
from gateway.resolver import ContractResolver, Served
from gateway.settings import Settings
from gateway.tensors import TensorError, Wire, number_array, stacked, strings
from gateway.uploads import ImageBytes, join_pieces

Prepared = Pixels | bytes

SCORE_DECIMALS = 6
"""Digits of a score that mean something: padding a batch already moves the seventh."""


RANKED_AT_ONCE = 8
"""Images whose scores are sorted on the event loop; those of a larger batch are in a thread: 64 of 1,000 take 4 ms."""

ROUNDING = 0.01
"""How far scores may be outside of 0 to 1: the next number after 1 is 1.008 in bfloat16."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """One image's answer.

    Attributes:
        predictions: Labels and scores, best first.
        unknown: Whether the scores are under the model's threshold.
        looks_like: What an unknown image shows instead, where the model has a name for it.
    """

    predictions: tuple[tuple[str, float], ...]
    unknown: bool
    looks_like: str | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """The answers to several images, in their order.

    Attributes:
        contract: Of the version that answered.
        results: A ranking, or the error of just that image.
        prepared: What was made of each upload and sent, or the same error.
    """

    contract: Contract
    results: tuple[Ranked | errors.GatewayError, ...]
    prepared: tuple[Prepared | errors.GatewayError, ...]


class Classifier:
    """Decodes, sends and ranks.

    Args:
        backend: The model server.
        resolver: Finds the version and its contract.
        decoders: Decode images; the event loop never does.
        settings: Limits.
    """

    def __init__(self, backend: Backend, resolver: ContractResolver, decoders: Decoders, settings: Settings) -> None:
        self._backend = backend
        self._resolver = resolver
        self._decoders = decoders
        self._batch_size = settings.max_predict_batch_size
        # With traces each request has a call, and a span, of its own.
        joined = 1 if settings.tracing else min(settings.max_joined_photos, settings.max_predict_batch_size)
        self._joiner = Joiner(self._predict, joined, backend.servers)

    async def classify(
        self,
        model: str,
        selector: Selector,
        uploads: Sequence[ImageBytes | errors.GatewayError],
        top_k: int,
        deadline: Deadline,
        call: Call,
        *,
        ready: Classification | None = None,
    ) -> Classification:
        """Classify images with one version of a model.

        Args:
            model: Its name.
            selector: Which version.
            uploads: Encoded images; one that is an error already keeps its place.
            top_k: Labels wanted for each image; fewer where the model has fewer.
            deadline: For all of it.
            call: Takes note of version, failed images and times.
            ready: An answer to the same uploads, whose decoded images are used again where they fit.

        Raises:
            GatewayError: What fails for all images alike; what is wrong with one image is in its place of the result.
        """
        prepared = ready.prepared if ready is not None else ()
        prepared_for = ready.contract if ready is not None else None

        async def ask(served: Served) -> Classification:
            nonlocal prepared, prepared_for
            contract = served.checked_contract()
            call.answered_by(contract.model, contract.version)
            joins = len(uploads) == 1 and contract.input_kind == "pixels"  # encoded images may fail in the model
            with self._joiner.expect(contract) if joins else nullcontext() as expected:
                if prepared_for is None or _preparation(prepared_for) != _preparation(contract):
                    prepared = await self._prepare(contract, uploads, deadline, call)
                    prepared_for = contract
                good = [one for one in prepared if not isinstance(one, errors.GatewayError)]
                with call.stage("predict"):
                    scores = await self._scores(contract, good, expected, deadline)
            rank = partial(_ranked, contract, prepared, scores, top_k)
            if len(prepared) > RANKED_AT_ONCE:
                [results] = await self._decoders.run([lambda _: rank()], deadline)
            else:
                results = rank()
            return Classification(contract, results, prepared)

        return await self._resolver.answered(model, selector, deadline, ask)

    async def _prepare(
        self, contract: Contract, uploads: Sequence[ImageBytes | errors.GatewayError], deadline: Deadline, call: Call
    ) -> tuple[Prepared | errors.GatewayError, ...]:
        submitted = time.perf_counter()
        started: list[float] = []
        prepared = await self._decoders.run(
            [partial(_decoded, upload, contract, started) for upload in uploads], deadline
        )
        call.worked("decode", submitted, started)
        call.failures = [one.code for one in prepared if isinstance(one, errors.GatewayError)]
        return tuple(prepared)

    async def _scores(
        self, contract: Contract, good: Sequence[Prepared], expected: Expected | None, deadline: Deadline
    ) -> list[Scores]:
        if expected is not None and good and not isinstance(good[0], bytes):
            return [await expected.scores(good[0], deadline)]
        size = min(self._batch_size, max(1, MAX_REQUEST_BYTES // max(map(_bytes_of, good), default=1)))
        batches = [good[start : start + size] for start in range(0, len(good), size)]
        answers = await together([self._predict(contract, batch, deadline) for batch in batches])
        return [scores for answer in answers for scores in answer]

    async def _predict(self, contract: Contract, batch: Sequence[Prepared], deadline: Deadline) -> Scores:
        """Scores (n, classes) of one PredictRequest."""
        inputs = {contract.input_name: _input_wire(contract, batch)}
        outputs = await self._backend.predict(
            contract.model, contract.version, contract.signature, inputs, [contract.output_name], deadline
        )
        return checked_scores(contract, outputs.get(contract.output_name), len(batch))


def _preparation(contract: Contract) -> tuple[object, ...]:
    """All that decides what is made of an upload before it is sent."""
    return contract.input_kind, contract.target, contract.input_dtype, contract.pixel_range


def _bytes_of(one: Prepared) -> int:
    return len(one) if isinstance(one, bytes) else one.nbytes


def _decoded(
    upload: ImageBytes | errors.GatewayError, contract: Contract, started: list[float], max_pixels: int
) -> Prepared | errors.GatewayError:
    started.append(time.perf_counter())
    if isinstance(upload, errors.GatewayError):
        return upload
    data = join_pieces(upload)
    try:
        if contract.input_kind == "encoded":
            return images.reencode_image(data, max_pixels=max_pixels)
        return _scaled(contract, images.decode_image(data, contract.target, max_pixels=max_pixels))
    except images.ImageError as error:
        return image_error(error)


def image_error(error: images.ImageError) -> errors.GatewayError:
    """What a caller is told of an image that could not be decoded."""
    if isinstance(error, images.UnsupportedImage):
        return errors.UnsupportedImage(str(error))
    if isinstance(error, images.ImageTooLarge):
        return errors.ImageTooLarge(str(error))
    return errors.InvalidImage(str(error))


def _scaled(contract: Contract, pixels: npt.NDArray[np.uint8]) -> Pixels:
    """Pixels in the dtype and range that a model takes."""
    if contract.input_dtype == DataType.DT_UINT8:
        return pixels
    low, high = contract.pixel_range
    scaled = pixels.astype(np.float32)
    scaled *= np.float32((high - low) / 255)
    scaled += np.float32(low)
    return scaled


def _input_wire(contract: Contract, batch: Sequence[Prepared]) -> Wire:
    if contract.input_kind == "encoded":
        return strings([one for one in batch if isinstance(one, bytes)], (len(batch),))
    return stacked([one for one in batch if not isinstance(one, bytes)])


def checked_scores(contract: Contract, tensor: Tensor | None, images_sent: int) -> Scores:
    """Scores (n, classes), 0 to 1, out of an answer; a sigmoid becomes two classes.

    Raises:
        ModelServerFailed: The answer is of another shape, or not finite.
        UnsupportedModel: The scores are not probabilities.
    """
    name = f"The model {contract.model!r} version {contract.version}"
    if tensor is None:
        raise errors.ModelServerFailed(f"{name} left out its scores.")
    try:
        scores = np.asarray(number_array(tensor, max_elements=images_sent * 1_000_000), np.float32)
    except TensorError as error:
        raise errors.ModelServerFailed(f"{name} gave scores that cannot be read.") from error
    if scores.ndim != 2 or len(scores) != images_sent or scores.shape[1] < 1:
        raise errors.ModelServerFailed(f"{name} gave scores of shape {scores.shape} for {images_sent} images.")
    lowest, highest = float(scores.min()), float(scores.max())  # NaN where one is
    if not math.isfinite(lowest) or not math.isfinite(highest):
        raise errors.ModelServerFailed(f"{name} gave scores that are not numbers.")
    if lowest < 0 or highest > 1:
        if lowest < -ROUNDING or highest > 1 + ROUNDING:
            raise errors.UnsupportedModel(
                f"{name} gave scores from {lowest:.3g} to {highest:.3g}, which are not probabilities: it must end in a "
                "softmax or a sigmoid."
            )
        scores = scores.clip(0, 1)
    if contract.sigmoid or (scores.shape[1] == 1 and len(contract.labels) in (0, 2)):
        scores = np.concatenate([1 - scores, scores], axis=1)
    labels = len(contract.labels) + len(contract.other_labels)
    if labels and scores.shape[1] != labels:
        raise errors.ModelServerFailed(f"{name} gave {scores.shape[1]} scores for {labels} labels.")
    return scores


def _ranked(
    contract: Contract, prepared: Sequence[Prepared | errors.GatewayError], scores: Sequence[Scores], top_k: int
) -> tuple[Ranked | errors.GatewayError, ...]:
    """What each image is answered with, given the scores of those that could be prepared."""
    found = iter(scores)
    return tuple(
        one if isinstance(one, errors.GatewayError) else rank_labels(contract, next(found), top_k) for one in prepared
    )


def rank_labels(contract: Contract, scores: Scores, top_k: int) -> Ranked:
    """The best labels of one image, given its scores (labels + other labels)."""
    others = scores[len(scores) - len(contract.other_labels) :]
    scores = scores[: len(scores) - len(others)]
    best = (-scores).argsort(kind="stable")[:top_k]
    predictions = tuple(
        (contract.labels[index] if contract.labels else str(index), round(float(scores[index]), SCORE_DECIMALS))
        for index in best.tolist()
    )
    threshold = contract.unknown_threshold
    known = float(scores.sum() if len(others) else scores[best[0]])
    if threshold is None or known >= threshold:
        return Ranked(predictions, unknown=False)
    return Ranked(predictions, True, contract.other_labels[int(others.argmax())] if len(others) else None)
