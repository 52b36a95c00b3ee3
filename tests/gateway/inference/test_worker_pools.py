"""Ordinary work does not wait for large work."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import asdict

import pytest

from gateway.deadline import Deadline
from gateway.errors import UploadTooLarge
from gateway.inference.worker_pools import SMALL_REQUEST_BYTES, WorkerPools
from gateway.pb.serving_pb2 import DataType, SignatureDefMap
from gateway.settings import Settings
from gateway.tensors.messages import SignatureRules
from gateway.workers.messages import Message
from testing.colour_server import signature
from testing.gateway import FORK_SERVER
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


@pytest.mark.parametrize("max_bytes", [1000, 2 * SMALL_REQUEST_BYTES])
async def test_a_compressed_request_over_the_limit_is_refused(pools: WorkerPools, max_bytes: int) -> None:
    with pytest.raises(UploadTooLarge, match=f"{max_bytes:,} bytes"):
        await read(pools, b" " * (max_bytes + 1), max_bytes)
