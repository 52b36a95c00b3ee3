"""Fetch an image from its URL."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gateway.errors import ImageNotFetched
from gateway.image_urls.origins import Location, is_public, locate
from gateway.image_urls.response import ImageResponse

READ_BYTES = 64 * 2**10

RESOLVER_THREADS = 4
"""Threads that resolve host names. Names of an origin such as ``https://*.example.com`` are chosen by callers, and may
take many seconds to resolve; the gateway's other work in threads must not wait for them."""


class ImageFetcher:
    """Fetches images from allowed origins, within a time limit for all of it.

    A host name is resolved once, its addresses are checked, and the connection is made to the checked address. So a
    name that later resolves to another address (DNS rebinding) leads nowhere else.
    """

    def __init__(self, origins: Sequence[str], *, allow_private: bool, seconds: float, max_bytes: int) -> None:
        self._origins = [one.lower() for one in origins]
        self._allow_private = allow_private
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._tls = ssl.create_default_context()
        self._resolvers = ThreadPoolExecutor(RESOLVER_THREADS, "resolve")

    def close(self) -> None:
        """Stop resolving names. This does not wait for names that are being resolved; the end of the process does."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, url: str, on_bytes: Callable[[int], None]) -> list[bytes]:
        """The bytes of an image, in pieces. `on_bytes` is called with the number of bytes of each, and may raise.

        Raises:
            ImageNotFetched: The URL is not allowed, or its server does not return an image in time.
            UploadTooLarge: The image is too large.
        """
        location = locate(url, self._origins)
        response = ImageResponse(self._max_bytes, on_bytes)
        try:
            async with asyncio.timeout(self._seconds):
                await self._receive(location, await self._address(location), response)
        except TimeoutError:
            raise ImageNotFetched(f"The image did not arrive within {self._seconds:g} seconds.") from None
        except (OSError, ssl.SSLError) as error:
            raise ImageNotFetched("The server of the image cannot be reached.") from error
        if not any(response.pieces):
            raise ImageNotFetched("The server of the image returned no content.")
        return response.pieces

    async def _address(self, location: Location) -> str:
        """The address to connect to."""
        resolve = partial(socket.getaddrinfo, location.host, location.port, type=socket.SOCK_STREAM)
        try:
            resolved = await asyncio.get_running_loop().run_in_executor(self._resolvers, resolve)
        except (OSError, UnicodeError):
            raise ImageNotFetched("The host name of the url cannot be resolved.") from None
        addresses = [str(place[0]) for *_, place in resolved]
        if not self._allow_private and not all(map(is_public, addresses)):
            raise ImageNotFetched("The host of the url has a private address, which is not allowed.")
        return addresses[0]

    async def _receive(self, location: Location, address: str, response: ImageResponse) -> None:
        tls = self._tls if location.scheme == "https" else None
        reader, writer = await asyncio.open_connection(
            address, location.port, ssl=tls, server_hostname=location.host if tls is not None else None
        )
        try:
            lines = (
                f"GET {location.target} HTTP/1.1",
                f"Host: {location.authority}",
                "Accept: image/*",
                "Accept-Encoding: identity",
                "User-Agent: breed-gateway",
                "Connection: close",
            )
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
            await writer.drain()
            while not response.complete:
                data = await reader.read(READ_BYTES)
                if not data:
                    response.end()
                    return
                response.feed(data)
        finally:
            writer.transport.abort()
