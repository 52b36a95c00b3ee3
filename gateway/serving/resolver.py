"""Which version of a model answers now, and by which contract."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
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
from gateway.settings import ModelOptions
from gateway.tensors.wire import TensorError, string_values, wire_of

logger = logging.getLogger(__name__)

MAX_CACHED = 256
"""Versions kept at once. Only what the model server really serves is ever kept, so this bounds memory, not use."""

STALE_FACTOR = 5
"""After that many refresh intervals a look-up is waited for, for half of the request's time at most; and then not again
for as long, or a request that asks several times would have no time left for the model."""

LOOKUP_SECONDS = 5.0
"""Deadline of a look-up, which several requests share and none of them owns."""

PATIENCE = (0.1, 0.1, 0.2)
"""Shares of its remaining time after which a look-up is begun again: the next of several model servers gets it then,
and one that stalls does not hold up those who wait for the look-up. It only reads, so this does no harm."""

LOOKUP_ATTEMPTS = 3
"""Times a look-up starts over because the version went away between its two calls."""

SWITCH_ATTEMPTS = 8
"""Times a request starts over because its version went away; with replicas that change one after the other it may
meet old and new ones in turn. The deadline bounds it in any case."""

RELOAD_SECONDS = 1.0
"""Least time in which a model server puts another model under the number of a version.

It polls its folder once a second, and must have seen the old version gone before it loads the new one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of one model, as the model server describes it.

    Attributes:
        model: Name of the model.
        version: Its version.
        signatures: All of its signatures by key.
        contract: How images are classified with it; None where it is no image classifier that can be spoken to.
        unsupported: Why there is no contract.
        read_at: When the model server was asked for all this, by `time.monotonic`.
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
    """When a look-up was last waited for in vain."""


