"""The sockets that the gateway listens on, the same with one worker and with several."""

from __future__ import annotations

import logging
import socket

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> list[socket.socket]:
    """Bind a socket to every address of a host.

    Args:
        host: A name or an address. ``::`` takes connections of both families, IPv6 and IPv4.
        port: 0 takes a free one.

    Raises:
        OSError: The name is not known, or an address cannot be bound, such as one that is in use.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, address in dict.fromkeys((one[0], one[4]) for one in found):
            listening = socket.socket(family)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
            listening.bind((address[0], port, *address[2:]))
            port = listening.getsockname()[1]  # where it was 0, all addresses share the one that was found
            listening.set_inheritable(True)  # by worker processes
    except OSError:
        for one in sockets:
            one.close()
        raise
    shown = f"[{host}]" if ":" in host else host
    logger.info("listening on http://%s:%d", shown, port)
    return sockets
