"""Requests to signatures are repeated when their version goes away."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from gateway.deadline import Deadline
from gateway.inference.admission import Admission
from gateway.inference.predictor import Predictor, TensorRequest
from gateway.inference.worker_pools import WorkerPools
from gateway.observability.request_record import RequestRecord
from gateway.pb.serving_pb2 import DataType
from gateway.serving.backend import Selector, ServableNotFound
from gateway.serving.channel import ModelServerChannel
from gateway.serving.grpc_backend import GrpcBackend
from gateway.serving.resolver import ContractResolver
from gateway.settings import Settings
from gateway.tensors.wire import Wire
from testing.colour_server import ColourServer, ForeignModel
from testing.gateway import FORK_SERVER
from testing.polling import DEADLINE_SECONDS

SUMS = ForeignModel(
    {"x": (DataType.DT_FLOAT, (-1, 1000))},
    {"y": (DataType.DT_FLOAT, (-1,))},
    lambda x: x.sum(axis=1).astype(np.float32),
)


class Changing(GrpcBackend):
    """A backend whose versions go away a few times, as during a rollout."""

    changes = 3

    async def predict(
        self,
        model: str,
        version: int,
        signature: str,
        inputs: Mapping[str, Wire],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> bytes:
        if self.changes:
            self.changes -= 1
            raise ServableNotFound("gone")
        return await super().predict(model, version, signature, inputs, outputs, deadline)


async def test_a_repeated_request_holds_the_memory_of_one_attempt(model_server: ColourServer) -> None:
    model_server.models["sums"] = {1: SUMS}
    body = json.dumps({"instances": [[1.0] * 1000]}).encode()
    # There is room for the body and the tensors of one attempt, which take three times 4,000 bytes, but not of two.
    admission = Admission(max_images=8, max_uploads=8, max_upload_bytes=28_000, max_request_bytes=28_000)
    settings = Settings.model_validate({"decode_workers": 1})
    pools = WorkerPools(settings, FORK_SERVER, admission.hold)
    backend = Changing(ModelServerChannel(model_server.address))
    resolver = ContractResolver(backend, {}, refresh_seconds=60)
    predictor = Predictor(backend, resolver, pools.tensors, pools.images, admission, settings)
    record = RequestRecord(caller="a")
    admission.hold(record.turn, len(body))

    async def count_rows(_: int) -> None:
        raise AssertionError("there is one row")

    request = TensorRequest("tensorflow_serving_request", [body], {}, count_rows)
    answer = await predictor.predict("sums", Selector(), request, Deadline.after(DEADLINE_SECONDS), record)
    assert len(answer.answers) == 1
    assert backend.changes == 0
    held_bytes = admission.held_by(record.turn)
    assert len(body) + 3 * 4000 <= held_bytes < len(body) + 2 * 3 * 4000
    admission.release(record.turn)
    assert admission.is_idle
    await pools.close()
    await resolver.close()
    await backend.close()
