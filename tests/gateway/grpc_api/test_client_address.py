from __future__ import annotations

import ipaddress

import pytest

from gateway.grpc_api.client_address import client_address

PROXIES = [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("ipv4:192.0.2.7:5000", "", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:5000", "", "2001:db8::1"),
        ("ipv4:192.0.2.7:5000", "198.51.100.1", "192.0.2.7"),
        ("ipv4:10.0.0.1:5000", "198.51.100.1", "198.51.100.1"),
        ("ipv4:10.0.0.1:5000", "203.0.113.1, 198.51.100.1, 10.2.3.4", "198.51.100.1"),
        ("ipv6:[fd00::1]:5000", "10.0.0.9", "10.0.0.9"),
        ("ipv4:10.0.0.1:5000", "", "10.0.0.1"),
        ("ipv4:10.0.0.1:5000", "nonsense", "nonsense"),
        ("unix:/tmp/socket", "198.51.100.1", "unix:/tmp/socket"),
    ],
)
def test_only_what_trusted_proxies_have_written_counts(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == address
