"""Read serialised messages on the event loop: small ones, and single fields of others without parsing the rest.

The event loop needs to know which model a call is for. Parsing a whole message of megabytes there would delay all
callers.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.errors import BadRequest

MessageT = TypeVar("MessageT", bound=Message)

MAX_FIELDS = 1000
"""Most top-level fields of a message; a request has one for each input, requested output and parameter."""

MAX_BYTES = 64 * 2**10
"""Most bytes in the fields that are read."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


def parsed(kind: type[MessageT], message: bytes) -> MessageT:
    """Parse a small message of a kind; raises BadRequest if that fails."""
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise BadRequest("The message cannot be parsed.") from error


def length_delimited_fields(message: bytes, numbers: Set[int]) -> dict[int, list[bytes]]:
    """The contents of some top-level fields that hold strings, bytes or messages, in order, by number of the field.

    Raises:
        BadRequest: This is no message, it has more than `MAX_FIELDS`, or the contents exceed `MAX_BYTES`.
    """
    fields: dict[int, list[bytes]] = {}
    position = size = 0
    for _ in range(MAX_FIELDS + 1):  # once more to see the end
        if position == len(message):
            return fields
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, position = _varint(message, position)
        elif kind == _FIXED64:
            position += 8
        elif kind == _FIXED32:
            position += 4
        elif kind == _LENGTH_DELIMITED:
            length, position = _varint(message, position)
            if number in numbers and position + length <= len(message):
                size += length
                if size > MAX_BYTES:
                    raise BadRequest("The name of the model or its version is too long.")
                fields.setdefault(number, []).append(message[position : position + length])
            position += length
        else:
            break
        if position > len(message):
            break
    else:
        raise BadRequest(f"The message has more than {MAX_FIELDS} fields.")
    raise BadRequest("The message cannot be parsed.")


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position == len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise BadRequest("The message cannot be parsed.")
