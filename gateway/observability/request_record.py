"""The record of one request, for its log line, metrics and Server-Timing header."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from gateway.observability.answer_metrics import Baseline

Stage = Literal["upload", "queue", "decode", "predict", "paint"]
"""Stages of a request: receive the body; wait for a worker process; decode images or parse tensors; wait for the model
server and its answer; paint a heat map over the photo."""


@dataclass(slots=True)
class RequestRecord:
    """One request.

    Attributes:
        caller: Name of the API key, or the client address.
        route: Template of its path, such as ``/api/v1/models/{model}/predict``.
        model: Name of the model that answers; set only once it is known to exist.
        version: Its version.
        images: Images (or rows) in the request, and `image_bytes` their encoded size.
        failures: Codes of the images that could not be decoded, one for each.
        seconds: Time spent by stage.
        photos: Number of pixels and brightness (0 to 1) of each photo that was decoded to pixels.
        answers: Label and best score of each photo that was classified; None instead of a label if it is unknown.
        baseline: What the model card says about such answers.
    """

    caller: str = ""
    route: str = "unmatched"
    model: str = ""
    version: int | None = None
    images: int = 0
    image_bytes: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: dict[Stage, float] = field(default_factory=dict)
    photos: list[tuple[int, float]] = field(default_factory=list)
    answers: Sequence[tuple[str | None, float]] = ()
    baseline: Baseline | None = None

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Add the time that a block takes to a stage, also when it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: Stage, seconds: float) -> None:
        """Add time to a stage."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @property
    def turn(self) -> tuple[str, int]:
        """The caller and request that this work counts for; see `gateway.workers.turns.Turn`."""
        return self.caller, id(self)

    def answered_by(self, model: str, version: int) -> None:
        """Set the version that answers."""
        self.model, self.version = model, version

    def server_timing(self) -> str:
        """Value of the Server-Timing header, in milliseconds: ``upload;dur=0.4, queue;dur=0.0, decode;dur=2.1``."""
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in self.seconds.items())
