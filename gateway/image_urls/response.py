"""Read the response to a request for an image, within limits."""

from __future__ import annotations

from collections.abc import Callable

import httptools

from gateway.errors import ImageNotFetched, UploadTooLarge

MAX_HEADER_BYTES = 32 * 2**10
"""Size of the status line and all headers. Framing of the image may take as much, and as much as the image itself."""


class ImageResponse:
    """One HTTP response, parsed by httptools. `on_bytes` gets the size of each piece of the image, and may raise."""

    def __init__(self, max_bytes: int, on_bytes: Callable[[int], None]) -> None:
        self.pieces: list[bytes] = []
        self.complete = False
        self._max_bytes = max_bytes
        self._on_bytes = on_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._head = self._size = self._received = 0
        self._error: Exception | None = None

    def feed(self, data: bytes) -> None:
        """Parse the next bytes.

        Raises:
            ImageNotFetched: The response is not one with an image.
            UploadTooLarge: The image is too large.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._error is not None:
                raise self._error from None
            raise ImageNotFetched("The server of the image does not speak HTTP/1.1.") from error
        # A header that does not end is reported only at its end, and pieces of one byte cost most of their time.
        self._received += len(data)
        if self._received - self._size > MAX_HEADER_BYTES + self._size:
            raise ImageNotFetched("The server of the image sends too many headers, or pieces that are too small.")

    def end(self) -> None:
        """The server has closed the connection, which ends an image without a length.

        Raises:
            ImageNotFetched: The image is incomplete.
        """
        if not self.complete and not self._ends_with_connection:
            raise ImageNotFetched("The server of the image closed the connection too early.")

    _ends_with_connection = False
    _has_length = False

    def on_status(self, status: bytes) -> None:
        """Count the reason phrase."""
        self._count_head(len(status))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Check a header."""
        self._count_head(len(name) + len(value))
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._has_length = True
        if name == b"content-length" and value.isdigit() and len(value) < 20 and int(value) > self._max_bytes:
            self._fail(self._too_large())
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            self._fail(ImageNotFetched("The server of the image compresses it, which is not supported."))

    def on_headers_complete(self) -> None:
        """Check the status."""
        status = self._parser.get_status_code()
        if 300 <= status < 400:
            self._fail(ImageNotFetched("The server of the image redirects to another URL. Redirects are not followed."))
        if status != 200:
            self._fail(ImageNotFetched(f"The server of the image answered with status {status}."))
        self._ends_with_connection = not self._has_length

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the image."""
        self._size += len(body)
        if self._size > self._max_bytes:
            self._fail(self._too_large())
        try:
            self._on_bytes(len(body))
        except Exception as error:
            self._fail(error)
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        """The image is complete."""
        self.complete = True

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEADER_BYTES:
            self._fail(ImageNotFetched("The server of the image sends too many headers."))

    def _too_large(self) -> UploadTooLarge:
        return UploadTooLarge(
            f"The image is larger than the limit of {self._max_bytes:,} bytes.", limit=self._max_bytes
        )

    def _fail(self, error: Exception) -> None:
        """Stop parsing; httptools replaces what its callbacks raise."""
        self._error = self._error or error
        raise error
