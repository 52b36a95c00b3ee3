"""The interface to a model server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from google.protobuf.message import DecodeError

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelServerFailed
from gateway.pb.serving_pb2 import ModelVersionStatus, PredictResponse, SignatureDef, Tensor
from gateway.tensors.wire import Wire

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selector:
    """A version of a model: a number, a label, or neither for the newest."""

    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version}"
        return f"version label {self.label!r}" if self.label is not None else "newest version"


class ServableNotFound(Exception):
    """The model server does not have the model, version or label. It does not say which of them is missing."""


class Backend(Protocol):
    """A model server, or several that share the calls."""

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Wire],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> bytes:
        """Run one signature of one version.

        Args:
            model: Name of the model.
            version: Version that answers.
            signature: Key of the signature.
            inputs: Serialised tensors by input name.
            outputs: Names of the outputs to return.
            deadline: Deadline of the call.

        Returns:
            A serialised PredictResponse. `read_outputs` parses small ones; others are parsed in a worker process.

        Raises:
            ServableNotFound: The model or version does not exist.
            ModelServerUnavailable: The server is not reachable or overloaded.
            ModelServerFailed: The request was refused or failed.
            DeadlineExceeded: The deadline has passed.
        """
        ...

    async def signatures(
        self, model: str, selector: Selector, deadline: Deadline
    ) -> tuple[int, Mapping[str, SignatureDef]]:
        """The version that a selector currently stands for, and its signatures. Raises as `predict` does."""
        ...

    async def status(self, model: str, deadline: Deadline) -> Sequence[ModelVersionStatus]:
        """States of all known versions of a model. Raises as `predict` does."""
        ...

    def servers(self) -> int:
        """Number of model servers that share the calls."""
        ...

    async def close(self) -> None:
        """Close connections; calls in flight are cancelled."""
        ...


def read_outputs(answer: bytes) -> Mapping[str, Tensor]:
    """The outputs of a serialised PredictResponse, by name; raises ModelServerFailed if it cannot be parsed."""
    try:
        return PredictResponse.FromString(answer).outputs
    except DecodeError as error:
        raise ModelServerFailed("The model server's answer cannot be parsed.") from error


async def together(calls: Sequence[Coroutine[None, None, T]]) -> list[T]:
    """Await calls to a model server and return their answers in order. All calls end, even if one fails.

    Raises:
        ServableNotFound: One of the calls raised it. The version is gone, and all calls can be repeated with the next.
        GatewayError: Otherwise, the error of the first call that failed.
    """
    if len(calls) == 1:
        return [await calls[0]]
    failed: list[GatewayError | ServableNotFound] = []

    async def answer(call: Coroutine[None, None, T]) -> T | None:
        try:
            return await call
        except (GatewayError, ServableNotFound) as error:
            failed.append(error)
            return None

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answer(call)) for call in calls]
        if failed:
            raise next((error for error in failed if isinstance(error, ServableNotFound)), failed[0])
        return [cast(T, task.result()) for task in tasks]
    finally:
        # An error refers to this frame: in a cycle with it all that was sent would stay until the next collection.
        failed = []
