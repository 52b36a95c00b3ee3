"""Small SavedModels and the servers on them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tensorflow as tf

from testing.made_once import made_once
from testing.modelserver import Server
from trainer.export.openvino_network import write_network

Publish = Callable[[Path, int], Path]
VERSIONS = (1, 2, 3)


class Colours(tf.Module):  # type: ignore[misc]
    """A toy classifier whose answers tell the version and the batch that made them."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = str(version)
        self.scale = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 6, 3), tf.uint8, name="images")])  # type: ignore[untyped-decorator]
    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        means = tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2]) * self.scale
        return {"probabilities": means, "brightest": tf.argmax(means, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="request")])  # type: ignore[untyped-decorator]
    def describe(self, request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(request), self.version)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])  # type: ignore[untyped-decorator]
    def encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def brightness(one: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(tf.cast(tf.io.decode_image(one, expand_animations=False), tf.float32))

        lightness = tf.map_fn(brightness, image_bytes, fn_output_signature=tf.float32)
        return {"brightness": lightness, "rows": tf.repeat(tf.size(lightness)[None], tf.size(lightness))}

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def batch(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Says how many rows it was called with."""
        return {"sum": tf.reduce_sum(x, axis=1), "rows": tf.repeat(tf.shape(x)[:1], tf.shape(x)[0])}

    @tf.function(input_signature=[tf.TensorSpec((1, 2), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def fixed(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one row and no more."""
        return {"sum": tf.reduce_sum(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((), tf.string, name="x")])  # type: ignore[untyped-decorator]
    def scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one text that is a number."""
        return {"number": tf.strings.to_number(x)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="folder")])  # type: ignore[untyped-decorator]
    def wait(self, folder: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes a file ``begun`` into a folder, and answers once there is a file ``over``."""
        with tf.control_dependencies([tf.io.write_file(tf.strings.join([folder[0], "/begun"]), "")]):
            path = tf.identity(folder[0])
        found, looks = tf.constant(0), tf.constant(0)
        while found == 0:
            # The pattern depends on the number of looks, so that the graph cannot be made to look only once.
            pattern = tf.strings.join([path, "/ove[r", tf.strings.as_string(looks), "]"])
            found = tf.size(tf.io.matching_files(pattern))
            looks += 1
        return {"looks": tf.repeat(looks[None], tf.size(folder))}


def build_for_openvino(folder: Path) -> None:
    for version in VERSIONS:
        module = Colours(version)
        module.scale = tf.constant(float(version))
        size = {"height": 4, "width": 6, "fit": "crop", "interpolation": "bilinear"}
        module.version = json.dumps({"labels": ["red", "green", "blue"], "input": size, "built": version})
        signatures = {"pixels": module.pixels, "describe": module.describe, "serving_default": module.pixels}
        tf.saved_model.save(module, str(folder / str(version)), signatures=signatures)
        extra = folder / str(version) / "assets.extra"
        extra.mkdir()
        (extra / "card.json").write_text(module.version)
        assert write_network(module.pixels, extra) is None


def build(folder: Path) -> None:
    for version in VERSIONS:
        module = Colours(version)
        names = ("pixels", "describe", "encoded", "batch", "fixed", "scalar", "wait")
        signatures = {name: getattr(module, name) for name in names}
        signatures["serving_default"] = module.pixels
        tf.saved_model.save(module, str(folder / str(version)), signatures=signatures)


@pytest.fixture(scope="session")
def built_for_openvino(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The same versions with the signatures that OpenVINO can compute, and the network for it."""
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    folder = made_once(tmp_path_factory, "built_for_openvino", build_for_openvino)
    return {version: folder / str(version) for version in VERSIONS}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """SavedModels of versions 1 to 3."""
    folder = made_once(tmp_path_factory, "built", build)
    return {version: folder / str(version) for version in VERSIONS}


@pytest.fixture(scope="session")
def publish(built: dict[int, Path]) -> Publish:
    """Publishes a version in a base path, as a trainer does: under a hidden name first."""
    return publisher(built)


@pytest.fixture(scope="session")
def publish_light(built_for_openvino: dict[int, Path]) -> Publish:
    """Publishes versions that a server loads without TensorFlow, which takes seconds."""
    return publisher(built_for_openvino)


def publisher(versions: dict[int, Path]) -> Publish:
    def copy(base: Path, version: int) -> Path:
        base.mkdir(parents=True, exist_ok=True)
        hidden = base / f".{version}.tmp"
        shutil.copytree(versions[version], hidden)
        return hidden.rename(base / str(version))

    return copy


def publish_broken(base: Path, version: int) -> Path:
    """Publishes what is no SavedModel."""
    path = base / str(version)
    hidden = base / f".{version}.tmp"
    hidden.mkdir(parents=True)
    (hidden / "saved_model.pb").write_bytes(b"this is no SavedModel")
    return hidden.rename(path)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    started: list[Server] = []

    def start(*flags: str) -> Server:
        server = Server("--file_system_poll_wait_seconds=0.05", "--load_retry_interval_micros=100000", *flags)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def demo_config(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Path:
    """A configuration: model ``demo`` with versions 1 and 2, the label ``stable`` on 1, ``ahead`` on 7."""
    return write_demo_config(tmp_path_factory.mktemp("models") / "demo", publish)


def write_demo_config(base: Path, publish: Publish) -> Path:
    publish(base, 1)
    publish(base, 2)
    path = base.parent / "models.config"
    path.write_text(
        f"""model_config_list {{ config {{
          name: "demo" base_path: "{base}" model_platform: "tensorflow"
          model_version_policy {{ all {{}} }}
          version_labels {{ key: "stable" value: 1 }}
          version_labels {{ key: "ahead" value: 7 }}
        }} }}"""
    )
    return path


@pytest.fixture(scope="session")
def servers(demo_config: Path) -> Iterator[dict[str, Server]]:
    """One server without and one with batching, for tests that only ask."""
    parameters = demo_config.with_name("batching.config")
    parameters.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 200000 } max_enqueued_batches { value: 2 } "
        "num_batch_threads { value: 1 } allowed_batch_sizes: 4 allowed_batch_sizes: 8"
    )
    common = (f"--model_config_file={demo_config}", "--allow_version_labels_for_unavailable_models")
    running = {
        "plain": Server(*common, "--enable_serialization_as_tensor_content=true"),
        "batching": Server(*common, "--enable_batching=true", f"--batching_parameters_file={parameters}"),
    }
    yield running
    for server in running.values():
        server.close()


@pytest.fixture(scope="session")
def openvino_server(tmp_path_factory: pytest.TempPathFactory, built_for_openvino: dict[int, Path]) -> Iterator[Server]:
    """The same models on OpenVINO, with batching."""
    base = tmp_path_factory.mktemp("models_for_openvino") / "demo"
    config = write_demo_config(base, publisher(built_for_openvino))
    flags = ("--allow_version_labels_for_unavailable_models", "--enable_batching=true", "--engine=openvino")
    server = Server(f"--model_config_file={config}", *flags)
    yield server
    server.close()


@pytest.fixture(params=["plain", "batching", "openvino"])
def every(request: pytest.FixtureRequest) -> Server:
    """The three servers in turn: what is asked must depend neither on batching nor on the engine."""
    if request.param == "openvino":
        server: Server = request.getfixturevalue("openvino_server")
        return server
    servers: dict[str, Server] = request.getfixturevalue("servers")
    return servers[request.param]


@pytest.fixture(params=["plain", "batching"])
def either(servers: dict[str, Server], request: pytest.FixtureRequest) -> Server:
    """Both servers with TensorFlow in turn, for signatures that only TensorFlow can compute."""
    return servers[request.param]
