"""Load and unload versions, each in its own thread.

A version goes through the states START, LOADING, AVAILABLE, UNLOADING and END. A new version is loaded and warmed up
before an old one is unloaded. An old version is closed after its last request has been answered. If a version fails to
load, it is tried again while the next older version (or a newer one) serves in its place.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from modelserver.errors import ServingError, from_exception
from modelserver.memory import give_back
from modelserver.servable import Servable
from modelserver.versions import Model, State, Version

_LOG = logging.getLogger(__name__)


class Lifecycle:
    """Moves versions through their states.

    Args:
        load: Loads and warms up a version, given the model's name and the folder of the version.
        retries: Number of retries for a version that failed to load.
        retry_seconds: Time between two attempts.

    Attributes:
        changed: Lock of all models and versions. It notifies of each change.
        closed: No more versions are loaded. Set it while holding `changed`.
    """

    def __init__(self, load: Callable[[str, Path], Servable], *, retries: int, retry_seconds: float) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._load = load
        self._retries = retries
        self._retry_seconds = retry_seconds
        # Loading keeps all cores busy, so versions are loaded one at a time. It is not held between retries.
        self._one_load = threading.Semaphore(1)

    def follow(self, model: Model) -> None:
        """Start to load the versions that the policy selects, and to unload others. Call it while holding `changed`."""
        if self.closed:
            return
        selected = model.versions_to_serve()
        retried = model.versions_to_retry()
        for number in sorted(selected, reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state is State.END and version.error is None):
                version = Version(number)
                self._start(self._bring_up, model, version)
                model.versions[number] = version  # after the start: if that fails, the next call tries again
        serving = any(v.state is State.AVAILABLE for n, v in model.versions.items() if n in selected)
        for number, version in model.versions.items():
            version.aspired = number in selected or number in retried
            if version.state is State.AVAILABLE and number not in selected and (serving or not selected):
                self._start(self._take_down, model, version)
                version.state = State.UNLOADING

    def _start(self, target: Callable[[Model, Version], None], model: Model, version: Version) -> None:
        threading.Thread(target=target, args=(model, version), name=target.__name__, daemon=True).start()

    def _bring_up(self, model: Model, version: Version) -> None:
        path = model.folder(version.number)
        for attempt in range(self._retries + 1):
            with self._one_load:
                if not self._enter(model, version, State.LOADING):
                    return
                _LOG.info("loading model %s version %d from %s", model.config.name, version.number, path)
                try:
                    servable = self._load(model.config.name, path)
                except Exception as error:  # no model may end the server
                    failure = from_exception(error)
                else:
                    self._offer(model, version, servable)
                    return
            _LOG.error(
                "model %s version %d failed to load (try %d of %d): %s: %s",
                model.config.name,
                version.number,
                attempt + 1,
                self._retries + 1,
                failure.code.name,
                failure.message,
            )
            self._fail(model, version, failure, last=attempt == self._retries)

    def _enter(self, model: Model, version: Version, state: State) -> bool:
        """Move to the next state, or to END if the version is no longer aspired."""
        with self.changed:
            go_on = version.aspired and not self.closed and version.state is not State.END
            version.state = state if go_on else State.END
            if not go_on:
                self.follow(model)
            self.changed.notify_all()
            return go_on

    def _offer(self, model: Model, version: Version, servable: Servable) -> None:
        with self.changed:
            version.servable = servable
            version.error = None
            if self._enter(model, version, State.AVAILABLE):
                # Log while the lock is held: this line comes before the first answer of the version.
                _LOG.info("available: model %s version %d, on %s", model.config.name, version.number, servable.engine)
                self.follow(model)
                return
            version.servable = None
        servable.close()

    def _fail(self, model: Model, version: Version, failure: ServingError, *, last: bool) -> None:
        with self.changed:
            version.error = failure
            if last:
                version.state = State.END
            self.follow(model)
            self.changed.notify_all()
            if not last:
                self.changed.wait_for(lambda: self.closed or not version.aspired, self._retry_seconds)

    def _take_down(self, model: Model, version: Version) -> None:
        _LOG.info("unloading model %s version %d", model.config.name, version.number)
        with self.changed:
            self.changed.wait_for(lambda: version.in_flight == 0)
            servable, version.servable = version.servable, None
        try:
            if servable is not None:
                servable.close()
                give_back()
        finally:
            with self.changed:
                version.state = State.END
                self.follow(model)
                self.changed.notify_all()
        _LOG.info("unloaded: model %s version %d", model.config.name, version.number)