class ContractResolver:
    """Finds versions with their contracts and keeps them for a moment; a look-up is shared by all who wait for it.

    A contract belongs to one version, and a request is sent to just that version: labels and scores of two versions
    cannot mix, and a request of the wrong shape cannot reach a version that has another.

    The number of a version may be used again for another model. So an answer counts only if the contract it rests on
    was read again, and found the same, at most `RELOAD_SECONDS` before the answer came or at any time after. There are
    limits: model servers behind one target that hold different models under one number are not told apart; the labels
    file of `options` is read by the gateway and says nothing of the model; and where look-ups fail although requests
    are answered, an answer may rest on what was read a few refresh intervals ago.

    Args:
        backend: The model server.
        options: What models without a card do not say of themselves, by model name.
        refresh_seconds: How long what is known is used without looking it up again.
    """

    def __init__(self, backend: Backend, options: Mapping[str, ModelOptions], refresh_seconds: float) -> None:
        self._backend = backend
        self._options = options
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[tuple[str, Selector], _Entry] = OrderedDict()
        self._lookups: dict[tuple[str, Selector], asyncio.Task[ServedVersion]] = {}
        self._warned: dict[tuple[str, int], str] = {}

    async def resolve(self, model: str, selector: Selector, deadline: Deadline) -> Contract:
        """The contract of the version that a selector stands for.

        Raises:
            UnsupportedModel: It is no image classifier of a known form.
            GatewayError: Else as `served`.
        """
        return (await self.served(model, selector, deadline)).checked_contract()

    async def answered(
        self, model: str, selector: Selector, deadline: Deadline, ask: Callable[[ServedVersion], Awaitable[T]]
    ) -> T:
        """The answer of the version that a selector stands for; where that goes away meanwhile, of the next one.

        Args:
            model: Name of the model.
            selector: Which version.
            deadline: For all of it.
            ask: Asks one version; it raises `ServableNotFound` where that is gone.

        Raises:
            NotReady: Version after version goes away, or becomes another model.
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
        """Whether the model behind a version that has just answered is still the one whose contract was used.

        Raises:
            ModelServerUnavailable, NotReady, DeadlineExceeded: That cannot be found out, and what is known is too old.
        """
        if served.contract is None:
            return True  # no labels that could be another model's
        since = time.monotonic() - RELOAD_SECONDS
        exactly = Selector(version=served.version)
        # A look-up under way may have begun too early, and the selector may stand for another version by now.
        for asked in (None, selector, exactly, exactly):
            if asked is not None:
                try:
                    await self._joined(self._lookup(served.model, asked), deadline)
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
            return await self._joined(self._lookup(model, selector), deadline)
        try:
            return await self._joined(self._lookup(model, selector), Deadline.after(deadline.remaining() / 2))
        except (ModelServerUnavailable, DeadlineExceeded):
            entry.missed_at = time.monotonic()
            return entry.served  # old, but of one version: at worst that is gone, and then it is looked up again

    async def versions(self, model: str, deadline: Deadline) -> list[ModelVersionStatus]:
        """States of all versions of a model, newest first.

        Raises:
            UnknownModel: Not served.
            ModelServerUnavailable, ModelServerFailed, DeadlineExceeded: As the backend raises them.
        """
        try:
            found = await _patiently(lambda part: self._backend.status(model, part), deadline)
        except ServableNotFound as error:
            raise UnknownModel(f"The model {model!r} does not exist.") from error
        return sorted(found, key=lambda status: -status.version)

    async def available(self, model: str, deadline: Deadline) -> list[int]:
        """Versions of a model that can answer now, newest first; errors as in `versions`."""
        versions = await self.versions(model, deadline)
        return [one.version for one in versions if one.state == ModelVersionStatus.State.AVAILABLE]

    async def close(self) -> None:
        """Cancel look-ups under way."""
        tasks = list(self._lookups.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renewed(self, gone: ServedVersion, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version in place of one that has just been found to be gone; errors as in `served`."""
        entry = self._entries.get((gone.model, selector))
        if entry is not None and (entry.served.version, entry.served.contract) != (gone.version, gone.contract):
            return entry.served
        return await self._joined(self._lookup(gone.model, selector), deadline)

    def _lookup(self, model: str, selector: Selector) -> asyncio.Task[ServedVersion]:
        key = (model, selector)
        task = self._lookups.get(key)
        if task is None:
            look_up = _patiently(lambda part: self._read(model, selector, part), Deadline.after(LOOKUP_SECONDS))
            task = asyncio.create_task(look_up)
            self._lookups[key] = task
            task.add_done_callback(lambda done: self._keep(key, done))
        return task

    def _keep(self, key: tuple[str, Selector], task: asyncio.Task[ServedVersion]) -> None:
        del self._lookups[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._entries[key] = _Entry(task.result(), time.monotonic())
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_CACHED:
                self._entries.popitem(last=False)
        elif isinstance(error, Unavailable | DeadlineExceeded):
            # The server is away, not the model: what is known stays until it is too old.
            return
        else:
            self._entries.pop(key, None)

    async def _joined(self, task: asyncio.Task[ServedVersion], deadline: Deadline) -> ServedVersion:
        # Unlike wait_for this leaves the look-up alone, whoever of those who share it goes.
        done, _ = await asyncio.wait({task}, timeout=deadline.remaining())
        if not done:
            raise DeadlineExceeded("The model server did not answer before the deadline of the request.")
        return task.result()

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
            available = [str(version) for version in await self.available(model, deadline)]
        except UnknownModel as unknown:
            return unknown
        if not available:
            return NotReady(f"The model {model!r} has no available version.")
        if selector == Selector():
            return NotReady(f"The model {model!r} is changing versions.")
        return UnknownVersion(f"The model {model!r} has no {selector}; available versions are {', '.join(available)}.")


async def _patiently(ask: Callable[[Deadline], Awaitable[T]], deadline: Deadline) -> T:
    for share in PATIENCE:
        try:
            return await ask(Deadline.after(deadline.remaining() * share))
        except DeadlineExceeded:
            continue
    return await ask(deadline)
