"""The Open Inference Protocol, as far as REST and gRPC have it in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gateway import errors
from gateway.deadline import Deadline
from gateway.inference import readiness
from gateway.inference.classifier import Classification
from gateway.inference.predictor import Predicted, TensorRequest
from gateway.inference.scores import Ranked
from gateway.pb.serving_pb2 import ModelVersionStatus, TensorInfo
from gateway.services.services import Call, Services
from gateway.serving.backend import Selector
from gateway.serving.contract import DEFAULT_SIGNATURE
from gateway.serving.version_lookup import ServedVersion, available_versions
from gateway.tensors.open_inference_data import DATATYPES
from gateway.workers.messages import Message

SERVER_NAME = "breed-gateway"
PLATFORM = "tensorflow_savedmodel"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a model: name, datatype of the protocol, and shape, in which -1 is any size."""

    name: str
    datatype: str
    shape: Sequence[int]


@dataclass(frozen=True, slots=True)
class Metadata:
    """A model: its available versions, and the tensors of the signature that is used by default."""

    versions: Sequence[str]
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


async def infer(
    services: Services, call: Call, model: str, selector: Selector, request: TensorRequest, write: str
) -> tuple[int, Message]:
    """Run a signature, or classify the encoded images of a request. The caller holds a permit for the first row.

    Args:
        services: The services of the app.
        call: The call.
        model: Name of the model.
        selector: The version.
        request: The body, and the job that reads it. That gets further arguments from here.
        write: The job of `gateway.workers.jobs` that writes the answer.

    Returns:
        The version that answered, and the reply of the job `write`.
    """
    selector = await services.route(call, model, selector)
    served = await services.resolver.served(model, selector, call.deadline)
    arguments = {
        **request.arguments,
        "default_signature": _default_signature(served),
        "max_images": services.settings.max_batch_images if _takes_images(served) else 0,
    }
    request = replace(request, arguments=arguments)
    answer = await services.predictor.predict(model, selector, request, call.deadline, call.record)
    services.admission.hold(call.record.turn, sum(map(len, answer.answers)))
    written: dict[str, object] = {"rows": answer.rows, "head": answer.request["head"], "model": model}
    version = answer.served.version
    if answer.images is not None:
        classified = await _classified(services, call, answer, answer.images, model, selector)
        version = classified.contract.version
        written |= _classes(classified)
    written["version"] = version
    return version, await services.predictor.write(write, written, answer.answers, call.deadline, call.record)


async def is_ready(services: Services, model: str, selector: Selector) -> bool:
    """Whether a model, or one version of it, can answer. Raises UnknownModel or UnknownVersion if there is none."""
    # Without the cache, which keeps a version after its server is gone.
    try:
        versions = await services.resolver.versions(model, Deadline.after(readiness.PROBE_SECONDS))
    except (errors.ModelServerUnavailable, errors.DeadlineExceeded):
        versions = []
    selected = [one for one in versions if selector.version in (None, one.version)]
    if versions and not selected:
        raise errors.UnknownVersion(f"The model {model!r} has no {selector}.")
    return any(one.state == ModelVersionStatus.State.AVAILABLE for one in selected)


async def metadata(services: Services, model: str, selector: Selector) -> Metadata:
    """Describe a model.

    Raises:
        SignatureMissing: It has no signature that could be used by default.
    """
    deadline = Deadline.after(services.settings.request_timeout_seconds)
    served = await services.resolver.described(model, selector, deadline)
    available = sorted(available_versions(await services.resolver.versions(model, deadline)))
    if _takes_images(served):
        inputs = [Tensor("image_bytes", "BYTES", [-1])]
        outputs = [Tensor("classes", "BYTES", [-1, -1]), Tensor("scores", "FP32", [-1, -1])]
    else:
        key = _default_signature(served)
        signature = served.signatures.get(key)
        if signature is None:
            raise errors.SignatureMissing(f"The model {model!r} has no signature {key!r}.")
        inputs, outputs = _tensors(signature.inputs), _tensors(signature.outputs)
    return Metadata([str(number) for number in available], inputs, outputs)


async def _classified(
    services: Services, call: Call, answer: Predicted, images: Sequence[bytes], model: str, selector: Selector
) -> Classification:
    top_k = _top_k(services, answer.request["head"]["parameters"].get("top_k"))
    uploads = [[image] for image in images]
    async with services.admit(call, len(uploads) - 1):
        classified = await services.classifier.classify(model, selector, uploads, top_k, call.deadline, call.record)
    services.shadows.copy(classified, uploads, call.record)
    return classified


def _classes(classified: Classification) -> dict[str, object]:
    """Labels and scores of each image, best first. Raises the error of the first image that failed."""
    ranked = []
    for result in classified.results:
        if not isinstance(result, Ranked):
            raise result
        ranked.append(result.predictions)
    return {
        "classes": [[label for label, _ in one] for one in ranked],
        "scores": [[score for _, score in one] for one in ranked],
    }


def _top_k(services: Services, requested: object) -> int:
    if requested is None:
        return services.settings.default_top_k
    limit = services.settings.max_top_k
    if not isinstance(requested, int) or isinstance(requested, bool) or not 1 <= requested <= limit:
        raise errors.BadRequest(f"The parameter top_k must be an integer from 1 to {limit}.")
    return requested


def _takes_images(served: ServedVersion) -> bool:
    return served.contract is not None and served.contract.certain_image


def _default_signature(served: ServedVersion) -> str:
    return served.contract.signature if served.contract is not None else DEFAULT_SIGNATURE


def _tensors(infos: Mapping[str, TensorInfo]) -> list[Tensor]:
    return [
        Tensor(name, DATATYPES.get(info.dtype, "UNKNOWN"), [dim.size for dim in info.tensor_shape.dim])
        for name, info in sorted(infos.items())
    ]
