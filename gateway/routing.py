"""Which version answers when the caller does not say: shares of the traffic, and copies for a shadow."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from gateway.admission import Admission
from gateway.backend import Selector
from gateway.calls import Call
from gateway.deadline import Deadline
from gateway.errors import GatewayError, Overloaded, UnknownVersion
from gateway.inference.classifier import Classification, Classifier
from gateway.inference.scores import Ranked
from gateway.metrics import Metrics
from gateway.resolver import ContractResolver
from gateway.settings import Settings, ShadowOptions
from gateway.workers.messages import Buffer

logger = logging.getLogger(__name__)

ROUTING_KEY = "x-routing-key"
"""Header whose value keeps a caller with one version: a user or session id."""

MAX_SHADOWS = 8
"""Copies under way at once; a further one is dropped, so that a slow shadow cannot pile up memory."""


SHADOW_CALLER = "shadow"
"""Whose turn copies wait for."""


class Routes:
    """Chooses versions by the configured shares.

    Args:
        routes: For each model, version labels (or numbers) and their weights.
        resolver: Tells whether a version is there.
    """

    def __init__(self, routes: Mapping[str, Mapping[str, float]], resolver: ContractResolver) -> None:
        self._routes = {
            model: [(_selector(target), weight) for target, weight in weights.items()]
            for model, weights in routes.items()
        }
        self._resolver = resolver
        self._missing: set[tuple[str, Selector]] = set()

    async def choose(self, model: str, asked: Selector, key: str | None, deadline: Deadline) -> Selector:
        """The version that answers a request.

        Args:
            model: Its model.
            asked: What the caller wants: a version or label wins over every share.
            key: What the choice sticks to; without one every request is drawn anew.
            deadline: For looking whether the version is there: where it is not, the next larger share answers, and
                where none is, the newest version.
        """
        if asked != Selector() or model not in self._routes:
            return asked
        for candidate in self._order(model, key):
            try:
                await self._resolver.served(model, candidate, deadline)
            except UnknownVersion:
                if (model, candidate) not in self._missing:
                    logger.warning("%s: the %s has a share of the traffic, but is not served", model, candidate)
                    self._missing.add((model, candidate))
                continue
            self._missing.discard((model, candidate))
            return candidate
        return asked

    def _order(self, model: str, key: str | None) -> Iterator[Selector]:
        shares = self._routes[model]
        chosen = draw([weight for _, weight in shares], point(model, key))
        yield shares[chosen][0]
        for index in sorted(range(len(shares)), key=lambda index: -shares[index][1]):
            if index != chosen:
                yield shares[index][0]


def point(model: str, key: str | None) -> float:
    """Where a request falls in 0 to 1: always the same for the same key, at random without one."""
    if key is None:
        return random.random()  # noqa: S311 - a share of the traffic, not a secret
    digest = hashlib.blake2b(f"{model}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def draw(weights: Sequence[float], at: float) -> int:
    """The share in which a point of 0 to 1 falls, the shares laid one after the other.

    When the last share grows at the cost of those before it, whoever was in it stays there.
    """
    left = at * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return len(weights) - 1


class Shadows:
    """Sends copies of answered requests to another version or model, and compares the answers.

    A copy starts when the caller's answer is there, and takes permits and room for its bytes like a request; it is
    dropped where more than half of either would be taken then, so that a slow shadow leaves callers the other half.
    """

    def __init__(self, settings: Settings, classifier: Classifier, admission: Admission, metrics: Metrics) -> None:
        self._shadows = settings.shadows
        self._timeout_seconds = settings.request_timeout_seconds
        self._classifier = classifier
        self._admission = admission
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def copy(self, answer: Classification, uploads: Sequence[Buffer | GatewayError], call: Call) -> None:
        """Send a copy in the background, if this request is drawn for one.

        Args:
            answer: What the caller got.
            uploads: The images.
            call: The times of the caller's request.
        """
        options = self._shadows.get(answer.contract.model)
        if options is None or random.random() * 100 >= options.percent:  # noqa: S311 - a share, not a secret
            return
        if len(self._tasks) >= MAX_SHADOWS:
            self._count(answer, options, "dropped", len(uploads))
            return
        task = asyncio.create_task(self._compare(answer, uploads, options, call.seconds.get("predict", 0.0)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel copies under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @contextmanager
    def _room(self, uploads: Sequence[Buffer | GatewayError]) -> Iterator[None]:
        """Hold permits and bytes for as long as a copy lives; the request it is of gives its own back.

        Raises:
            Overloaded: More than half would be taken.
        """
        admission = self._admission
        size = sum(len(piece) for one in uploads if not isinstance(one, GatewayError) for piece in one)
        if (admission.in_flight + len(uploads)) * 2 > admission.max_images or (
            admission.upload_bytes + size
        ) * 2 > admission.max_upload_bytes:
            raise Overloaded("The gateway is too busy for a copy.")
        with admission.admit(SHADOW_CALLER, len(uploads)):
            admission.hold(SHADOW_CALLER, size)
            try:
                yield
            finally:
                admission.release(SHADOW_CALLER, size)

    async def _compare(
        self,
        answer: Classification,
        uploads: Sequence[Buffer | GatewayError],
        options: ShadowOptions,
        primary_seconds: float,
    ) -> None:
        model = answer.contract.model
        selector = Selector(options.version, options.version_label)
        deadline = Deadline.after(self._timeout_seconds)
        call = Call(caller=SHADOW_CALLER)
        try:
            with self._room(uploads):
                shadow = await self._classifier.classify(
                    options.model or model, selector, uploads, 1, deadline, call, ready=answer
                )
        except Overloaded:
            self._count(answer, options, "dropped", len(uploads))
            return
        except GatewayError as error:
            logger.warning("shadow %s of %s: %s", options.name, model, error.detail)
            self._count(answer, options, "failed", len(uploads))
            return
        except Exception:
            logger.exception("shadow %s of %s", options.name, model)
            self._count(answer, options, "failed", len(uploads))
            return
        for given, copied in zip(answer.results, shadow.results, strict=True):
            if isinstance(given, Ranked) and isinstance(copied, Ranked):
                same = given.predictions[0][0] == copied.predictions[0][0]
                self._count(answer, options, "agree" if same else "disagree", 1)
        seconds = self._metrics.shadow_seconds
        seconds.labels(model, options.name, "primary").observe(primary_seconds)
        seconds.labels(model, options.name, "shadow").observe(call.seconds.get("predict", 0.0))

    def _count(self, answer: Classification, options: ShadowOptions, outcome: str, images: int) -> None:
        self._metrics.shadow_images.labels(answer.contract.model, options.name, outcome).inc(images)


def _selector(target: str) -> Selector:
    return Selector(version=int(target)) if target.isdecimal() else Selector(label=target)
