"""The sockets that the gateway listens on."""

from __future__ import annotations

import errno
import logging
import socket

logger = logging.getLogger(__name__)

NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for an address that this machine does not have, such as ``::1`` if IPv6 is off."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to every address of a host that this machine has. Port 0 takes a free one.

    ``::`` takes connections of both families, IPv6 and IPv4.

    Raises:
        OSError: The name is not known, the machine has none of its addresses, or an address cannot be bound, such as
            one that is in use.
    """
    sockets = _sockets(host, port)
    url_host = f"[{host}]" if ":" in host else host
    logger.info("listening on http://%s:%d", url_host, sockets[-1].getsockname()[1])
    return sockets


def _sockets(host: str, port: int) -> list[socket.socket]:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: list[OSError] = []
    for family, address in dict.fromkeys((one[0], one[4]) for one in addresses):
        try:
            sockets.append(_bound(family, (address[0], port, *address[2:])))
        except OSError as error:
            if error.errno not in NO_SUCH_ADDRESS:
                for bound in sockets:
                    bound.close()
                raise
            missing.append(error)
        else:
            port = sockets[-1].getsockname()[1]  # all addresses share the port that was chosen for 0
    if not sockets:
        raise missing[0]
    return sockets


def check_port(host: str, port: int) -> None:
    """Check that a port can be used: gRPC, which opens its own sockets, would only say so with a traceback.

    Raises as `listen` does.
    """
    for bound in _sockets(host, port):
        bound.close()


def _bound(family: int, address: tuple[str | int, ...]) -> socket.socket:
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    listening.set_inheritable(True)  # by worker processes
    return listening
