"""All models: what folders and configuration ask for, and the versions that answer requests."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from modelserver.config import ModelConfig
from modelserver.errors import ConfigError, ServingError, invalid, not_found
from modelserver.lifecycle import Lifecycle
from modelserver.servable import Servable
from modelserver.versions import Model, State, Version, versions_in, without_versions

_LOG = logging.getLogger(__name__)


class Models:
    """All models. Every method may be called from any thread.

    Args:
        lifecycle: Loads and unloads their versions.
        labels_ahead: Allow a new label for a version that is not available yet.
    """

    def __init__(self, lifecycle: Lifecycle, *, labels_ahead: bool) -> None:
        self._lifecycle = lifecycle
        self._changed = lifecycle.changed
        self._labels_ahead = labels_ahead
        self._models: dict[str, Model] = {}
        self._one_scan = threading.Lock()
        self._configured: frozenset[str] = frozenset()
        self._logged_names: set[str] = set()

    # Configuration and folders

    def configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Replace the whole configuration. Models that it no longer contains are unloaded.

        Raises:
            ConfigError: A label points to a version that is not available, or a base_path changed. The old
                configuration stays.
        """
        with self._changed:
            for config in configs.values():
                self._check_path(config)
                self._check_labels(config)
            for name in self._models.keys() | configs.keys():
                if name not in configs:
                    model = self._models[name]
                    model.config, model.on_disk = ModelConfig(name, model.config.base_path), {}
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
        """Read the folders, start to load new versions and to unload removed ones."""
        with self._one_scan:
            with self._changed:
                paths = {name: self._models[name].config.base_path for name in self._configured}
            # Read the folders without the lock, so that a slow disk does not delay requests.
            folders = {name: versions_in(path) for name, path in paths.items()}
            with self._changed:
                for name, model in self._models.items():
                    if name in folders and name in self._configured:
                        self._note(model, folders[name])
                    self._lifecycle.follow(model)
                self._changed.notify_all()

    def _note(self, model: Model, versions: Mapping[int, str] | OSError) -> None:
        path = model.config.base_path
        if not versions and not model.waiting:
            reason = without_versions(path) or f"no version in {path}"
            _LOG.warning("model %s: %s, waiting", model.config.name, reason)
        elif isinstance(versions, OSError) and not model.waiting:
            _LOG.warning("model %s: cannot read %s (%s), waiting", model.config.name, path, versions.strerror)
        model.waiting = not versions or isinstance(versions, OSError)
        if isinstance(versions, OSError):
            return  # the versions are unknown: keep what is loaded
        for number in versions.keys() - model.on_disk.keys():
            # It was published again under the same number: try again.
            if (version := model.versions.get(number)) is not None and version.state is State.END:
                version.error = None
        model.on_disk = versions

    # Requests

    @contextmanager
    def use(self, name: str, number: int | None = None, label: str | None = None) -> Iterator[tuple[int, Servable]]:
        """The newest version, or the one with that number or label. It stays in memory until the block ends.

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
        """Number, state and error of each known version, newest first, or only of the requested one.

        Raises:
            ServingError: NOT_FOUND.
        """
        with self._changed:
            model = self._models.get(name)
            if model is None or not model.versions:
                raise not_found(f"Could not find any versions of model {name}")
            versions = [v for n, v in sorted(model.versions.items(), reverse=True) if number is None or n == number]
            if not versions:
                raise not_found(f"Could not find version {number} of model {name}")
            return [(version.number, version.state, version.error) for version in versions]

    # Start and end

    def wait_until_loaded(self, timeout: float | None = None) -> bool:
        """Wait until at least one model serves, and every aspired version serves or has failed once.

        A model without versions, or with only broken ones, does not delay the others. TensorFlow Serving would wait for
        the former and exit because of the latter.

        Returns:
            False if the server was closed first or the time is over.

        Raises:
            ServingError: Every model has versions, and all of them are broken.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lifecycle.closed or self._loaded(), timeout)
            return not self._lifecycle.closed and self._loaded()

    def _loaded(self) -> bool:
        done, serves = True, False
        missing: dict[str, ServingError] = {}
        given_up = 0
        for name in sorted(self._configured):
            model = self._models[name]
            aspired = [version for version in model.versions.values() if version.aspired]
            coming = [version for version in aspired if version.state in (State.START, State.LOADING)]
            errors = [version.error for version in aspired if version.error is not None]
            done = done and all(version.error is not None for version in coming)
            if model.newest() is not None:
                serves = True
            elif errors:
                missing[name] = errors[0]
                given_up += not coming
        if given_up and given_up == len(self._configured):
            name, error = next(iter(missing.items()))
            raise ServingError(error.code, f"model {name} cannot be loaded: {error.message}")
        for name, error in missing.items() if done and serves else ():
            if name not in self._logged_names:
                self._logged_names.add(name)
                _LOG.error("model %s cannot be served; the other models are served: %s", name, error.message)
        return done and serves

    def close(self) -> None:
        """Stop loading and waiting. Requests in flight continue."""
        with self._changed:
            self._lifecycle.closed = True
            self._changed.notify_all()
