"""Decompress request bodies."""

from __future__ import annotations

import zlib

from gateway.errors import BadRequest, UploadTooLarge

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""Makes zlib detect either header."""

MAX_MEMBERS = 1000
"""Maximum number of gzip members in a body; bgzip writes one for each 64 KB."""

STEP_BYTES = 128 * 2**10
"""Number of compressed bytes in a step."""


def inflate(body: bytes | bytearray | memoryview, max_bytes: int) -> bytes:
    """Decompress a body in gzip format, with one or more members, or in zlib format (deflate).

    Raises:
        UploadTooLarge: The content is larger than `max_bytes`, where decompression stops.
        BadRequest: The body has another format, or is truncated.
    """
    pieces: list[bytes] = []
    size = start = 0
    for _ in range(MAX_MEMBERS):
        if start == len(body):
            return b"".join(pieces)
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        # In steps, because zlib copies all input beyond the end of a member.
        while not member.eof and start < len(body) and size <= max_bytes:
            chunk = body[start : start + STEP_BYTES]
            try:
                pieces.append(member.decompress(chunk, max_bytes + 1 - size))
            except zlib.error as error:
                raise BadRequest("The body is not compressed as its Content-Encoding says.") from error
            size += len(pieces[-1])
            start += len(chunk) - len(member.unused_data)
        if size > max_bytes:
            raise UploadTooLarge(f"The body has more than the {max_bytes:,} bytes that are accepted.", limit=max_bytes)
        if not member.eof:
            raise BadRequest("The compressed body is cut off.")
    raise BadRequest(f"The compressed body has more than {MAX_MEMBERS} parts.")
