"""Compressed bodies."""

from __future__ import annotations

import zlib

from gateway.errors import BadRequest, UploadTooLarge

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""zlib tells the two apart by their headers."""

MAX_MEMBERS = 1000
"""Parts of one body; pigz and bgzip write one for each 64 to 128 KB."""


def inflate(body: bytes | bytearray | memoryview, max_bytes: int) -> bytes:
    """The content of a body that is compressed as gzip, in one member or several, or as deflate with zlib's header.

    Args:
        body: The compressed body.
        max_bytes: Most bytes of its content; no more are ever made.

    Raises:
        UploadTooLarge: It has more.
        BadRequest: It is not compressed so, or cut off.
    """
    content = b""
    rest = bytes(body)
    for _ in range(MAX_MEMBERS):
        if not rest:
            return content
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            content += member.decompress(rest, max_bytes + 1 - len(content))
        except zlib.error as error:
            raise BadRequest("The body is not compressed as its Content-Encoding says.") from error
        if len(content) > max_bytes:
            raise UploadTooLarge(f"The body has more than the {max_bytes:,} bytes that are accepted.", limit=max_bytes)
        if not member.eof:
            raise BadRequest("The compressed body is cut off.")
        rest = member.unused_data
    raise BadRequest(f"The compressed body has more than {MAX_MEMBERS} parts.")
