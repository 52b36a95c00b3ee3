"""The address of a caller."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import unquote

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address that a call came from.

    Args:
        peer: The other end of the connection as gRPC writes it: ``ipv4:192.0.2.7:5000`` or ``ipv6:%5B::1%5D:5000``.
        forwarded_for: Metadata ``x-forwarded-for``: used only as far as trusted proxies have written it.
        trusted: Networks of the trusted proxies.

    Returns:
        An address without a port; `peer` itself if it is no address.
    """
    kind, _, place = unquote(peer).partition(":")
    address = place.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer
    hops = [one.strip() for one in forwarded_for.split(",") if one.strip()]
    while hops and _is_in(address, trusted):
        address = hops.pop()
    return address


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    try:
        place = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(place in network for network in networks)
