"""Choose a version for requests that name none, by configured shares."""

from __future__ import annotations

import hashlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence

from gateway.deadline import Deadline
from gateway.errors import UnknownVersion
from gateway.observability.metrics import Metrics
from gateway.serving.backend import Selector
from gateway.serving.resolver import ContractResolver

logger = logging.getLogger(__name__)

Shares = Mapping[str, Mapping[str, float]]
"""For each model, version labels (or numbers) and their weights."""

ROUTING_KEY = "x-routing-key"
"""Header that keeps requests with the same value, such as a user or session ID, on one version."""


class TrafficSplit:
    """Chooses versions by their shares, and shows the shares in the metrics."""

    def __init__(self, shares: Shares, resolver: ContractResolver, metrics: Metrics) -> None:
        self._resolver = resolver
        self._metrics = metrics
        self._routes: dict[str, list[tuple[Selector, float]]] = {}
        self._series: set[tuple[str, str]] = set()
        self._missing: set[tuple[str, Selector]] = set()
        self.update(shares)

    def update(self, shares: Shares) -> None:
        """Use these shares for all requests from now on."""
        self._routes = {
            model: [(_selector(target), weight) for target, weight in weights.items()]
            for model, weights in shares.items()
        }
        self._missing.clear()
        fractions = {
            (model, target): weight / sum(weights.values())
            for model, weights in shares.items()
            for target, weight in weights.items()
        }
        for labels in fractions.keys() | self._series:
            self._metrics.traffic_share.labels(*labels).set(fractions.get(labels, 0.0))
        self._series |= fractions.keys()

    async def choose(self, model: str, selector: Selector, key: str | None, deadline: Deadline) -> Selector:
        """Choose the version for a request, unless its selector names one.

        Requests with the same key get the same version, others a random one. If the chosen version is not loaded, the
        next larger share is used, and if none is loaded, the newest version.
        """
        if selector != Selector() or model not in self._routes:
            return selector
        for candidate in self._order(model, key):
            try:
                await self._resolver.served(model, candidate, deadline)
            except UnknownVersion:
                if (model, candidate) not in self._missing:
                    logger.warning("model %s: %s has a traffic share but is not loaded", model, candidate)
                    self._missing.add((model, candidate))
                continue
            self._missing.discard((model, candidate))
            return candidate
        return selector

    def _order(self, model: str, key: str | None) -> Iterator[Selector]:
        shares = self._routes[model]
        first = draw([weight for _, weight in shares], point(model, key))
        yield shares[first][0]
        for index in sorted(range(len(shares)), key=lambda index: -shares[index][1]):
            if index != first:
                yield shares[index][0]


def point(model: str, key: str | None) -> float:
    """A point from 0 to 1: the same for the same key, random without a key."""
    if key is None:
        return random.random()  # noqa: S311 - a share of the traffic, not a secret
    digest = hashlib.blake2b(f"{model}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def draw(weights: Sequence[float], at: float) -> int:
    """The share that contains a point from 0 to 1, with the shares side by side.

    If the last share grows at the cost of the others, the points in it stay in it.
    """
    left = at * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return len(weights) - 1


def _selector(target: str) -> Selector:
    return Selector(version=int(target)) if target.isdecimal() else Selector(label=target)
