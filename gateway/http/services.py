"""What routes use: the services of the running app, and the request as a call of them."""

from __future__ import annotations

from functools import partial

from fastapi import Request

from gateway.deadline import Deadline
from gateway.http.middleware.access import count_images
from gateway.inference.traffic_split import ROUTING_KEY
from gateway.observability.request_record import RequestRecord
from gateway.services.services import Call, Services


def services_of(request: Request) -> Services:
    """The services of the app that handles a request. Its lifespan creates them."""
    services = request.scope["state"]["services"]
    assert isinstance(services, Services)
    return services


def record_of(request: Request) -> RequestRecord:
    """The record of a request."""
    record = request.scope["gateway.request_record"]
    assert isinstance(record, RequestRecord)
    return record


def deadline_of(request: Request) -> Deadline:
    """The deadline of a request whose upload is now complete. The router must depend on `time_limit`."""
    seconds = getattr(request.state, "time_limit", services_of(request).settings.request_timeout_seconds)
    assert isinstance(seconds, float)
    return Deadline.after(seconds)


def call_of(request: Request) -> Call:
    """A request whose upload is now complete, as a call of the services. The router must depend on `time_limit`."""
    count = partial(count_images, request.scope)
    return Call(record_of(request), deadline_of(request), count, request.headers.get(ROUTING_KEY))
