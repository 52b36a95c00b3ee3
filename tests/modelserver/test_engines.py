"""Both engines on one export: the same answers, the same refusals, and OpenVINO without TensorFlow."""

from __future__ import annotations

import dataclasses
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import get_model_metadata_pb2

from testing import ROOT
from testing.modelserver import Server, request
from testing.polling import DEADLINE_SECONDS, until
from trainer.export.saved_model import export_model
from trainer.model_card import Backbone, Card, InputSpec

pytest.importorskip("openvino", reason="OpenVINO is not installed")

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ENGINES = ("tensorflow", "openvino")
SIZE = 32
IMAGES = np.random.default_rng(0).integers(0, 256, (7, SIZE, SIZE, 3), np.uint8)
BATCHING = (
    "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } max_execution_batch_size { value: 4 } "
    "batch_timeout_micros { value: 0 } max_enqueued_batches { value: 8 } num_batch_threads { value: 2 }"
)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1 of a model of three labels and one that is none, as the trainer writes it."""
    keras.utils.set_random_seed(1)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(images)
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(4, kernel_initializer=keras.initializers.RandomNormal(0, 4))(x))
    card = Card(
        name="demo",
        labels=("ape", "bear", "cat"),
        other_labels=(None,),
        input=InputSpec(SIZE, SIZE),
        backbone=Backbone("small", "none"),
        temperature=2.0,
        label_sets={"coverage": 0.95, "least_score": 0.2},
    )
    directory = tmp_path_factory.mktemp("exported") / "demo" / "1"
    directory.mkdir(parents=True)
    model_export = export_model(model, card, directory, batch_sizes=(1, 4))
    assert model_export.without_openvino is None
    return directory.parent


def start(base: Path, engine: str, *flags: str) -> Server:
    parameters = base.parent / f"batching-{engine}.config"  # not that of a server that may be reading it now
    parameters.write_text(BATCHING)
    batching = ("--enable_batching=true", f"--batching_parameters_file={parameters}")
    common = (f"--model_base_path={base}", "--model_name=demo", "--file_system_poll_wait_seconds=0.05")
    return Server(*common, f"--engine={engine}", *batching, *flags)


@pytest.fixture(scope="module")
def servers(exported: Path) -> Iterator[dict[str, Server]]:
    running = {engine: start(exported, engine) for engine in ENGINES}
    yield running
    for server in running.values():
        server.close()


@pytest.fixture(params=ENGINES)
def server(servers: dict[str, Server], request: pytest.FixtureRequest) -> Server:
    return servers[request.param]


PHOTOS = np.array([encoded(image, kind) for image in IMAGES[:2] for kind in ("PNG", "BMP", "GIF")], object)


@pytest.mark.parametrize(
    ("signature", "inputs"),
    [
        ("pixels", {"images": IMAGES}),
        ("explain", {"images": IMAGES}),
        ("embed", {"images": IMAGES}),
        ("serving_default", {"image_bytes": PHOTOS}),
        ("describe", {"request": np.zeros(3, np.int32)}),
    ],
)
def test_both_engines_give_the_same_answers(
    servers: dict[str, Server], signature: str, inputs: dict[str, np.ndarray]
) -> None:
    ours, theirs = (servers[engine].client.predict("demo", signature, inputs) for engine in ("openvino", "tensorflow"))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (ours[name].shape, ours[name].dtype) == (value.shape, value.dtype)
        if value.dtype == np.object_:
            np.testing.assert_array_equal(ours[name], value)
        else:
            np.testing.assert_allclose(ours[name].astype(float), value.astype(float), atol=1e-4)


def test_both_engines_declare_the_same_signatures(servers: dict[str, Server]) -> None:
    declarations = []
    for server in servers.values():
        signatures = get_model_metadata_pb2.SignatureDefMap()
        assert server.client.metadata("demo", "signature_def").metadata["signature_def"].Unpack(signatures)
        declarations.append(signatures)
    assert set(declarations[0].signature_def) >= {"serving_default", "pixels", "explain", "embed", "describe"}
    assert declarations[0] == declarations[1]


REFUSALS = {
    "unknown signature": (("nope", {"images": IMAGES}), "FAILED_PRECONDITION", 'signature key "nope" not found'),
    "wrong dtype": (("pixels", {"images": IMAGES.astype(np.float32)}), "INVALID_ARGUMENT", "to be uint8 but float"),
    "wrong size": (("pixels", {"images": IMAGES[:, 1:]}), "INVALID_ARGUMENT", "must have shape [?,32,32,3]"),
    "wrong input": (("explain", {"image": IMAGES}), "INVALID_ARGUMENT", "not found in request"),
    "too many rows": (("pixels", {"images": np.tile(IMAGES, (2, 1, 1, 1))}), "INVALID_ARGUMENT", "Task size 14"),
    "no photo": (("serving_default", {"image_bytes": np.array([b"hello"], object)}), "INVALID_ARGUMENT", "JPEG"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_both_engines_refuse_with_the_same_code(server: Server, case: str) -> None:
    request, code, words = REFUSALS[case]
    with pytest.raises(grpc.RpcError) as caught:
        server.client.predict("demo", *request)
    assert caught.value.code().name == code
    assert words in str(caught.value.details())


def test_an_output_filter_chooses_outputs_of_a_network(server: Server) -> None:
    message = request("demo", "explain", {"images": IMAGES[:1]})
    message.output_filter.append("heatmap")
    assert list(server.client.send(message).outputs) == ["heatmap"]


def test_concurrent_callers_each_get_their_own_rows(server: Server) -> None:
    alone = server.client.predict("demo", "pixels", {"images": IMAGES})["probabilities"]
    messages = [request("demo", "pixels", {"images": IMAGES[at % 7 :]}) for at in range(7)]
    calls = [server.client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
    for at, call in enumerate(calls):
        probabilities = tf.make_ndarray(call.result().outputs["probabilities"])
        np.testing.assert_allclose(probabilities, alone[at % 7 :].astype(float), atol=1e-5)


def test_openvino_computes_images_apart_so_a_bad_photo_fails_nobody_else(servers: dict[str, Server]) -> None:
    client = servers["openvino"].client
    photos = [PHOTOS[0], b"no photo", PHOTOS[1], PHOTOS[2]]
    messages = [request("demo", "", {"image_bytes": np.array([photo], object)}) for photo in photos]
    calls = [client.prediction.Predict.future(message, timeout=DEADLINE_SECONDS) for message in messages]
    assert [call.code().name for call in calls] == ["OK", "INVALID_ARGUMENT", "OK", "OK"]


@pytest.mark.parametrize(("engine", "name"), [("openvino", "OpenVINO"), ("tensorflow", "TensorFlow")])
def test_the_log_names_the_engine_and_warm_up_is_replayed(servers: dict[str, Server], engine: str, name: str) -> None:
    assert servers[engine].client.predict("demo", "pixels", {"images": IMAGES[:1]})
    assert f"available: model demo version 1, on {name}" in servers[engine].output
    assert "10 warm-up requests" in servers[engine].output  # all are read; OpenVINO computes one of each signature


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is read from /proc")
def test_openvino_serves_without_tensorflow_in_memory(servers: dict[str, Server]) -> None:
    loaded = {engine: Path(f"/proc/{servers[engine].pid}/maps").read_text() for engine in ENGINES}
    assert "libtensorflow_" in loaded["tensorflow"]
    assert "libtensorflow_" not in loaded["openvino"]


@pytest.mark.parametrize("module", ["modelserver.openvino_engine", "trainer.export.openvino_runtime, nncf"])
def test_openvino_and_nncf_are_imported_without_what_sends_usage_data(module: str) -> None:
    if "nncf" in module:
        pytest.importorskip("nncf", reason="NNCF is not installed")
    code = f"import {module}, sys; print(sys.modules.get('openvino_telemetry'))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "None"


def test_openvino_serves_where_tensorflow_is_not_installed(exported: Path, tmp_path: Path) -> None:
    without = tmp_path / "without_tensorflow.py"
    without.write_text(
        "import sys\n"
        "for name in ('tensorflow', 'tensorflow_serving', 'keras', 'ml_dtypes'):\n"
        "    sys.modules[name] = None\n"
        "from modelserver.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, str(without), "--host=127.0.0.1", "--port=0", f"--model_base_path={exported}"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "listening on" in line:
                break
        assert "listening on" in lines[-1], "".join(lines)
        assert any("on OpenVINO" in line for line in lines)
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Copies the export to a folder of the test's own, under a version's number."""

    def copy(version: int) -> Path:
        hidden = tmp_path / "demo" / f".{version}.tmp"
        shutil.copytree(exported / "1", hidden)
        return hidden

    return copy


