"""Parse small messages: those without tensors, and the part of others that names the model."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from gateway.errors import BadRequest

MessageT = TypeVar("MessageT", bound=Message)


def parsed(kind: type[MessageT], message: bytes) -> MessageT:
    """A serialised message as one of this kind.

    Raises:
        BadRequest: It is not one.
    """
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise BadRequest("The message cannot be parsed.") from error
