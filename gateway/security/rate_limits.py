"""Rate limits for each caller."""

from __future__ import annotations

import ipaddress
import math
import time
from typing import Literal

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from gateway.errors import RateLimited

IPV4_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""RFC 4291, section 2.5.5.2: how a socket for both families shows an IPv4 peer."""

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052, section 2.1."""


class RateLimits:
    """Counts the requests or images of each caller, in the memory of this process.

    Raises:
        ValueError: The limits are neither empty nor such as ``60/minute`` or ``10/second;1000/hour``.
    """

    def __init__(self, limits: str, unit: Literal["requests", "images"] = "requests") -> None:
        self._unit = unit
        self._limits: list[RateLimitItem] = parse_many(limits) if limits else []
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())
        policies = (f"{self._name(limit)};q={limit.amount};w={limit.get_expiry()}" for limit in self._limits)
        self._policy = ", ".join(policies)

    def __bool__(self) -> bool:
        return bool(self._limits)

    async def count(self, caller: str, cost: int = 1) -> list[tuple[str, str]]:
        """Count a request, or its images. If they exceed the limit, none is counted.

        Returns:
            The response headers RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10).

        Raises:
            RateLimited: The limit is exceeded. The error has the same headers and Retry-After.
        """
        states, wait = [], 0
        for limit in self._limits:
            admitted = await self._counter.hit(limit, caller, cost=cost)
            window = await self._counter.get_window_stats(limit, caller)
            seconds = max(1, math.ceil(window.reset_time - time.time()))
            states.append(f"{self._name(limit)};r={window.remaining};t={seconds}")
            wait = wait if admitted else max(wait, seconds)
        headers = [("RateLimit-Policy", self._policy), ("RateLimit", ", ".join(states))]
        if wait:
            raise RateLimited(f"You have exceeded your limit of {self._unit}.", wait, dict(headers))
        return headers

    def _name(self, limit: RateLimitItem) -> str:
        unit = self._unit if self._unit != "requests" else ""
        return f'"{limit.amount}{unit}per{limit.get_expiry()}s"'


def caller_of(address: str) -> str:
    """The caller for an address.

    IPv4 addresses written as IPv6 (``::ffff:a.b.c.d``, or NAT64 with the well-known prefix) count as the IPv4 address.
    Other IPv6 addresses count by their /64, which is what one household or machine has.
    """
    try:
        place = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(place, ipaddress.IPv4Address):
        return str(place)
    if place in IPV4_MAPPED or place in NAT64:
        return str(ipaddress.IPv4Address(int(place) & 0xFFFF_FFFF))
    return str(ipaddress.IPv6Network((int(place), 64), strict=False))
