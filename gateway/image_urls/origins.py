"""Which URLs may be fetched, and from which addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import ImageNotFetched

ALLOWED_ORIGIN = re.compile(r"https?://(\*\.)?[a-z0-9.-]+(:[0-9]{1,5})?")
"""Entries of the allow-list: an origin; ``*.`` stands for any subdomains."""

MAX_URL_CHARACTERS = 2048

PORTS = {"https": 443, "http": 80}

TRANSLATED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))
"""IPv6 networks whose addresses stand for IPv4 addresses, which could be private: NAT64 (RFC 6052, RFC 8215), 6to4 (RFC
3056) and Teredo (RFC 4380)."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an image is: the parts of its URL. The host name is in lower case, and the target is path and query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Value of the Host header."""
        return self.host if self.port == PORTS[self.scheme] else f"{self.host}:{self.port}"


def locate(url: str, allowed: Sequence[str]) -> Location:
    """The parts of a URL whose origin is one of the allowed ones, in the form of `ALLOWED_ORIGIN`.

    Raises:
        ImageNotFetched: It is not a URL, or its origin is not allowed.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise ImageNotFetched(f"url must be a URL of at most {MAX_URL_CHARACTERS:,} printable ASCII characters.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ImageNotFetched("url is not a valid URL.") from None
    if parts.scheme not in PORTS or not re.fullmatch(r"[a-z0-9.-]+", host) or "@" in parts.netloc or "\\" in url:
        raise ImageNotFetched("url must be an http or https URL with a host name, without a user.")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    location = Location(parts.scheme, host, port if port is not None else PORTS[parts.scheme], target)
    if not any(_matches(location, origin) for origin in allowed):
        raise ImageNotFetched("The origin of this url is not allowed.")
    return location


def _matches(location: Location, origin: str) -> bool:
    allowed = urlsplit(origin)
    host = allowed.hostname or ""
    if (location.scheme, location.port) != (allowed.scheme, allowed.port or PORTS[allowed.scheme]):
        return False
    return location.host.endswith(host[1:]) if host.startswith("*.") else location.host == host


def is_public(address: str) -> bool:
    """Whether an address is one of the internet: not private, local, reserved or translated."""
    place = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(place, ipaddress.IPv6Address):
        if place.ipv4_mapped is not None:
            place = place.ipv4_mapped
        elif any(place in network for network in TRANSLATED):
            return False
    return place.is_global and not place.is_multicast and not place.is_reserved
