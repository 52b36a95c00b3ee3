"""Which pool does what: ordinary work does not wait for large work, nor photos for tensors."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict

import pytest

from gateway.deadline import Deadline
from gateway.errors import InvalidImage, UploadTooLarge
from gateway.inference.worker_pools import SMALL_REQUEST_BYTES, WorkerPools
from gateway.pb.serving_pb2 import DataType, SignatureDefMap
from gateway.settings import Settings
from gateway.tensors.messages import SignatureRules
from gateway.workers.messages import Message
from testing.colour_server import signature
from testing.gateway import FORK_SERVER
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until_async

SUM = SignatureDefMap(
    signature_def={"sum": signature({"x": (DataType.DT_FLOAT, (-1,))}, {"y": (DataType.DT_FLOAT, (-1,))})}
)


@pytest.fixture
async def pools() -> AsyncIterator[WorkerPools]:
    pools = WorkerPools(Settings.model_validate({"decode_workers": 1}), FORK_SERVER, lambda *_: None)
    yield pools
    await pools.close()


async def read(pools: WorkerPools, body: bytes, max_bytes: int = 4 * SMALL_REQUEST_BYTES) -> Message:
    arguments = {
        "default_signature": "sum",
        "rules": asdict(SignatureRules(max_rows=10**7)),
        "compressed": True,
        "max_bytes": max_bytes,
    }
    return await pools.tensors.run(
        "tensorflow_serving_request",
        arguments,
        [[gzip.compress(body)], [SUM.SerializeToString()]],
        ("caller", object()),
        Deadline.after(DEADLINE_SECONDS),
    )


async def test_a_compressed_request_of_ordinary_size_does_not_wait_for_large_ones(pools: WorkerPools) -> None:
    body = json.dumps({"inputs": [1.0, 2.0]}).encode()
    large = pools.tensors._large._turns
    async with large.slot(("other", 0), Deadline.after(DEADLINE_SECONDS)):
        assert len((await read(pools, body)).buffers) == 1
        waits = asyncio.create_task(read(pools, body + b" " * SMALL_REQUEST_BYTES))
        await until_async(lambda: large.waiting == 1)
        assert not waits.done()
    assert len((await waits).buffers) == 1


async def decode(pools: WorkerPools, on_start: Callable[[], None] | None = None) -> Message:
    arguments = {"target": {"height": 4, "width": 6, "fit": "squash"}, "pixel_format": {}}
    deadline = Deadline.after(DEADLINE_SECONDS)
    return await pools.images.run("image_pixels", arguments, [[photo()]], ("caller", object()), deadline, on_start)


async def test_photos_and_tensors_do_not_wait_for_each_other(pools: WorkerPools) -> None:
    deadline = Deadline.after(DEADLINE_SECONDS)
    other = ("other", 0)
    async with pools.tensors._small._turns.slot(other, deadline), pools.tensors._large._turns.slot(other, deadline):
        assert (await decode(pools)).buffers
    async with pools.images._small._turns.slot(other, deadline), pools.images._large._turns.slot(other, deadline):
        assert (await read(pools, b'{"inputs": [1.0]}')).buffers


async def test_a_file_that_killed_a_worker_is_not_tried_again(pools: WorkerPools) -> None:
    await pools.warm_up()
    [worker] = pools.images._small._workers._idle
    starts: list[int] = []

    def kill() -> None:
        starts.append(worker.pid)
        os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(InvalidImage, match="more memory"):
        await decode(pools, kill)
    assert starts == [worker.pid]


@pytest.mark.parametrize("max_bytes", [1000, 2 * SMALL_REQUEST_BYTES])
async def test_a_compressed_request_over_the_limit_is_refused(pools: WorkerPools, max_bytes: int) -> None:
    with pytest.raises(UploadTooLarge, match=f"{max_bytes:,} bytes"):
        await read(pools, b" " * (max_bytes + 1), max_bytes)
