"""The errors that a client of the model server sees, each with its gRPC status code."""

from collections.abc import Mapping

import grpc

_BY_NUMBER: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

# TensorFlow Serving truncates longer messages, because gRPC sends them in a header, and many proxies limit headers.
_LONGEST_MESSAGE_BYTES = 1024
_CUT = "...TRUNCATED"


class ServingError(Exception):
    """An answer other than OK.

    Attributes:
        code: The gRPC status code.
        message: What was wrong.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ConfigError(ValueError):
    """A configuration file or flag is not valid; the message says why."""


def invalid(message: str) -> ServingError:
    """The request itself is wrong: INVALID_ARGUMENT."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """No such model, or no such version: NOT_FOUND."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """The model cannot serve this request as it is now: FAILED_PRECONDITION."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def from_exception(error: Exception) -> ServingError:
    """Convert any exception from loading or running a model to a status.

    TensorFlow's errors have the same codes as gRPC. Only the first part of their message is useful to a client; the
    rest describes the node that failed.
    """
    if isinstance(error, ServingError):
        return error
    number = getattr(error, "error_code", None)
    if isinstance(number, int):
        code = _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)
        return ServingError(code, str(getattr(error, "message", error)).partition("\n\t [[")[0])
    if isinstance(error, UnicodeDecodeError):  # TensorFlow's message quotes an input that is not text
        return invalid(error.object.decode(errors="replace").partition("\n\t [[")[0])
    if isinstance(error, OSError):
        return not_found(str(error))
    return ServingError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


def shortened(message: str) -> str:
    """``message``, truncated as TensorFlow Serving does."""
    encoded = message.encode()
    if len(encoded) <= _LONGEST_MESSAGE_BYTES:
        return message
    return encoded[: _LONGEST_MESSAGE_BYTES - len(_CUT)].decode(errors="ignore") + _CUT
