"""Check whether models are ready, by sending each a test image."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import BadUpstream, DeadlineExceeded, GatewayError, ModelServerFailed, UnknownModel
from gateway.images.rewrite import encode_png
from gateway.inference.classifier import Classifier
from gateway.serving.backend import Selector, ServableNotFound
from gateway.serving.contract import Contract
from gateway.serving.resolver import ContractResolver
from gateway.serving.single_flight import SingleFlight
from gateway.serving.version_lookup import available_versions

logger = logging.getLogger(__name__)

READINESS_SECONDS = 1.0
"""How long the result of a check is cached."""

PROBE_SECONDS = 2.0
"""Time limit of a check: less than the default timeout of orchestrators' probes."""

FIRST_TRY = 0.4
"""Share of the remaining time after which the test image is sent again, to the next of several model servers."""

REFUSED_SECONDS = 10.0
"""Time after which a version that has refused the test image is tried again. The cause is nearly always the model."""

GREY = 128


@dataclass(frozen=True, slots=True)
class ModelReadiness:
    """The available versions of a model, newest first, and why it is not ready; empty if it is."""

    versions: tuple[int, ...]
    reason: str = ""


class Readiness:
    """Checks models.

    A model is ready if it has an available version that the gateway supports, and that version has answered one grey
    image with scores that fit its labels. A version is tried until it has answered once, and again when its contract
    changes. If it refuses the image, it is tried every `REFUSED_SECONDS`, to keep the logs of gateway and model server
    short. Concurrent callers share one check, and its result is cached for `READINESS_SECONDS`.
    """

    def __init__(self, resolver: ContractResolver, classifier: Classifier) -> None:
        self._resolver = resolver
        self._classifier = classifier
        self._checks: SingleFlight[tuple[str, ...], dict[str, ModelReadiness]] = SingleFlight(READINESS_SECONDS)
        self._answered: dict[str, Contract] = {}
        self._refused: dict[str, tuple[Contract, float, str]] = {}
        self._warned: dict[str, str] = {}

    async def check(self, models: Sequence[str]) -> dict[str, ModelReadiness]:
        """The readiness of each model, by name."""
        return await asyncio.shield(self._checks.start(tuple(models), lambda: self._check(models)))

    async def close(self) -> None:
        """Cancel a check in progress."""
        await self._checks.close()

    async def _check(self, models: Sequence[str]) -> dict[str, ModelReadiness]:
        deadline = Deadline.after(PROBE_SECONDS)
        states = await asyncio.gather(*(self._model(model, deadline) for model in models))
        return dict(zip(models, states, strict=True))

    async def _model(self, model: str, deadline: Deadline) -> ModelReadiness:
        versions: tuple[int, ...] = ()
        try:
            # The states that the routes about models show: who sees a change here sees it there, too.
            states = await self._resolver.versions(model, deadline)
            versions = tuple(available_versions(states))
            if not versions:
                failed = [str(one.version) for one in states if one.status.error_message]
                hint = f"; the log of the model server says why not version {', '.join(failed)}" if failed else ""
                return ModelReadiness((), f"The model {model!r} has no available version{hint}.")
            served = await self._resolver.served(model, Selector(), deadline)
            contract = served.contract
            if contract is None:  # the resolver has logged it
                return ModelReadiness(versions, served.unsupported)
            if self._answered.get(model) != contract:
                await self._try(contract, deadline)
                self._answered[model] = contract
            return ModelReadiness(versions)
        except UnknownModel:
            return ModelReadiness((), f"The model server serves no version of {model!r}; its log may say why.")
        except ServableNotFound:
            return ModelReadiness(versions, f"The model {model!r} is changing versions.")
        except GatewayError as error:
            if not isinstance(error, ModelServerFailed):
                self._refused.pop(model, None)  # the model server may come back with a better model
            if isinstance(error, BadUpstream) and self._warned.get(model) != error.detail:
                self._warned[model] = error.detail
                logger.warning("model %s is not ready: %s", model, error.detail)
            return ModelReadiness(versions, error.detail)

    async def _try(self, contract: Contract, deadline: Deadline) -> None:
        """Send the test image, and send it again in time if one of several model servers does not answer."""
        refused, until, detail = self._refused.get(contract.model, (None, 0.0, ""))
        if refused == contract and time.monotonic() < until:
            raise ModelServerFailed(detail)
        image = [_grey_image(contract)]
        try:
            try:
                await self._classifier.predict(contract, image, Deadline.after(deadline.remaining() * FIRST_TRY))
            except DeadlineExceeded:
                await self._classifier.predict(contract, image, deadline)
        except ModelServerFailed as error:
            if not error.server_message:
                raise
            detail = f"{error.detail} A test image failed: {error.server_message}"
            self._refused[contract.model] = contract, time.monotonic() + REFUSED_SECONDS, detail
            raise ModelServerFailed(detail) from error


def _grey_image(contract: Contract) -> bytes:
    """A grey image as the model takes it."""
    pixels = np.full((contract.target.height, contract.target.width, 3), GREY, np.uint8)
    return contract.pixel_format.convert(pixels).tobytes() if contract.input_kind == "pixels" else encode_png(pixels)