def publish(hidden: Path) -> Path:
    return hidden.rename(hidden.with_name(hidden.name.strip(".").removesuffix(".tmp")))


def test_auto_takes_each_version_to_the_engine_that_it_is_made_for(copied: Callable[[int], Path]) -> None:
    one = publish(copied(1))
    server = start(one.parent, "auto")
    try:
        assert server.client.predict("demo", "pixels", {"images": IMAGES[:1]})
        two = copied(2)
        shutil.rmtree(two / "assets.extra" / "openvino")
        publish(two)
        until(lambda: server.client.states("demo") == {1: "END", 2: "AVAILABLE"}, server.output)
        assert "version 1, on OpenVINO" in server.output
        assert "version 2, on TensorFlow" in server.output
        three = copied(3)
        (three / "assets.extra" / "openvino" / "network.xml").write_text("this is no network")
        publish(three)
        until(lambda: "model demo version 3 failed to load" in server.output, server.output)
        assert server.client.states("demo")[2] == "AVAILABLE"
        assert server.client.predict("demo", "pixels", {"images": IMAGES[:1]})
    finally:
        server.close()


def test_openvino_alone_says_what_it_cannot_serve(copied: Callable[[int], Path]) -> None:
    hidden = copied(1)
    shutil.rmtree(hidden / "assets.extra" / "openvino")
    base = publish(hidden).parent
    server = start(base, "openvino", "--max_num_load_retries=0")
    assert server.wait() == 1
    assert "the model was exported without it" in server.output
    server.close()


@pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ,
    reason="OpenVINO looks at the processor, not at oneDNN's limit, and chooses bfloat16 that oneDNN then refuses",
)
def test_a_card_in_bfloat16_is_computed_close_to_float32(
    copied: Callable[[int], Path], servers: dict[str, Server]
) -> None:
    hidden = copied(1)
    path = hidden / "assets.extra" / "card.json"
    path.write_text(dataclasses.replace(Card.from_json(path.read_text()), precision="bfloat16").to_json())
    server = start(publish(hidden).parent, "openvino")
    try:
        ours, exact = (
            one.client.predict("demo", "pixels", {"images": IMAGES})["probabilities"].astype(float)
            for one in (server, servers["openvino"])
        )
        np.testing.assert_allclose(ours, exact, atol=0.05)
    finally:
        server.close()
