"""Convert uploads into the form that a model takes, in worker processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.inference.worker_pools import ImageWorkers
from gateway.observability.request_record import RequestRecord
from gateway.serving.contract import Contract
from gateway.tensors.wire import Wire, joined, strings
from gateway.workers.messages import Buffer


@dataclass(slots=True)
class StageTimes:
    """When workers processed the images of one request, by `time.perf_counter`."""

    submitted: float = field(default_factory=time.perf_counter)
    first_started: float | None = None
    last_done: float | None = None

    def started(self) -> None:
        """A worker started an image."""
        if self.first_started is None:
            self.first_started = time.perf_counter()

    def done(self) -> None:
        """A worker finished an image."""
        self.last_done = time.perf_counter()

    def report(self, record: RequestRecord) -> None:
        """Divide the time until now between the stages `queue`, `decode` and `predict`.

        The images of a batch overlap: the first that a worker begins ends `queue`, the last that is done `decode`.
        """
        started = self.first_started or self.submitted
        done = self.last_done or started
        record.add("queue", started - self.submitted)
        record.add("decode", done - started)
        record.add("predict", time.perf_counter() - done)


async def prepare(
    upload: Buffer | GatewayError,
    contract: Contract,
    workers: ImageWorkers,
    record: RequestRecord,
    deadline: Deadline,
    times: StageTimes,
) -> bytes | GatewayError:
    """Convert an upload into the form that a model takes.

    An error is returned unchanged. The record receives size and brightness of the photo.

    Returns:
        Pixels or an encoded image, or the error of this image.

    Raises:
        DeadlineExceeded, Overloaded: As `WorkerPool.run` raises them; they concern the whole request.
    """
    if isinstance(upload, GatewayError):
        return upload
    job, arguments = preparation(contract)
    try:
        reply = await workers.run(job, arguments, [upload], record.turn, deadline, times.started)
    except GatewayError as error:
        if error.retry_after_seconds is not None or error.status >= 500:
            raise
        return error
    finally:
        times.done()
    if "brightness" in reply.header:
        width, height = cast(tuple[int, int], reply.header["size"])
        record.photos.append((width * height, cast(float, reply.header["brightness"])))
    return reply.buffers[0]


def preparation(contract: Contract) -> tuple[str, dict[str, object]]:
    """The job that prepares images for a model, and its arguments. Equal results give equal images."""
    if contract.input_kind == "encoded":
        return "image_file", {}
    return "image_pixels", {
        "target": asdict(contract.target),
        "pixel_format": asdict(contract.pixel_format),
    }


def input_tensors(contract: Contract, images: Sequence[bytes]) -> dict[str, Wire]:
    """Serialised inputs of a model, of images that `prepare` returned.

    Args:
        contract: The contract of the model.
        images: At most as many as a call takes. Where it takes more, the last one is repeated.
    """
    images = [*images, *[images[-1]] * (contract.batch_size - len(images))]
    shape = contract.row_shape if contract.batch_size == 0 else (len(images), *contract.row_shape)
    if contract.input_kind == "encoded":
        inputs = {contract.input_name: strings(images, shape)}
    else:
        inputs = {contract.input_name: joined(shape, contract.input_dtype, images)}
    return inputs | {fixed.name: fixed.tensor(len(images)) for fixed in contract.fixed_inputs}
