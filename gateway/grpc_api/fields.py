"""Read single fields of a serialised message without parsing the rest.

The event loop needs to know which model a call is for. Parsing a whole message of megabytes there would delay all
callers.
"""

from __future__ import annotations

from collections.abc import Set

from gateway.errors import BadRequest

MAX_FIELDS = 1000
"""Most top-level fields of a message; a request has one for each input, requested output and parameter."""

MAX_BYTES = 64 * 2**10
"""Most bytes in the fields that are read."""

_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5


def length_delimited_fields(message: bytes, wanted: Set[int]) -> dict[int, list[bytes]]:
    """The contents of some top-level fields that hold strings, bytes or messages.

    Args:
        message: The serialised message.
        wanted: Numbers of the fields.

    Returns:
        For each number that occurs, its contents in order.

    Raises:
        BadRequest: This is no message, it has more than `MAX_FIELDS`, or the contents exceed `MAX_BYTES`.
    """
    found: dict[int, list[bytes]] = {}
    position = size = 0
    for _ in range(MAX_FIELDS + 1):  # once more to see the end
        if position == len(message):
            return found
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
            if number in wanted and position + length <= len(message):
                size += length
                if size > MAX_BYTES:
                    raise BadRequest("The name of the model or its version is too long.")
                found.setdefault(number, []).append(message[position : position + length])
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
