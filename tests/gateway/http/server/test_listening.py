"""The gateway listens on every address of its host that the machine has."""

from __future__ import annotations

import errno
import socket

import pytest

from gateway.http.server.listening import listen

ABSENT = "192.0.2.1"
"""An address of the network for documentation (RFC 5737), which no machine has."""


def resolve_to(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Have every name stand for these addresses."""
    resolve = socket.getaddrinfo

    def addresses(_: str, *arguments: object, **options: object) -> list[object]:
        return [one for host in hosts for one in resolve(host, *arguments, **options)]  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", addresses)


@pytest.mark.parametrize("hosts", [(ABSENT, "127.0.0.1"), ("127.0.0.1", ABSENT), ("2001:db8::1", "127.0.0.1")], ids=str)
def test_an_address_that_the_machine_does_not_have_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...]
) -> None:
    resolve_to(monkeypatch, *hosts)
    [bound] = listen("localhost", 0)
    with bound:
        assert bound.getsockname()[0] == "127.0.0.1"


def test_an_address_in_use_is_an_error_even_if_another_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve_to(monkeypatch, "127.0.0.2", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use") as raised:
        listen("localhost", taken.getsockname()[1])
    assert raised.value.errno == errno.EADDRINUSE


def test_a_host_of_which_the_machine_has_no_address_is_an_error() -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        listen(ABSENT, 0)
