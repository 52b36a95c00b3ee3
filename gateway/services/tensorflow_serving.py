"""TensorFlow Serving's interface, as far as REST and gRPC have it in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway import errors
from gateway.deadline import Deadline
from gateway.inference.predictor import Predicted, TensorRequest
from gateway.pb.serving_pb2 import ModelVersionStatus
from gateway.services.services import Call, Services
from gateway.serving.backend import Selector
from gateway.serving.version_lookup import ServedVersion

HIDDEN_REASON = "See the log of the model server."
"""In place of why a version was not loaded: that may contain paths on the model server."""


async def predict(services: Services, call: Call, model: str, selector: Selector, request: TensorRequest) -> Predicted:
    """Run a signature. The caller holds a permit for the first row. Errors are in the words of the real server."""
    with _words_of_the_real_server(model, selector):
        route = await services.route(call, model, selector)
        answer = await services.predictor.predict(model, route, request, call.deadline, call.record)
    services.admission.hold(call.record.turn, sum(map(len, answer.answers)))
    return answer


async def described(services: Services, model: str, selector: Selector) -> ServedVersion:
    """The version that a selector stands for, with its signatures. Errors are in the words of the real server."""
    await versions(services, model)  # a cached version outlives its server
    with _words_of_the_real_server(model, selector):
        return await services.resolver.described(model, selector, _deadline(services))


async def versions(services: Services, model: str) -> list[ModelVersionStatus]:
    """The states of all versions of a model. Errors are in the words of the real server."""
    try:
        return await services.resolver.versions(model, _deadline(services))
    except errors.UnknownModel:
        raise errors.UnknownModel(f"Could not find any versions of model {model}") from None


def state_of(versions: Sequence[ModelVersionStatus], model: str, version: int) -> list[ModelVersionStatus]:
    """The state of one version; raises UnknownVersion if there is none."""
    matches = [one for one in versions if one.version == version]
    if not matches:
        raise errors.UnknownVersion(f"Could not find version {version} of model {model}")
    return matches


@contextmanager
def _words_of_the_real_server(model: str, selector: Selector) -> Iterator[None]:
    """Use the error messages of the real server, which some clients parse."""
    try:
        yield
    except (errors.UnknownModel, errors.UnknownVersion) as error:
        if selector.label is not None:
            raise errors.BadRequest(f"Unrecognized servable version label: {selector.label}") from error
        which = f"Latest({model})" if selector.version is None else f"Specific({model}, {selector.version})"
        raise type(error)(f"Servable not found for request: {which}") from error


def _deadline(services: Services) -> Deadline:
    return Deadline.after(services.settings.request_timeout_seconds)
