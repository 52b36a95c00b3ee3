"""Requests that share a batch: they are joined, and fail together."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from modelserver.batching import Scheduler
from modelserver.config import Batching
from modelserver.errors import ServingError
from testing.modelserver import Array, Server, request
from testing.polling import DEADLINE_SECONDS, until
from tests.modelserver.test_requests import jpeg


@pytest.fixture
def batching(servers: dict[str, Server]) -> Server:
    return servers["batching"]


def rows(width: int, count: int = 1) -> dict[str, object]:
    return {"x": np.ones((count, width), np.float32)}


@contextmanager
def busy(server: Server, folder: Path) -> Iterator[None]:
    """The only thread that runs batches is inside the model until the block ends."""
    message = request("demo", "wait", {"folder": np.array([str(folder)], dtype=object)})
    call = server.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS)
    try:
        until((folder / "begun").exists, "the thread is busy")
        yield
    finally:
        (folder / "over").touch()
    assert call.code() is grpc.StatusCode.OK


def joined_calls(server: Server, folder: Path, messages: Sequence[predict_pb2.PredictRequest]) -> dict[int, Any]:
    """Calls with one row that run in two batches of 8, by their place among 17 messages; one call is refused.

    The refusal tells that 16 calls wait, which no time of waiting could tell on a busy machine.
    """
    assert len(messages) == 17
    with busy(server, folder):
        calls = [server.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
        until(lambda: any(call.done() for call in calls), "the queue is full")
    answered = {at: call for at, call in enumerate(calls) if call.code() is not grpc.StatusCode.UNAVAILABLE}
    assert len(answered) == 16
    return answered


def test_concurrent_requests_run_as_one_batch_and_each_gets_its_own_rows(batching: Server, tmp_path: Path) -> None:
    messages = [request("demo", "batch", {"x": np.full((1, 2), value, np.float32)}) for value in range(17)]
    for value, call in joined_calls(batching, tmp_path, messages).items():
        outputs = call.result().outputs
        assert tf.make_ndarray(outputs["sum"]).tolist() == [2.0 * value]
        assert tf.make_ndarray(outputs["rows"]).tolist() == [8]


def test_a_loop_over_encoded_images_runs_in_a_batch_too(batching: Server) -> None:
    answer = batching.client.predict("demo", "encoded", {"image_bytes": np.array([jpeg()] * 3, dtype=object)})
    assert answer["rows"].tolist() == [4, 4, 4]


def test_a_batch_is_padded_to_an_allowed_size(batching: Server) -> None:
    answer = batching.client.predict("demo", "batch", rows(2, count=3))
    assert answer["rows"].tolist() == [4, 4, 4]


def test_without_batching_a_request_runs_alone(servers: dict[str, Server]) -> None:
    answer = servers["plain"].client.predict("demo", "batch", rows(2, count=9))
    assert answer["rows"].tolist() == [9] * 9


def test_versions_do_not_share_a_batch(batching: Server) -> None:
    predict = batching.client.prediction.Predict
    messages = [request("demo", "describe", {"request": np.zeros(1, np.int32)}, 1 + n % 2) for n in range(8)]
    calls = [predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
    cards = [tf.make_ndarray(call.result().outputs["card"]).tolist() for call in calls]
    assert cards == [[b"1"], [b"2"]] * 4


def test_a_request_that_fails_inside_the_model_fails_all_that_share_its_batch(batching: Server, tmp_path: Path) -> None:
    photos = [b"no photo", *[jpeg()] * 15, b"no photo"]  # two, because one call is refused
    messages = [request("demo", "encoded", {"image_bytes": np.array([photo], dtype=object)}) for photo in photos]
    calls = joined_calls(batching, tmp_path, messages).values()
    failed = [call for call in calls if call.code() is not grpc.StatusCode.OK]
    assert len(failed) in (8, 16)  # in one batch or in both
    assert {call.code() for call in failed} == {grpc.StatusCode.INVALID_ARGUMENT}
    [words] = {call.details() for call in failed}
    assert "Unknown image file format. One of JPEG, " in words
    assert batching.client.send(messages[1])


def test_requests_of_different_shape_in_one_batch_all_fail(batching: Server, tmp_path: Path) -> None:
    messages = [request("demo", "batch", rows(width)) for width in range(1, 18)]
    calls = joined_calls(batching, tmp_path, messages).values()
    assert {call.code() for call in calls} == {grpc.StatusCode.FAILED_PRECONDITION}
    [words] = {call.details() for call in calls}
    assert words.startswith("Tensors with name 'batch_x:0' from different tasks have different shapes and padding is")


def test_a_request_larger_than_what_runs_at_once_is_split_and_its_answer_is_whole() -> None:
    sizes: list[int] = []

    def run(values: Array) -> list[Array]:
        sizes.append(len(values))
        return [values * 2]

    scheduler = Scheduler(Batching(max_batch_size=64, execution_size=3, threads=1))
    [answer] = scheduler.run(run, [np.arange(8)], ["x:0"])
    assert answer.tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert sizes == [3, 3, 2]


def test_a_request_whose_first_part_fails_is_answered_when_its_other_parts_are_done() -> None:
    ended: list[int] = []
    first_failed = threading.Event()

    def run(values: Array) -> list[Array]:
        if values[0] == 0:
            first_failed.set()
            raise ServingError(grpc.StatusCode.INTERNAL, "the first part fails")
        assert first_failed.wait(DEADLINE_SECONDS)
        time.sleep(0.05)  # long enough for a caller that is answered too early to go on
        ended.append(int(values[0]))
        return [values]

    scheduler = Scheduler(Batching(max_batch_size=64, execution_size=2, threads=2))
    with pytest.raises(ServingError, match="the first part fails"):
        scheduler.run(run, [np.arange(6)], ["x:0"])
    assert sorted(ended) == [2, 4]


def test_a_request_larger_than_the_whole_queue_is_refused_and_the_next_one_is_answered() -> None:
    def run(values: Array) -> list[Array]:
        return [values]

    scheduler = Scheduler(Batching(max_batch_size=64, execution_size=2, max_enqueued_batches=2, threads=1))
    for _ in range(2):
        with pytest.raises(ServingError, match="queue to which this task was submitted is full"):
            scheduler.run(run, [np.arange(5)], ["x:0"])
        [answer] = scheduler.run(run, [np.arange(4)], ["x:0"])
        assert answer.tolist() == [0, 1, 2, 3]


def test_an_output_without_a_row_for_each_input_row_is_an_error() -> None:
    scheduler = Scheduler(Batching(threads=1))
    with pytest.raises(ServingError, match="0th dimension"):
        scheduler.run(lambda values: [values[:1]], [np.arange(2)], ["x:0"])


def test_a_request_larger_than_a_batch_is_refused(batching: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        batching.client.predict("demo", "batch", rows(2, count=9))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Task size 9 is larger than maximum input batch size 8"


def test_a_scalar_is_refused(batching: Server) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        batching.client.predict("demo", "describe", {"request": np.int32(0)})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "Batching Run() input tensors must have at least one dimension"


def test_signatures_with_a_fixed_batch_or_none_are_not_batched(batching: Server) -> None:
    messages = [request("demo", "fixed", {"x": np.full((1, 2), value, np.float32)}) for value in range(8)]
    calls = [batching.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
    sums = [tf.make_ndarray(call.result().outputs["sum"]).tolist() for call in calls]
    assert sums == [[2.0 * value] for value in range(8)]
    assert batching.client.predict("demo", "scalar", {"x": np.array(b"7", object)})["number"] == 7


def test_requests_beyond_a_full_queue_are_refused_as_unavailable(batching: Server, tmp_path: Path) -> None:
    message = request("demo", "batch", rows(2, count=8))
    with busy(batching, tmp_path):
        calls = [batching.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for _ in range(12)]
        until(lambda: sum(call.done() for call in calls) == 10, "all but two are refused")
    refused = [call for call in calls if call.code() is not grpc.StatusCode.OK]
    assert len(refused) == 10
    for call in refused:
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert call.details().startswith("The batch scheduling queue to which this task was submitted is full;")
