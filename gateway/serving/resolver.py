"""Find the version of a model that answers, and its contract."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    GatewayError,
    ModelServerFailed,
    ModelServerUnavailable,
    NotFound,
    NotReady,
    Unavailable,
    UnknownModel,
    UnknownVersion,
    UnsupportedModel,
)
from gateway.pb.serving_pb2 import ModelVersionStatus, SignatureDef, SignatureDefMap
from gateway.serving.backend import Backend, Selector, ServableNotFound, read_outputs
from gateway.serving.contract import DESCRIBE, Contract, carries_card, contract_from_card
from gateway.serving.signature_contract import contract_from_signatures
from gateway.serving.single_flight import SingleFlight, joined
from gateway.settings import ModelOptions
from gateway.tensors.wire import TensorError, string_values, wire_of

logger = logging.getLogger(__name__)

MAX_CACHED = 256
"""Limit on cached versions. Only versions that exist on the model server are cached."""

STALE_FACTOR = 5
"""Refresh intervals after which a request waits for a lookup, for at most half of its remaining time. After a wait in
vain, requests do not wait again for as long; otherwise they would have no time left for the model."""

LOOKUP_SECONDS = 5.0
"""Time limit of a lookup, which several requests share."""

PATIENCE = (0.1, 0.1, 0.2)
"""Shares of the remaining time after which a lookup is repeated. The repeated call goes to the next model server, so a
server that hangs does not delay the requests that wait. Lookups only read, so repeating them is safe."""

DESCRIPTION_SECONDS = 1.0
"""How old an answer about a model may be: the states of its versions, and the signatures of one."""

LOOKUP_ATTEMPTS = 3
"""Attempts of a lookup whose version went away between its two calls."""

SWITCH_ATTEMPTS = 8
"""Attempts of a request whose version went away. While replicas change one after the other, a request can meet old and
new ones in turn. The deadline applies in any case."""

RELOAD_SECONDS = 1.0
"""Minimum time in which a model server can load another model under the same version number.

It polls its folder once a second, and must have noticed that the old version is gone before it loads the new one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of one model, as the model server describes it.

    Attributes:
        model: Name of the model.
        version: Its version.
        signatures: All of its signatures by key.
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
        """The contract.

        Raises:
            UnsupportedModel: There is none.
        """
        if self.contract is None:
            raise UnsupportedModel(self.unsupported)
        return self.contract


@dataclass(slots=True)
class _Entry:
    served: ServedVersion
    read_at: float
    missed_at: float = -math.inf
    """When a request last waited for a lookup in vain."""


