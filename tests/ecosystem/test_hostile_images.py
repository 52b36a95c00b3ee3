"""Encoded images on the way to a real model server, which fails a whole batch for one image that it cannot decode."""

from __future__ import annotations

import base64
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf

from gateway.settings import Settings
from testing import TESTDATA
from testing.gateway import running_gateway
from testing.modelserver import Server, request
from testing.photos import photo
from testing.polling import until


class Redness(tf.Module):  # type: ignore[misc]
    """The mean of the red channel of encoded images."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])  # type: ignore[untyped-decorator]
    def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def red(image: tf.Tensor) -> tf.Tensor:
            pixels = tf.io.decode_image(image, channels=3, expand_animations=False)
            return tf.reduce_mean(tf.cast(pixels[..., 0], tf.float32))

        return {"red": tf.map_fn(red, image_bytes, fn_output_signature=tf.float32)}


REDNESS = {"red": 250, "green": 20, "blue": 10}


def with_unknown_critical_chunk(png: bytes) -> bytes:
    """A PNG with a chunk that a decoder must know, which Pillow does not insist on."""
    chunk = b"CRIT" + bytes(4)
    return png[:33] + (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + png[33:]


def hostile_files() -> list[bytes]:
    """Files that Pillow decodes and TensorFlow refuses."""
    paths = [TESTDATA / "hostile" / name for name in ("crit.png", "soi2.jpg")]
    return [with_unknown_critical_chunk(photo("red")), *(path.read_bytes() for path in paths if path.is_file())]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    model = Redness()
    tf.saved_model.save(model, str(folder / "redness" / "1"), signatures={"serving_default": model.serve})
    batching = folder / "batching.config"
    batching.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 100000 } max_enqueued_batches { value: 100 } "
        "num_batch_threads { value: 1 }"
    )
    server = Server(
        "--model_name=redness",
        f"--model_base_path={folder / 'redness'}",
        "--enable_batching=true",
        f"--batching_parameters_file={batching}",
    )
    yield server
    server.close()


@pytest.mark.parametrize("hostile", hostile_files(), ids=len)
def test_without_the_gateway_one_image_fails_those_that_share_its_batch(server: Server, hostile: bytes) -> None:
    def status(image: bytes) -> grpc.StatusCode:
        message = request("redness", "serving_default", {"image_bytes": np.array([image], np.object_)})
        try:
            server.client.send(message)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    with ThreadPoolExecutor(2) as pool:
        # Both are in one batch, unless the machine holds up one of them for longer than a batch waits.
        refused = [grpc.StatusCode.INVALID_ARGUMENT] * 2
        until(lambda: list(pool.map(status, [photo("green"), hostile])) == refused)


def test_honest_callers_notice_nothing_of_images_that_tensorflow_refuses(server: Server) -> None:
    settings = Settings.model_validate(
        {"serving_target": server.address, "default_model": "redness", "request_timeout_seconds": 60}
    )
    with running_gateway(settings) as client:

        def post(image: bytes) -> httpx.Response:
            body = {"instances": [{"b64": base64.b64encode(image).decode()}]}
            return client.post("/v1/models/redness:predict", json=body)

        over, hostile_statuses = threading.Event(), Counter[int]()

        def attack(_: int) -> None:
            while not over.is_set():
                hostile_statuses.update(post(file).status_code for file in hostile_files())

        def call(number: int) -> list[tuple[int, object]]:
            answers = []
            for turn in range(15):
                colour = list(REDNESS)[(number + turn) % 3]
                answer = post(photo(colour, encoding="PNG" if turn % 2 else "JPEG"))
                [redness] = answer.json().get("predictions", [None])
                answers.append((answer.status_code, redness == pytest.approx(REDNESS[colour], abs=5)))
            return answers

        with ThreadPoolExecutor(10) as pool:
            attackers = [pool.submit(attack, number) for number in range(2)]
            try:
                honest = [answer for answers in pool.map(call, range(8)) for answer in answers]
            finally:
                over.set()
            for attacker in attackers:
                attacker.result()
    assert Counter(honest) == {(200, True): 8 * 15}
    assert hostile_statuses.total() > 0
    assert hostile_statuses.keys() <= {200, 400}
