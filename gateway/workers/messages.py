"""Messages between the gateway and its workers: a JSON header, then raw buffers.

A message is only data. The gateway does not unpickle it, so a worker that a malicious file has taken over cannot run
code in the gateway.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

Piece = bytes | memoryview
Buffer = Sequence[Piece]
"""A buffer in pieces, which are sent without joining them."""

HEADER_LENGTH = struct.Struct("<I")
"""Size of the header, which comes first."""

MAX_REPLY_HEADER_BYTES = 2**20
"""Limit on the header of a reply, which the event loop parses. It contains names of tensors."""

MAX_BUFFER_BYTES = 512 * 2**20
"""Limit on all buffers of a message. JSON is up to eight times as long as the tensors."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: arguments of a job or its result, and images, pixels or serialised tensors that belong to it."""

    header: Mapping[str, object]
    buffers: Sequence[bytes] = ()


def pack(header: Mapping[str, object], buffers: Sequence[Buffer] = ()) -> list[Piece]:
    """The pieces of a message, in the order in which they are written."""
    sizes = [sum(map(len, buffer)) for buffer in buffers]
    text = orjson.dumps({"header": header, "sizes": sizes}, option=orjson.OPT_SERIALIZE_NUMPY)
    return [HEADER_LENGTH.pack(len(text)) + text, *(piece for buffer in buffers for piece in buffer)]


def unpack_header(text: bytes) -> tuple[Mapping[str, object], list[int]]:
    """The header of a message and the sizes of the buffers that follow it.

    Raises:
        ValueError: It is not a header, or announces more than `MAX_BUFFER_BYTES`.
    """
    content = orjson.loads(text)
    sizes = content["sizes"] if isinstance(content, dict) else None
    if not isinstance(sizes, list) or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ValueError("not a header")
    if sum(sizes) > MAX_BUFFER_BYTES:
        raise ValueError(f"buffers of {sum(sizes)} bytes")
    return content["header"], sizes
