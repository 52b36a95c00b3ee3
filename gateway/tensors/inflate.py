"""Compressed bodies."""

from __future__ import annotations

import zlib

from gateway.errors import BadRequest, UploadTooLarge

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""zlib tells the two apart by their headers."""

MAX_MEMBERS = 1000
"""Parts of one body; bgzip writes one for each 64 KB."""

STEP_BYTES = 128 * 2**10
"""Compressed bytes that are decompressed at once."""


def inflate(body: bytes | bytearray | memoryview, max_bytes: int) -> bytes:
    """The content of a body that is compressed as gzip, in one member or several, or as deflate with zlib's header.

    Args:
        body: The compressed body.
        max_bytes: Maximum size of the content. Decompression stops there.

    Raises:
        UploadTooLarge: The content is larger.
        BadRequest: It is not compressed like this, or truncated.
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
