"""Classify images and return heat maps: where in a photo the model looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from gateway import errors, images
from gateway.deadline import Deadline
from gateway.images.overlay import Box
from gateway.inference.outputs import float_output, name_of
from gateway.inference.preprocessing import StageTimes, input_tensors, preparation
from gateway.inference.scores import Ranked, checked_scores, rank_labels
from gateway.inference.worker_pools import ImageWorkers
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import Tensor
from gateway.serving.backend import Backend, Selector, read_outputs
from gateway.serving.contract import EXPLAIN, Contract
from gateway.serving.resolver import ContractResolver
from gateway.serving.version_lookup import ServedVersion
from gateway.workers.messages import Buffer

HeatMap = npt.NDArray[np.float32]

MAX_MAP_SIDE = 1024
"""Maximum number of rows or columns of a heat map. Models return the size of their last feature map, such as 7."""

OVERLAY_SIDE = 768
"""Maximum length of the longer side of a painted photo, in pixels."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to one image, with its heat map.

    Attributes:
        heatmap: float32 (h, w), 0 to 1.
        box: The area of the upright image that the map covers.
    """

    contract: Contract
    ranked: Ranked
    heatmap: HeatMap
    box: Box


class Explainer:
    """Decodes an image, calls the signature `explain`, and maps the heat map back onto the photo."""

    def __init__(self, backend: Backend, resolver: ContractResolver, workers: ImageWorkers) -> None:
        self._backend = backend
        self._resolver = resolver
        self._workers = workers

    async def explain(
        self, model: str, selector: Selector, upload: Buffer, top_k: int, deadline: Deadline, record: RequestRecord
    ) -> Explanation:
        """Classify one image and return the heat map of the best label.

        Raises:
            SignatureMissing: The version has no heat maps.
            GatewayError: As in `Classifier.classify`, or the error of the image.
        """

        async def ask(served: ServedVersion) -> Explanation:
            contract = served.checked_contract()
            record.answered_by(contract.model, contract.version)
            if not contract.explains:
                raise errors.SignatureMissing(
                    f"{name_of(contract)} has no heat maps: it lacks the signature {EXPLAIN!r}."
                )
            times = StageTimes()
            job, arguments = preparation(contract)
            try:
                prepared = await self._workers.run(job, arguments, [upload], record.turn, deadline, times.started)
                times.done()
                answer = await self._backend.predict(
                    model,
                    contract.version,
                    EXPLAIN,
                    input_tensors(contract, [prepared.buffers[0]]),
                    ["probabilities", "heatmap"],
                    deadline,
                )
            except (errors.UnsupportedImage, errors.InvalidImage, errors.ImageTooLarge) as error:
                record.failures.append(error.code)
                raise
            finally:
                times.report(record)
            outputs = read_outputs(answer)
            [scores] = checked_scores(contract, outputs, 1)
            heatmap = _checked_map(contract, outputs)
            width, height = cast(tuple[int, int], prepared.header["size"])
            box = covered((width, height), contract.target)
            return Explanation(contract, rank_labels(contract, scores, top_k), heatmap, box)

        return await self._resolver.answer(model, selector, deadline, ask)

    async def painted(
        self, upload: Buffer, explanation: Explanation, deadline: Deadline, record: RequestRecord
    ) -> bytes:
        """A PNG of the upright photo, at most `OVERLAY_SIDE` pixels long, with the heat map painted over it."""
        heatmap = np.ascontiguousarray(explanation.heatmap)
        arguments = {"shape": heatmap.shape, "box": asdict(explanation.box), "max_side": OVERLAY_SIDE}
        with record.stage("paint"):
            reply = await self._workers.run(
                "heat_overlay", arguments, [upload, [heatmap.tobytes()]], record.turn, deadline
            )
        return reply.buffers[0]


def covered(size: tuple[int, int], target: images.Target) -> Box:
    """The area of an upright photo of this width and height that the input of a model covers, and so its heat map.

    Returns:
        Part of the photo for ``crop``, all of it for ``squash``, and more than the photo for ``pad``.
    """
    input_size = target.width, target.height
    resized, part = images.placement(size, input_size, target.fit)
    edges: list[float] = []
    for side in (0, 1):
        before = (input_size[side] - resized[side]) // 2
        after = input_size[side] - resized[side] - before
        edges += [
            part[side] / size[side] - before / resized[side],
            part[side + 2] / size[side] + after / resized[side],
        ]
    left, right, top, bottom = edges
    return Box(left, top, right, bottom)


def _checked_map(contract: Contract, outputs: Mapping[str, Tensor]) -> HeatMap:
    """Heat map (h, w) of one image."""
    maps = float_output(contract, outputs, "heatmap", "heat maps", max_elements=MAX_MAP_SIDE**2)
    if maps.ndim != 3 or len(maps) != 1 or not maps.size:
        raise errors.ModelServerFailed(f"{name_of(contract)} returned a heat map of shape {maps.shape} for one image.")
    if not np.isfinite(maps).all():
        raise errors.ModelServerFailed(f"{name_of(contract)} returned a heat map with values that are not finite.")
    clipped: HeatMap = np.clip(maps[0], 0, 1)
    return clipped
