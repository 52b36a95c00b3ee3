"""Which versions are loaded: follows the folders and the configuration, without ever leaving a model unserved.

A version goes START → LOADING → AVAILABLE → UNLOADING → END. A new one is loaded and warmed up before an old one is
unloaded, and an old one is closed only when its last request has its answer. A version that fails is tried again while
the next older one (or a newer one) serves in its place: a broken version takes nothing down and holds nothing up.
"""

import enum
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelserver.config import ModelConfig, Policy
from modelserver.errors import ConfigError, ServingError, from_exception, invalid, not_found
from modelserver.memory import give_back
from modelserver.servable import Servable

_LOG = logging.getLogger(__name__)
_VERSION_NAME = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_VERSION = 2**63 - 1


class State(enum.IntEnum):
    """The numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


def _versions_in(path: Path) -> frozenset[int] | OSError:
    try:
        names = [entry.name for entry in path.iterdir() if _VERSION_NAME.fullmatch(entry.name) and entry.is_dir()]
    except OSError as error:
        return error
    return frozenset(int(name) for name in names if int(name) <= _LARGEST_VERSION)


@dataclass(slots=True)
class Version:
    """One version of a model, from the moment it was seen.

    Attributes:
        number: Its number.
        state: Where it is in its life.
        error: Why it is not available; kept when it ended.
        wanted: Whether the policy asks for it (a version that is retried is still asked for).
        servable: What answers, while AVAILABLE or UNLOADING.
        in_flight: Requests that use it now.
    """

    number: int
    state: State = State.START
    error: ServingError | None = None
    wanted: bool = True
    servable: Servable | None = None
    in_flight: int = 0


@dataclass(slots=True)
class Model:
    """A configured model and every version of it that was ever seen."""

    config: ModelConfig
    on_disk: frozenset[int] = frozenset()
    versions: dict[int, Version] = field(default_factory=dict)
    waiting: bool = False

    def newest(self) -> Version | None:
        """The highest AVAILABLE version."""
        return max(
            (v for v in self.versions.values() if v.state is State.AVAILABLE), key=lambda v: v.number, default=None
        )

    def chosen(self) -> set[int]:
        """The versions that should serve: those of the policy, with broken ones passed over for older ones."""
        config = self.config
        if config.policy is Policy.ALL:
            return set(self.on_disk)
        if config.policy is Policy.SPECIFIC:
            return set(self.on_disk & config.specific)
        sound = [number for number in self.on_disk if not self._broken(number)]
        return set(sorted(sound, reverse=True)[: config.latest])

    def retried(self) -> set[int]:
        """The broken versions that would be chosen if they worked."""
        newest = sorted(self.on_disk, reverse=True)[: self.config.latest]
        return {number for number in newest if self._broken(number)} if self.config.policy is Policy.LATEST else set()

    def _broken(self, number: int) -> bool:
        version = self.versions.get(number)
        return version is not None and version.error is not None


class Models:
    """Every model that is served; all methods may be called from any thread.

    Args:
        load: Makes a version ready to answer, warm-up included: (model name, folder of the version).
        retries: How often a version that failed is tried again.
        retry_seconds: The time between two tries.
        labels_ahead: Let a label that is new point at a version that is not available yet.
    """

    def __init__(
        self, load: Callable[[str, Path], Servable], *, retries: int, retry_seconds: float, labels_ahead: bool
    ) -> None:
        self._load = load
        self._retries = retries
        self._retry_seconds = retry_seconds
        self._labels_ahead = labels_ahead
        self._models: dict[str, Model] = {}
        self._changed = threading.Condition()
        # Loading is work for every core; two at once would only make both slower. Not held between retries.
        self._one_load = threading.Semaphore(1)
        self._one_scan = threading.Lock()
        self._configured: frozenset[str] = frozenset()
        self._closed = False

    # Configuration and folders

    def configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Replaces the configuration as a whole; models that are not in it any more are unloaded.

        Raises:
            ConfigError: A label points at a version that is not available, or a base_path changed. Nothing is changed.
        """
        with self._changed:
            for config in configs.values():
                self._check_path(config)
                self._check_labels(config)
            for name in self._models.keys() | configs.keys():
                if name not in configs:
                    model = self._models[name]
                    model.config, model.on_disk = ModelConfig(name, model.config.base_path), frozenset()
                elif name in self._models:
                    self._models[name].config = configs[name]
                else:
                    self._models[name] = Model(configs[name])
            self._configured = frozenset(configs)
        self.scan()

    def _check_path(self, config: ModelConfig) -> None:
        if config.name in self._configured and self._models[config.name].config.base_path != config.base_path:
            raise ConfigError(f"model {config.name} is served from another base_path: use another name")

    def _check_labels(self, config: ModelConfig) -> None:
        model = self._models.get(config.name)
        for label, number in config.labels.items():
            version = model.versions.get(number) if model else None
            if version is not None and version.state is State.AVAILABLE:
                continue
            moved = model is not None and model.config.labels.get(label, number) != number
            if moved or not self._labels_ahead:
                raise ConfigError(
                    f"Request to assign label {label} to version {number} of model {config.name}, "
                    "which is not currently available for inference"
                )

    def scan(self) -> None:
        """Looks at the folders, starts to load what is new and to unload what is gone."""
        with self._one_scan:
            with self._changed:
                paths = {name: self._models[name].config.base_path for name in self._configured}
            # A slow disk holds up no request: the folders are read without the lock.
            found = {name: _versions_in(path) for name, path in paths.items()}
            with self._changed:
                for name, model in self._models.items():
                    if name in found and name in self._configured:
                        self._note(model, found[name])
                    self._follow(model)
                self._changed.notify_all()

    def _note(self, model: Model, found: frozenset[int] | OSError) -> None:
        path = model.config.base_path
        if not found and not model.waiting:
            _LOG.warning("model %s: no version in %s, waiting", model.config.name, path)
        elif isinstance(found, OSError) and not model.waiting:
            _LOG.warning("model %s: cannot read %s (%s), waiting", model.config.name, path, found.strerror)
        model.waiting = not found or isinstance(found, OSError)
        if isinstance(found, OSError):
            return  # it says nothing about the versions: what is loaded stays
        for number in found - model.on_disk:
            # Published again under the same number: a new chance.
            if (version := model.versions.get(number)) is not None and version.state is State.END:
                version.error = None
        model.on_disk = found

    def _follow(self, model: Model) -> None:
        if self._closed:
            return
        chosen = model.chosen()
        retried = model.retried()
        for number in sorted(chosen, reverse=True):
            version = model.versions.get(number)
            if version is None or (version.state is State.END and version.error is None):
                version = model.versions[number] = Version(number)
                self._start(self._bring_up, model, version)
        serving = any(v.state is State.AVAILABLE for n, v in model.versions.items() if n in chosen)
        for number, version in model.versions.items():
            version.wanted = number in chosen or number in retried
            if version.state is State.AVAILABLE and number not in chosen and (serving or not chosen):
                version.state = State.UNLOADING
                self._start(self._take_down, model, version)

    def _start(self, target: Callable[[Model, Version], None], model: Model, version: Version) -> None:
        threading.Thread(target=target, args=(model, version), name=target.__name__, daemon=True).start()

    # The life of a version, in a thread of its own

    def _bring_up(self, model: Model, version: Version) -> None:
        path = model.config.base_path / str(version.number)
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
        with self._changed:
            go_on = version.wanted and not self._closed and version.state is not State.END
            version.state = state if go_on else State.END
            if not go_on:
                self._follow(model)
            self._changed.notify_all()
            return go_on

    def _offer(self, model: Model, version: Version, servable: Servable) -> None:
        version.servable = servable
        version.error = None
        if self._enter(model, version, State.AVAILABLE):
            _LOG.info("available: model %s version %d", model.config.name, version.number)
            with self._changed:
                self._follow(model)
                self._changed.notify_all()
        else:
            servable.close()
            version.servable = None

    def _fail(self, model: Model, version: Version, failure: ServingError, *, last: bool) -> None:
        with self._changed:
            version.error = failure
            if last:
                version.state = State.END
            self._follow(model)
            self._changed.notify_all()
            if not last:
                self._changed.wait_for(lambda: self._closed or not version.wanted, self._retry_seconds)

    def _take_down(self, model: Model, version: Version) -> None:
        _LOG.info("unloading model %s version %d", model.config.name, version.number)
        with self._changed:
            self._changed.wait_for(lambda: version.in_flight == 0)
            servable, version.servable = version.servable, None
        if servable is not None:
            servable.close()
            give_back()
        with self._changed:
            version.state = State.END
            self._follow(model)
            self._changed.notify_all()
        _LOG.info("unloaded: model %s version %d", model.config.name, version.number)

    # Requests

    @contextmanager
    def use(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[tuple[int, Servable]]:
        """A version, held in memory until the block ends: the newest, or the one of that number or label.

        Raises:
            ServingError: NOT_FOUND, or INVALID_ARGUMENT for a label that is not configured.
        """
        with self._changed:
            version = self._find(name, number, label)
            version.in_flight += 1
        try:
            assert version.servable is not None
            yield version.number, version.servable
        finally:
            with self._changed:
                version.in_flight -= 1
                if version.in_flight == 0 and version.state is State.UNLOADING:
                    self._changed.notify_all()

    def _find(self, name: str, number: int | None, label: str | None) -> Version:
        model = self._models.get(name)
        if label is not None:
            number = model.config.labels.get(label) if model else None
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        if number is None:
            newest = model.newest() if model else None
            if newest is None:
                raise not_found(f"Servable not found for request: Latest({name})")
            return newest
        version = model.versions.get(number) if model else None
        if version is None or version.state is not State.AVAILABLE:
            raise not_found(f"Servable not found for request: Specific({name}, {number})")
        return version

    def status(self, name: str, number: int | None = None) -> list[tuple[int, State, ServingError | None]]:
        """Number, state and error of each version that was ever seen, newest first, or of the one asked for.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._changed:
            model = self._models.get(name)
            if model is None or not model.versions:
                raise not_found(f"Could not find any versions of model {name}")
            found = [v for n, v in sorted(model.versions.items(), reverse=True) if number is None or n == number]
            if not found:
                raise not_found(f"Could not find version {number} of model {name}")
            return [(version.number, version.state, version.error) for version in found]

    # Start and end

    def wait_until_loaded(self, timeout: float | None = None) -> bool:
        """Waits until every configured model serves all the versions that its policy asks for.

        Returns:
            False if it was closed first, or the time ran out.

        Raises:
            ServingError: A model has versions, and all of them are broken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._loaded(), timeout)
            return not self._closed and self._loaded()

    def _loaded(self) -> bool:
        done = True
        for name in self._configured:
            model = self._models[name]
            wanted = [version for version in model.versions.values() if version.wanted]
            coming = [version for version in wanted if version.state in (State.START, State.LOADING)]
            errors = [version.error for version in wanted if version.error is not None]
            if model.newest() is None:
                if errors and not coming:
                    raise ServingError(errors[0].code, f"model {name} cannot be loaded: {errors[0].message}")
                done = False
            done = done and all(version.error is not None for version in coming)
        return done

    def close(self) -> None:
        """Stops loading and waiting; requests in flight go on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
