"""Classify the uploads of a call: what all routes that answer with labels do."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.http.upload import Upload
from gateway.inference.classifier import Classification
from gateway.prediction_log.records import BEST
from gateway.services.services import Call, Services
from gateway.serving.backend import Selector


async def classified(
    services: Services, call: Call, model: str, selector: Selector, uploads: Sequence[Upload], top_k: int | None
) -> Classification:
    """Classify the uploads of a call that holds permits for them, send a copy to the shadow, and record the answers.

    Without `top_k`, each gets `Settings.default_top_k` labels. Raises as `Classifier.classify` does.
    """
    contents = [one.content for one in uploads]
    limit = top_k or services.settings.default_top_k
    selector = await services.route(call, model, selector)
    ranked = limit if services.prediction_log is None else max(limit, BEST)
    answer = await services.classifier.classify(model, selector, contents, ranked, call.deadline, call.record)
    services.shadows.copy(answer, contents, call.record)
    if services.prediction_log is not None:
        services.prediction_log.record_answers(answer, contents, call.record, call.routing_key)
    return answer.best(limit) if ranked > limit else answer
