"""Ask the model server for the versions of a model and their contracts."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    ModelServerFailed,
    NotReady,
    UnknownModel,
    UnknownVersion,
    UnsupportedModel,
)
from gateway.model_options import ModelOptions
from gateway.pb.serving_pb2 import ModelVersionStatus, SignatureDef, SignatureDefMap
from gateway.serving.backend import Backend, Selector, ServableNotFound, read_outputs
from gateway.serving.contract import DESCRIBE, Contract, carries_card, contract_from_card
from gateway.serving.signature_contract import contract_from_signatures
from gateway.tensors.wire import TensorError, string_values, wire_of

logger = logging.getLogger(__name__)

PATIENCE = (0.1, 0.1, 0.2)
"""Shares of the remaining time after which a call of a lookup is repeated. The repeated call goes to the next model
server, so a server that hangs does not delay the requests that wait. Lookups only read, so repeating them is safe.

Each call is repeated by itself. With two servers of which one hangs, a lookup of two calls that was repeated as a whole
would send its second call to the server that hangs each time."""

LOOKUP_ATTEMPTS = 3
"""Attempts of a lookup whose version went away between its two calls."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of one model, as the model server describes it.

    Attributes:
        contract: How to classify images with it; None if it is not a supported image classifier.
        unsupported: Why there is no contract.
        read_at: When this was read from the model server, by `time.monotonic`.
    """

    model: str
    version: int
    signatures: Mapping[str, SignatureDef]
    contract: Contract | None
    unsupported: str = ""
    read_at: float = field(default=-math.inf, compare=False)

    @property
    def signature_map(self) -> bytes:
        """The signatures as a serialised SignatureDefMap, for worker processes."""
        return SignatureDefMap(signature_def=self.signatures).SerializeToString()

    def checked_contract(self) -> Contract:
        """The contract; raises UnsupportedModel if there is none."""
        if self.contract is None:
            raise UnsupportedModel(self.unsupported)
        return self.contract


class VersionLookup:
    """Reads versions and their contracts from the model server. Nothing is cached; see `ContractResolver`."""

    def __init__(self, backend: Backend, options: Mapping[str, ModelOptions]) -> None:
        self._backend = backend
        self._options = options
        self._warned: dict[tuple[str, int], str] = {}

    async def read(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version that a selector stands for.

        Raises:
            UnknownModel: The model is not served.
            UnknownVersion: The model is served, but this version or label is not.
            NotReady: The model is known, but no version of it is available.
            GatewayError: As `Backend.predict` raises it.
        """
        for _ in range(LOOKUP_ATTEMPTS):
            read_at = time.monotonic()
            try:
                version, signatures = await _patiently(
                    lambda limit: self._backend.signatures(model, selector, limit), deadline
                )
            except ServableNotFound as error:
                raise await self._missing(model, selector, deadline) from error
            try:
                if carries_card(signatures):
                    contract = await self._described(model, version, signatures, deadline)
                else:
                    options = self._options.get(model, ModelOptions.model_validate({}))
                    contract = contract_from_signatures(model, version, signatures, options)
            except ServableNotFound:
                continue
            except UnsupportedModel as error:
                self._warn_once(model, version, error.detail)
                return ServedVersion(model, version, signatures, None, error.detail, read_at)
            return ServedVersion(model, version, signatures, contract, read_at=read_at)
        raise NotReady(f"The {selector} of model {model!r} keeps changing.")

    async def versions(self, model: str, deadline: Deadline) -> list[ModelVersionStatus]:
        """States of all versions of a model, newest first; raises UnknownModel if it is not served."""
        try:
            statuses = await _patiently(lambda limit: self._backend.status(model, limit), deadline)
        except ServableNotFound as error:
            raise UnknownModel(f"The model {model!r} does not exist.") from error
        return sorted(statuses, key=lambda status: -status.version)

    async def _described(
        self, model: str, version: int, signatures: Mapping[str, SignatureDef], deadline: Deadline
    ) -> Contract:
        request = {"request": wire_of(np.zeros(1, np.int32))}
        answer = await _patiently(
            lambda limit: self._backend.predict(model, version, DESCRIBE, request, ["card"], limit), deadline
        )
        outputs = read_outputs(answer)
        try:
            [card] = string_values(outputs["card"], max_elements=1)
        except (KeyError, TensorError, ValueError) as error:
            raise ModelServerFailed(f"The model {model!r} version {version} returned no model card.") from error
        return contract_from_card(model, version, signatures, card)

    async def _missing(self, model: str, selector: Selector, deadline: Deadline) -> GatewayError:
        """The error for a servable that was not found. The server does not say whether model or version is unknown."""
        try:
            available = [str(version) for version in available_versions(await self.versions(model, deadline))]
        except UnknownModel as unknown:
            return unknown
        if not available:
            return NotReady(f"The model {model!r} has no available version.")
        if selector == Selector():
            return NotReady(f"The model {model!r} is changing versions.")
        return UnknownVersion(f"The model {model!r} has no {selector}; available versions are {', '.join(available)}.")

    def _warn_once(self, model: str, version: int, reason: str) -> None:
        if self._warned.get((model, version)) != reason:
            self._warned[model, version] = reason
            logger.warning("model %s version %d cannot classify images: %s", model, version, reason)


def available_versions(states: Sequence[ModelVersionStatus]) -> list[int]:
    """The versions that can answer, in the order of the states."""
    return [one.version for one in states if one.state == ModelVersionStatus.State.AVAILABLE]


async def _patiently(call: Callable[[Deadline], Awaitable[T]], deadline: Deadline) -> T:
    """Await a call, and repeat it if there is no answer after each share in `PATIENCE`."""
    for share in PATIENCE:
        try:
            return await call(Deadline.after(deadline.remaining() * share))
        except DeadlineExceeded:
            continue
    return await call(deadline)
