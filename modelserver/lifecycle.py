"""Loading and unloading, each version in a thread of its own, without ever leaving a model unserved.

A version goes START → LOADING → AVAILABLE → UNLOADING → END. A new one is loaded and warmed up before an old one is
unloaded, and an old one is closed only when its last request has its answer. A version that fails is tried again while
the next older one (or a newer one) serves in its place: a broken version takes nothing down and holds nothing up.
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
        load: Makes a version ready to answer, warm-up included: (model name, folder of the version).
        retries: How often a version that failed is tried again.
        retry_seconds: The time between two tries.

    Attributes:
        changed: Guards every model and version, and tells of each change of theirs.
        closed: Nothing is loaded any more. Set it under `changed`.
    """

    def __init__(self, load: Callable[[str, Path], Servable], *, retries: int, retry_seconds: float) -> None:
        self.changed = threading.Condition()
        self.closed = False
        self._load = load
        self._retries = retries
        self._retry_seconds = retry_seconds
        # Loading is work for every core; two at once would only make both slower. Not held between retries.
        self._one_load = threading.Semaphore(1)

    def follow(self, model: Model) -> None:
        """Starts to load what the model's policy asks for, and to unload what it does not; call under `changed`."""
        if self.closed:
            return
        chosen = model.chosen()
        retried = model.retried()
        for number in sorted(chosen, reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state is State.END and version.error is None):
                version = Version(number)
                self._start(self._bring_up, model, version)
                model.versions[number] = version  # after the start, which may fail: then the next call tries again
        serving = any(v.state is State.AVAILABLE for n, v in model.versions.items() if n in chosen)
        for number, version in model.versions.items():
            version.wanted = number in chosen or number in retried
            if version.state is State.AVAILABLE and number not in chosen and (serving or not chosen):
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
                except Exception as error:  # whatever a model does, the server goes on
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
        """Moves on, unless the version is not asked for any more: then it ends."""
        with self.changed:
            go_on = version.wanted and not self.closed and version.state is not State.END
            version.state = state if go_on else State.END
            if not go_on:
                self.follow(model)
            self.changed.notify_all()
            return go_on

    def _offer(self, model: Model, version: Version, servable: Servable) -> None:
        version.servable = servable
        version.error = None
        if self._enter(model, version, State.AVAILABLE):
            _LOG.info("available: model %s version %d, on %s", model.config.name, version.number, servable.engine)
            with self.changed:
                self.follow(model)
                self.changed.notify_all()
        else:
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
                self.changed.wait_for(lambda: self.closed or not version.wanted, self._retry_seconds)

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
