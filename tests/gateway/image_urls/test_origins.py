from __future__ import annotations

import pytest

from gateway.errors import ImageNotFetched
from gateway.image_urls.origins import is_public, locate

ALLOWED = ["https://images.example", "https://*.cdn.example", "http://plain.example:8080"]


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        ("https://images.example/a.jpg", "images.example", "/a.jpg"),
        ("https://IMAGES.example:443/a.jpg?x=1#part", "images.example", "/a.jpg?x=1"),
        ("https://images.example", "images.example", "/"),
        ("https://eu.cdn.example/%C3%A9.png", "eu.cdn.example", "/%C3%A9.png"),
        ("https://a.b.cdn.example/x", "a.b.cdn.example", "/x"),
        ("http://plain.example:8080/x", "plain.example:8080", "/x"),
    ],
)
def test_an_allowed_url_is_taken_apart(url: str, authority: str, target: str) -> None:
    location = locate(url, ALLOWED)
    assert (location.authority, location.target) == (authority, target)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.example/a.jpg",
        "https://images.example:8443/a.jpg",
        "https://images.example.evil/a.jpg",
        "https://evil-images.example/a.jpg",
        "https://cdn.example/a.jpg",
        "https://evilcdn.example/a.jpg",
        "https://user@images.example/a.jpg",
        "https://images.example@evil.example/a.jpg",
        "https://images.example\\@evil.example/a.jpg",
        "https://images.example/a b.jpg",
        "https://images.example/a\r\nHost: evil",
        "https://images.example/é.jpg",
        "https://\u0131mages.example/a.jpg",
        "https://[::1]/a.jpg",
        "https://images.example:99999/",
        "https://images.example:x/",
        "ftp://images.example/a.jpg",
        "file:///etc/passwd",
        "//images.example/a.jpg",
        "images.example/a.jpg",
        "",
        "https://images.example/" + "x" * 2048,
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(ImageNotFetched):
        locate(url, ALLOWED)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104 - an address that must not be connected to
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2001:0:a00:1::", False),
    ],
)
def test_only_addresses_of_the_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public
