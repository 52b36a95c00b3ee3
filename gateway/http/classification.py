"""Classify the uploads of a request: what all routes that answer with labels do."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request

from gateway.http.services import call_of, services_of
from gateway.http.upload import Upload
from gateway.inference.classifier import Classification
from gateway.prediction_log.records import BEST
from gateway.serving.backend import Selector


async def classified(
    request: Request, model: str, selector: Selector, uploads: Sequence[Upload], top_k: int | None
) -> Classification:
    """Classify uploads, send a copy to the shadow, and record the answers.

    Args:
        request: Their request.
        model: Name of the model.
        selector: The version.
        uploads: The images.
        top_k: Number of labels for each; None stands for `Settings.default_top_k`.

    Raises:
        RateLimited, Overloaded: As `Services.admit` raises them.
        GatewayError: As `Classifier.classify` raises it.
    """
    services, call = services_of(request), call_of(request)
    record = call.record
    record.images, record.image_bytes = len(uploads), sum(one.size for one in uploads)
    async with services.admit(call, len(uploads)):
        contents = [one.content for one in uploads]
        wanted = top_k or services.settings.default_top_k
        selector = await services.route(call, model, selector)
        ranked = wanted if services.prediction_log is None else max(wanted, BEST)
        answer = await services.classifier.classify(model, selector, contents, ranked, call.deadline, record)
    services.shadows.copy(answer, contents, record)
    if services.prediction_log is not None:
        services.prediction_log.record_answers(answer, contents, record, call.routing_key)
    return answer.best(wanted) if ranked > wanted else answer