class ContractResolver:
    """Finds versions and their contracts, and caches them briefly. Concurrent requests share one lookup.

    A contract belongs to one version, and a request is sent to exactly that version. So labels and scores of two
    versions cannot mix, and a version never receives a request of the wrong shape.

    A version number may be reused for another model. So an answer is used only if the contract was read again, and had
    not changed, no earlier than `RELOAD_SECONDS` before the answer. Three cases are not detected: model servers behind
    one target that hold different models under one number; a changed labels file of `options`; and, if lookups fail
    while requests succeed, a change within the last few refresh intervals.

    Args:
        backend: The model server.
        options: Options of models without a model card, by model name.
        refresh_seconds: How long a cached version is used without another lookup.
    """

    def __init__(self, backend: Backend, options: Mapping[str, ModelOptions], refresh_seconds: float) -> None:
        self._backend = backend
        self._options = options
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[tuple[str, Selector], _Entry] = OrderedDict()
        self._lookups: SingleFlight[tuple[str, Selector], ServedVersion] = SingleFlight()
        self._states: SingleFlight[str, list[ModelVersionStatus]] = SingleFlight(DESCRIPTION_SECONDS)
        self._descriptions: SingleFlight[tuple[str, Selector], ServedVersion] = SingleFlight(DESCRIPTION_SECONDS)
        self._warned: dict[tuple[str, int], str] = {}

    async def answered(
        self, model: str, selector: Selector, deadline: Deadline, ask: Callable[[ServedVersion], Awaitable[T]]
    ) -> T:
        """Call `ask` with the version that a selector stands for, and again with the next one if that goes away.

        Args:
            model: Name of the model.
            selector: The version.
            deadline: Deadline of the whole call.
            ask: Gets the answer of one version. Raises `ServableNotFound` if the version is gone.

        Raises:
            NotReady: Versions keep going away or changing.
            GatewayError: As `served` and `ask` raise them.
        """
        served = await self.served(model, selector, deadline)
        for attempt in range(SWITCH_ATTEMPTS):
            if attempt > 0:
                # At once the first time, then ever later: several replicas take seconds to agree.
                await asyncio.sleep(min(0.01 * (attempt - 1) ** 2, deadline.remaining()))
                served = await self._renewed(served, selector, deadline)
            try:
                answer = await ask(served)
            except ServableNotFound:
                continue
            except ModelServerFailed:  # such as another number of scores than labels
                if await self._is_unchanged(served, selector, deadline):
                    raise
                continue
            if await self._is_unchanged(served, selector, deadline):
                return answer
        raise NotReady(f"The {selector} of model {model!r} keeps changing.")

    async def _is_unchanged(self, served: ServedVersion, selector: Selector, deadline: Deadline) -> bool:
        """Whether a version that has just answered still holds the model whose contract was used.

        Raises:
            ModelServerUnavailable, NotReady, DeadlineExceeded: The lookup failed and the cached version is too old.
        """
        if served.contract is None:
            return True  # no labels that could be another model's
        since = time.monotonic() - RELOAD_SECONDS
        exactly = Selector(version=served.version)
        # A look-up under way may have begun too early, and the selector may stand for another version by now.
        for asked in (None, selector, exactly, exactly):
            if asked is not None:
                try:
                    await joined(self._lookup(served.model, asked), deadline)
                except (Unavailable, DeadlineExceeded):
                    if self._last_read(served).read_at < since - self._refresh_seconds * STALE_FACTOR:
                        raise
                    return True
                except NotFound:
                    return True  # it has answered, and went away since
            read = self._last_read(served)
            if read.contract is not served.contract and read.contract != served.contract:
                return False
            if read.read_at >= since:
                return True
        return False

    def _last_read(self, served: ServedVersion) -> ServedVersion:
        """What was last read of the same version."""
        known = (
            entry.served
            for (model, _), entry in self._entries.items()
            if model == served.model and entry.served.version == served.version
        )
        return max(known, key=lambda one: one.read_at, default=served)

    async def served(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version that a selector stands for.

        Raises:
            UnknownModel: Not served.
            UnknownVersion: The model is, this version or label is not.
            NotReady: The model is known, but no version of it is available.
            ModelServerUnavailable, ModelServerFailed, DeadlineExceeded: As the backend raises them.
        """
        entry = self._entries.get((model, selector))
        if entry is not None:
            now = time.monotonic()
            if now - entry.read_at <= self._refresh_seconds:
                return entry.served
            if now - max(entry.read_at, entry.missed_at) <= self._refresh_seconds * STALE_FACTOR:
                self._lookup(model, selector)
                return entry.served
        if entry is None:
            return await joined(self._lookup(model, selector), deadline)
        try:
            return await joined(self._lookup(model, selector), Deadline.after(deadline.remaining() / 2))
        except (ModelServerUnavailable, DeadlineExceeded):
            entry.missed_at = time.monotonic()
            return entry.served  # old, but of one version: at worst that is gone, and then it is looked up again

    async def described(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The same for answers about a model: an error, too, is kept for `DESCRIPTION_SECONDS`."""
        return await self._descriptions.result(
            (model, selector), lambda: self.served(model, selector, Deadline.after(LOOKUP_SECONDS)), deadline
        )

    async def versions(self, model: str, deadline: Deadline) -> list[ModelVersionStatus]:
        """States of all versions of a model, newest first, at most `DESCRIPTION_SECONDS` old.

        Raises:
            UnknownModel: Not served.
            ModelServerUnavailable, ModelServerFailed, DeadlineExceeded: As the backend raises them.
        """
        return await self._states.result(
            model, lambda: self.versions_now(model, Deadline.after(LOOKUP_SECONDS)), deadline
        )

    async def versions_now(self, model: str, deadline: Deadline) -> list[ModelVersionStatus]:
        """The same by a call of its own."""
        try:
            found = await _patiently(lambda part: self._backend.status(model, part), deadline)
        except ServableNotFound as error:
            raise UnknownModel(f"The model {model!r} does not exist.") from error
        return sorted(found, key=lambda status: -status.version)

    async def close(self) -> None:
        """Cancel calls under way."""
        await asyncio.gather(self._descriptions.close(), self._lookups.close(), self._states.close())

    async def _renewed(self, gone: ServedVersion, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version in place of one that has just been found to be gone; errors as in `served`."""
        entry = self._entries.get((gone.model, selector))
        if entry is not None and (entry.served.version, entry.served.contract) != (gone.version, gone.contract):
            return entry.served
        return await joined(self._lookup(gone.model, selector), deadline)

    def _lookup(self, model: str, selector: Selector) -> asyncio.Task[ServedVersion]:
        return self._lookups.start((model, selector), lambda: self._looked_up(model, selector))

    async def _looked_up(self, model: str, selector: Selector) -> ServedVersion:
        key = (model, selector)
        try:
            served = await _patiently(lambda part: self._read(model, selector, part), Deadline.after(LOOKUP_SECONDS))
        except (Unavailable, DeadlineExceeded):
            raise  # the server is away, not the model: what is known stays until it is too old
        except Exception:
            self._entries.pop(key, None)
            raise
        self._entries[key] = _Entry(served, time.monotonic())
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_CACHED:
            self._entries.popitem(last=False)
        return served

    async def _read(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        for _ in range(LOOKUP_ATTEMPTS):
            read_at = time.monotonic()
            try:
                version, signatures = await self._backend.signatures(model, selector, deadline)
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

    def _warn_once(self, model: str, version: int, reason: str) -> None:
        if self._warned.get((model, version)) != reason:
            self._warned[model, version] = reason
            logger.warning("model %s version %d is not served to photos: %s", model, version, reason)

    async def _described(
        self, model: str, version: int, signatures: Mapping[str, SignatureDef], deadline: Deadline
    ) -> Contract:
        request = {"request": wire_of(np.zeros(1, np.int32))}
        outputs = read_outputs(await self._backend.predict(model, version, DESCRIBE, request, ["card"], deadline))
        try:
            [card] = string_values(outputs["card"], max_elements=1)
        except (KeyError, TensorError, ValueError) as error:
            raise ModelServerFailed(f"The model {model!r} version {version} returned no model card.") from error
        return contract_from_card(model, version, signatures, card)

    async def _missing(self, model: str, selector: Selector, deadline: Deadline) -> GatewayError:
        """Why a servable was not found, which the server's answer leaves open."""
        try:
            available = [str(version) for version in available_versions(await self.versions_now(model, deadline))]
        except UnknownModel as unknown:
            return unknown
        if not available:
            return NotReady(f"The model {model!r} has no available version.")
        if selector == Selector():
            return NotReady(f"The model {model!r} is changing versions.")
        return UnknownVersion(f"The model {model!r} has no {selector}; available versions are {', '.join(available)}.")


def available_versions(states: Sequence[ModelVersionStatus]) -> list[int]:
    """The versions that can answer, in the order of the states."""
    return [one.version for one in states if one.state == ModelVersionStatus.State.AVAILABLE]


async def _patiently(ask: Callable[[Deadline], Awaitable[T]], deadline: Deadline) -> T:
    for share in PATIENCE:
        try:
            return await ask(Deadline.after(deadline.remaining() * share))
        except DeadlineExceeded:
            continue
    return await ask(deadline)
