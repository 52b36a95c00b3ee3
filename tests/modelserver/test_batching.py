"""Requests that share a batch: they are joined, and fail together."""

from __future__ import annotations

import threading
import time
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
from testing.polling import DEADLINE_SECONDS
from tests.modelserver.test_requests import jpeg


@pytest.fixture
def batching(servers: dict[str, Server]) -> Server:
    return servers["batching"]


def rows(width: int, count: int = 1) -> dict[str, object]:
    return {"x": np.ones((count, width), np.float32)}


def test_concurrent_requests_run_as_one_batch_and_each_gets_its_own_rows(batching: Server) -> None:
    messages = [request("demo", "batch", {"x": np.full((1, 2), value, np.float32)}) for value in range(8)]
    calls = [batching.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
    answers = [call.result().outputs for call in calls]
    assert [tf.make_ndarray(answer["sum"]).tolist() for answer in answers] == [[2.0 * value] for value in range(8)]
    # A batch is padded to 4 or 8: more than four calls were in this one.
    assert max(int(tf.make_ndarray(answer["rows"])[0]) for answer in answers) == 8


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


def joined_calls(server: Server, messages: list[predict_pb2.PredictRequest]) -> list[Any]:
    """Calls that wait at the same time; the batching server takes up to 8 rows, 0.2 s after the first."""
    return [server.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]


def test_a_request_that_fails_inside_the_model_fails_all_that_share_its_batch(batching: Server) -> None:
    photos = [jpeg(), b"no photo", jpeg(), jpeg()]
    calls = joined_calls(
        batching,
        [request("demo", "encoded", {"image_bytes": np.array([photo], dtype=object)}) for photo in photos],
    )
    assert [call.code() for call in calls] == [grpc.StatusCode.INVALID_ARGUMENT] * 4
    [words] = {call.details() for call in calls}
    assert "Unknown image file format. One of JPEG, " in words
    good = request("demo", "encoded", {"image_bytes": np.array([jpeg()], dtype=object)})
    assert joined_calls(batching, [good])[0].code() is grpc.StatusCode.OK


def test_requests_of_different_shape_in_one_batch_all_fail(batching: Server) -> None:
    calls = joined_calls(batching, [request("demo", "batch", rows(width)) for width in (2, 3, 2, 5)])
    assert [call.code() for call in calls] == [grpc.StatusCode.FAILED_PRECONDITION] * 4
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


def test_requests_beyond_a_full_queue_are_refused_as_unavailable(batching: Server) -> None:
    predict = batching.client.prediction.Predict
    message = request("demo", "slow", {"rounds": np.full(8, 3000, np.int32)})
    calls = [predict.future(message, timeout=DEADLINE_SECONDS) for _ in range(12)]
    codes = [call.code() for call in calls]
    assert grpc.StatusCode.OK in codes
    refused = [call for call in calls if call.code() is not grpc.StatusCode.OK]
    assert refused
    for call in refused:
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert call.details().startswith("The batch scheduling queue to which this task was submitted is full;")
