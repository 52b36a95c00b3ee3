"""JSON bodies of Hugging Face's inference API for image classification."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gateway.errors import BadRequest
from gateway.tensors.json_values import image_of_value


def read_request(body: bytes) -> tuple[bytes, int | None]:
    """Read ``{"inputs": "<base64>", "parameters": {"top_k": 3}}``.

    Returns:
        The encoded image, and the number of labels to return; None if the request sets none.

    Raises:
        BadRequest: The body is not such JSON, or it sets a parameter that the gateway does not offer.
    """
    try:
        value = json.loads(body)  # orjson takes twelve times the size of the body
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not JSON.") from error
    image = image_of_value(value)
    if image is None:
        raise BadRequest('The body must be an image, or JSON such as {"inputs": "<the image in base64>"}.')
    parameters = value.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise BadRequest("parameters must be an object.")
    return image, _top_k(parameters)


def _top_k(parameters: Mapping[str, object]) -> int | None:
    present = {name: value for name, value in parameters.items() if value is not None}
    top_k = present.pop("top_k", None)
    if "function_to_apply" in present:
        raise BadRequest("function_to_apply is not supported: scores are returned as the model computes them.")
    if present:
        raise BadRequest(f"The parameter {min(present)[:80]!r} is not supported. The only parameter is top_k.")
    if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
        raise BadRequest("top_k must be a whole number of at least 1.")
    return top_k
