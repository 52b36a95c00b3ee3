"""Cache the versions of models, and repeat requests whose version goes away."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceeded,
    ModelServerFailed,
    ModelServerUnavailable,
    NotFound,
    NotReady,
    Unavailable,
)
from gateway.model_options import ModelOptions
from gateway.pb.serving_pb2 import ModelVersionStatus
from gateway.serving.backend import Backend, Selector, ServableNotFound
from gateway.serving.single_flight import SingleFlight, joined
from gateway.serving.version_lookup import ServedVersion, VersionLookup

MAX_CACHED = 256
"""Limit on cached versions. Only versions that exist on the model server are cached."""

STALE_FACTOR = 5
"""Refresh intervals after which a request waits for a lookup, for at most half of its remaining time. If the
lookup does not end in time, requests do not wait again for as long; they need the time for the model."""

LOOKUP_SECONDS = 5.0
"""Time limit of a lookup, which several requests share."""

DESCRIPTION_SECONDS = 1.0
"""Maximum age of an answer about a model: the states of its versions, and the signatures of one."""

SWITCH_ATTEMPTS = 8
"""Attempts of a request whose version went away. While replicas change one after the other, a request can meet old and
new ones in turn. The deadline applies in any case."""

RELOAD_SECONDS = 1.0
"""Minimum time in which a model server can load another model under the same version number.

It polls its folder once a second, and must have noticed that the old version is gone before it loads the new one."""

T = TypeVar("T")


@dataclass(slots=True)
class _Entry:
    served: ServedVersion
    read_at: float
    missed_at: float = -math.inf
    """When a request last waited for a lookup that did not end in time."""


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

    Attributes:
        lookup: Reads versions from the model server without the cache.
    """

    def __init__(self, backend: Backend, options: Mapping[str, ModelOptions], refresh_seconds: float) -> None:
        self.lookup = VersionLookup(backend, options)
        self._refresh_seconds = refresh_seconds
        self._entries: OrderedDict[tuple[str, Selector], _Entry] = OrderedDict()
        self._lookups: SingleFlight[tuple[str, Selector], ServedVersion] = SingleFlight()
        self._states: SingleFlight[str, list[ModelVersionStatus]] = SingleFlight(DESCRIPTION_SECONDS)
        self._descriptions: SingleFlight[tuple[str, Selector], ServedVersion] = SingleFlight(DESCRIPTION_SECONDS)

    async def answer(
        self, model: str, selector: Selector, deadline: Deadline, ask: Callable[[ServedVersion], Awaitable[T]]
    ) -> T:
        """Call `ask` with the version that a selector stands for, and again with the next one if that goes away.

        `ask` raises `ServableNotFound` if its version is gone.

        Raises:
            NotReady: Versions keep going away or changing.
            GatewayError: As `served` and `ask` raise them.
        """
        served = await self.served(model, selector, deadline)
        for attempt in range(SWITCH_ATTEMPTS):
            if attempt > 0:
                # Without a pause at first, then with growing ones: replicas may take seconds to switch.
                await asyncio.sleep(min(0.01 * (attempt - 1) ** 2, deadline.remaining()))
                served = await self._renewed(served, selector, deadline)
            try:
                answer = await ask(served)
            except ServableNotFound:
                continue
            except ModelServerFailed:  # for example, the number of scores is not that of the labels
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
            return True  # without a contract there are no labels that could belong to another model
        since = time.monotonic() - RELOAD_SECONDS
        exactly = Selector(version=served.version)
        # A lookup in progress may have started too early, and the selector may mean another version by now.
        for target in (None, selector, exactly, exactly):
            if target is not None:
                try:
                    await joined(self._shared_lookup(served.model, target), deadline)
                except (Unavailable, DeadlineExceeded):
                    if self._last_read(served).read_at < since - self._refresh_seconds * STALE_FACTOR:
                        raise
                    return True
                except NotFound:
                    return True  # it was unloaded after its answer
            read = self._last_read(served)
            if read.contract is not served.contract and read.contract != served.contract:
                return False
            if read.read_at >= since:
                return True
        return False

    def _last_read(self, served: ServedVersion) -> ServedVersion:
        """The newest cache entry of the same version."""
        entries = (
            entry.served
            for (model, _), entry in self._entries.items()
            if model == served.model and entry.served.version == served.version
        )
        return max(entries, key=lambda one: one.read_at, default=served)

    async def served(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version that a selector stands for. Raises as `VersionLookup.read` does."""
        entry = self._entries.get((model, selector))
        if entry is not None:
            now = time.monotonic()
            if now - entry.read_at <= self._refresh_seconds:
                return entry.served
            if now - max(entry.read_at, entry.missed_at) <= self._refresh_seconds * STALE_FACTOR:
                self._shared_lookup(model, selector)
                return entry.served
        if entry is None:
            return await joined(self._shared_lookup(model, selector, is_known=False), deadline)
        try:
            return await joined(self._shared_lookup(model, selector), Deadline.after(deadline.remaining() / 2))
        except (ModelServerUnavailable, DeadlineExceeded):
            entry.missed_at = time.monotonic()
            return entry.served  # outdated, but consistent; if it was unloaded, the request is repeated

    async def described(self, model: str, selector: Selector, deadline: Deadline) -> ServedVersion:
        """Like `served`, for answers about a model. Results and errors are kept for `DESCRIPTION_SECONDS`."""
        task = self._descriptions.start(
            (model, selector),
            lambda: self.served(model, selector, Deadline.after(LOOKUP_SECONDS)),
            at_once=True,  # the lookup itself waits if necessary
        )
        return await joined(task, deadline)

    async def versions(self, model: str, deadline: Deadline) -> list[ModelVersionStatus]:
        """States of all versions of a model, newest first, at most `DESCRIPTION_SECONDS` old."""
        task = self._states.start(
            model,
            lambda: self.lookup.versions(model, Deadline.after(LOOKUP_SECONDS)),
            at_once=any(name == model for name, _ in self._entries),
        )
        return await joined(task, deadline)

    async def close(self) -> None:
        """Cancel the calls in progress."""
        await asyncio.gather(self._descriptions.close(), self._lookups.close(), self._states.close())

    async def _renewed(self, gone: ServedVersion, selector: Selector, deadline: Deadline) -> ServedVersion:
        """The version that replaces one that was unloaded. Raises as `served` does."""
        entry = self._entries.get((gone.model, selector))
        if entry is not None and (entry.served.version, entry.served.contract) != (gone.version, gone.contract):
            return entry.served
        return await joined(self._shared_lookup(gone.model, selector), deadline)

    def _shared_lookup(self, model: str, selector: Selector, *, is_known: bool = True) -> asyncio.Task[ServedVersion]:
        """The lookup of a version. A known version does not wait behind names that callers made up."""
        return self._lookups.start((model, selector), lambda: self._read(model, selector), at_once=is_known)

    async def _read(self, model: str, selector: Selector) -> ServedVersion:
        key = (model, selector)
        try:
            served = await self.lookup.read(model, selector, Deadline.after(LOOKUP_SECONDS))
        except (Unavailable, DeadlineExceeded):
            raise  # without an answer, nothing is known about the model
        except Exception:
            self._entries.pop(key, None)
            raise
        self._entries[key] = _Entry(served, time.monotonic())
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_CACHED:
            self._entries.popitem(last=False)
        return served
