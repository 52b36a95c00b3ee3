"""Limits on the size of a request's head and trailers, and on the number of pieces of its body."""

from __future__ import annotations

from gateway.errors import BadRequest, HeadersTooLarge, UriTooLong

MAX_HEADER_BYTES = 32 * 2**10
"""Limit on the address, headers and trailers of a request together; browsers and proxies stay under 16 KiB.

Parsing 64 KiB of nothing but separators would block the event loop for 7 to 20 ms."""

MAX_HEADERS = 100
"""Limit on headers and trailers of a request together, as in other servers. Each costs several steps in Python."""

MAX_ADDRESS_BYTES = 8 * 2**10
"""Limit on path and query; most servers and proxies accept no more."""

FREE_BODY_PIECES = 1024
"""Number of pieces that every body may have: chunks, or reads of a body with a Content-Length."""

BYTES_PER_BODY_PIECE = 64
"""Number of bytes of a body for each further piece that it may have."""


class MessageLimits:
    """Counts the parts of one request while they arrive.

    Raises:
        UriTooLong, HeadersTooLarge, BadRequest: From the methods that count: there are too many, or they are too large
            or too small.
    """

    def __init__(self) -> None:
        self._unreported_bytes = 0
        self.begin()

    def begin(self) -> None:
        """A request begins."""
        self._headers = self._field_bytes = self._address_bytes = self._body_pieces = self._body_bytes = 0

    def receive(self, size: int) -> None:
        """Count bytes before they are parsed."""
        self._unreported_bytes += size

    def check_progress(self) -> None:
        """Check that the parser reports something regularly, because it would store the bytes without limit.

        Raises:
            HeadersTooLarge: It does not, for example because a chunk extension has no end.
        """
        if self._unreported_bytes > MAX_HEADER_BYTES:
            raise _too_large()

    def count_address(self, size: int) -> None:
        """Count a piece of the address."""
        self._count_field(size)
        self._address_bytes += size
        if self._address_bytes > MAX_ADDRESS_BYTES:
            raise UriTooLong(f"The path and query are longer than {MAX_ADDRESS_BYTES:,} bytes.")

    def count_header(self, size: int) -> None:
        """Count a header or trailer."""
        self._count_field(size)
        self._headers += 1
        if self._headers > MAX_HEADERS:
            raise HeadersTooLarge(f"The request has more than {MAX_HEADERS} headers.")

    def count_body_piece(self, size: int) -> None:
        """Count a piece of the body."""
        self._unreported_bytes = 0
        self._body_pieces += 1
        self._body_bytes += size
        if self._body_pieces > FREE_BODY_PIECES + self._body_bytes // BYTES_PER_BODY_PIECE:
            raise BadRequest(
                f"The body arrives in too many small pieces. The limit is {FREE_BODY_PIECES:,}, plus one for each "
                f"{BYTES_PER_BODY_PIECE} bytes. Send larger chunks."
            )

    def _count_field(self, size: int) -> None:
        self._unreported_bytes = 0
        self._field_bytes += size
        if self._field_bytes > MAX_HEADER_BYTES:
            raise _too_large()


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The headers are larger than {MAX_HEADER_BYTES:,} bytes.")
