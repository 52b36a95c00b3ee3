"""The exported SavedModel: signatures, parity, frozen weights, warm-up; read by the loader that servers use."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from gateway.images import decode_image
from trainer.errors import TrainerError
from trainer.export import parity
from trainer.export.precision import in_bfloat16
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import Exported, export_model, try_export
from trainer.export.signatures import decode, split_at_features
from trainer.export.warmup import RECORDS
from trainer.model_card import Card, InputSpec

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)

Run = Callable[..., dict[str, NDArray[np.generic]]]
Build = Callable[..., keras.Model]
MakeCard = Callable[..., Card]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Small:
    """A small model with a linear head on pooled features, exported once for the tests that only read it."""

    model: keras.Model
    directory: Path
    exported: Exported

    def logits(self) -> NDArray[np.float64]:
        return np.asarray(self.model(IMAGES.astype(np.float32)), np.float64)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, small_model: Build, make_card: MakeCard) -> Small:
    model, directory = small_model(), tmp_path_factory.mktemp("small")
    return Small(model, directory, export_model(model, make_card(temperature=2.0), directory, batch_sizes=(1, 4)))


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Run]]:
    """Loads a SavedModel into a session by its tag and runs signatures by name, as tensorflow_model_server does."""
    sessions = []

    def load(directory: Path) -> Run:
        session = tf.compat.v1.Session(graph=tf.Graph())
        sessions.append(session)
        with session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(directory))

        def run(signature: str, **inputs: NDArray[np.generic] | list[bytes]) -> dict[str, NDArray[np.generic]]:
            found = loaded.signature_def[signature]
            assert set(found.inputs) == set(inputs)
            feed = {found.inputs[name].name: value for name, value in inputs.items()}
            answer: dict[str, NDArray[np.generic]] = session.run(
                {name: tensor.name for name, tensor in found.outputs.items()}, feed
            )
            return answer

        return run

    yield load
    for session in sessions:
        session.close()


def png(image: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def test_weights_too_large_for_constants_are_saved_as_variables(
    tmp_path: Path, small: Small, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    exported = export_model(small.model, make_card(temperature=2.0), tmp_path, graph_limit=0)
    assert "saved as variables" in exported.summary()
    answers = serve(tmp_path), serve(small.directory)
    for signature in ("pixels", "explain"):
        one, other = (run(signature, images=IMAGES) for run in answers)
        assert all(one[name] == pytest.approx(other[name], abs=1e-5) for name in other)
    (written,) = (tmp_path / "variables").glob("variables.data*")
    weights = sum(weight.nbytes for weight in small.model.get_weights())
    assert written.stat().st_size < weights + 5000  # once, and a list of their names


def test_a_bfloat16_export_says_so_and_how_far_off_it_is(
    tmp_path: Path, small: Small, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    try:
        exported = export_model(small.model, make_card(temperature=2.0), tmp_path, precision="bfloat16")
    except TrainerError as error:
        if not str(error).startswith("bfloat16 is not available: "):
            raise
        pytest.skip(str(error))
    assert "bfloat16; largest difference of a probability from Keras on 4 drawn patterns" in exported.summary()
    assert "without AVX-512 cannot load this model" in exported.summary()
    card = Card.from_json((tmp_path / "assets.extra" / "card.json").read_text())
    assert card.precision == "bfloat16"
    assert card.parity["pixels_same_top1"] == exported.parity.pixels_same_top1 > 0.9
    ours, exact = (serve(path)("pixels", images=IMAGES)["probabilities"] for path in (tmp_path, small.directory))
    assert ours.dtype == np.float32
    assert ours == pytest.approx(exact, abs=0.05)
    assert ours != pytest.approx(exact, abs=1e-7)


def test_bfloat16_is_refused_where_there_is_nothing_to_compute_in_it(
    tmp_path: Path, small: Small, make_card: MakeCard
) -> None:
    with pytest.raises(TrainerError, match="bfloat16 needs weights that become constants"):
        export_model(small.model, make_card(), tmp_path, graph_limit=0, precision="bfloat16")
    nothing = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((None, 2))]).get_concrete_function()
    with pytest.raises(TrainerError, match="bfloat16 is not available"):
        in_bfloat16(nothing)


def test_every_signature_answers_a_server_with_a_batch_dimension_first(
    small: Small, serve: Callable[[Path], Run]
) -> None:
    assert small.exported.frozen
    run = serve(small.directory)
    expected = softmax(small.logits() / 2)

    assert run("pixels", images=IMAGES)["probabilities"] == pytest.approx(expected, abs=1e-6)

    best = run("serving_default", image_bytes=[png(image) for image in IMAGES])
    order = np.argsort(-expected, axis=1)
    assert best["classes"].tolist() == [[b"abc"[at : at + 1] for at in row] for row in order]
    assert best["scores"] == pytest.approx(np.take_along_axis(expected, order, axis=1), abs=1e-6)

    explained = run("explain", images=IMAGES)
    assert explained["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert explained["heatmap"].shape == (5, 8, 8)
    assert explained["heatmap"].min() >= 0
    assert explained["heatmap"].max() == pytest.approx(1.0)

    cards = run("describe", request=np.zeros(2, np.int32))["card"]
    assert cards.shape == (2,)
    assert Card.from_json(cards[0].decode()) == Card.from_json(small.exported.card.to_json())


def test_the_heatmap_of_a_linear_head_on_pooled_features_is_the_class_activation_map(
    small: Small, serve: Callable[[Path], Run]
) -> None:
    features = np.asarray(split_at_features(small.model)[0](IMAGES.astype(np.float32))[1])
    logits = small.logits()
    kernel = small.model.layers[-1].get_weights()[0]
    maps = np.einsum("nhwc,cn->nhw", features, kernel[:, logits.argmax(axis=1)]).clip(0)
    expected = maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12)
    assert serve(small.directory)("explain", images=IMAGES)["heatmap"] == pytest.approx(expected, abs=1e-5)


def test_an_embedding_is_the_normalised_input_of_the_head(
    tmp_path: Path, small: Small, small_model: Build, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    maps = np.asarray(split_at_features(small.model)[0](IMAGES.astype(np.float32))[1])
    pooled = maps.mean(axis=(1, 2))
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert serve(small.directory)("embed", images=IMAGES)["embedding"] == pytest.approx(expected, abs=1e-5)
    assert SavedClassifier(small.directory).embeddings(IMAGES) == pytest.approx(expected, abs=1e-5)

    hidden = small_model(3, flatten=True)  # its head has a hidden layer
    export_model(hidden, make_card(), tmp_path)
    flat = np.asarray(split_at_features(hidden)[0](IMAGES.astype(np.float32))[1]).reshape(5, -1)
    expected = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert serve(tmp_path)("embed", images=IMAGES)["embedding"] == pytest.approx(expected, abs=1e-5)


def test_a_sigmoid_becomes_two_classes_and_stays_available_raw(
    tmp_path: Path, small_model: Build, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    model = small_model(1, flatten=True)
    export_model(model, make_card(("cat", "dog"), temperature=3.0), tmp_path)
    run = serve(tmp_path)
    logits = np.asarray(model(IMAGES.astype(np.float32)))
    assert run("sigmoid", images=IMAGES)["probability"] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    probabilities = run("pixels", images=IMAGES)["probabilities"]
    assert probabilities[:, 1:] == pytest.approx(1 / (1 + np.exp(-logits / 3)), abs=1e-6)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(5))
    # The hidden layer makes this Grad-CAM: the map is that of the class that was chosen, not of the sigmoid's side.
    assert run("explain", images=IMAGES)["heatmap"].shape == (5, 8, 8)


def test_other_labels_share_the_softmax_and_are_no_answer(
    tmp_path: Path, small_model: Build, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    model = small_model(5)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + np.array([0, 0, 0, 9, 0], np.float32)])
    card = make_card(other_labels=("tabby", None), unknown_threshold=0.5)
    export_model(model, card, tmp_path)
    run = serve(tmp_path)
    expected = softmax(np.asarray(model(IMAGES.astype(np.float32))))
    assert expected[:, 3].min() > 0.9
    assert run("pixels", images=IMAGES)["probabilities"] == pytest.approx(expected, abs=1e-6)
    best = run("serving_default", image_bytes=[png(image) for image in IMAGES])
    assert set(best["classes"].ravel().tolist()) == {b"a", b"b", b"c"}
    assert best["scores"] == pytest.approx(-np.sort(-expected[:, :3], axis=1), abs=1e-6)
    explained = run("explain", images=IMAGES)
    features = np.asarray(split_at_features(model)[0](IMAGES.astype(np.float32))[1])
    maps = np.einsum("nhwc,cn->nhw", features, kernel[:, expected[:, :3].argmax(axis=1)]).clip(0)
    scaled = maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12)
    assert explained["heatmap"] == pytest.approx(scaled, abs=1e-5)
    written = SavedClassifier(tmp_path)
    assert written.card.other_labels == ("tabby", None)
    assert written.card.known(expected.astype(np.float32)) == pytest.approx(expected[:, :3].sum(axis=1), abs=1e-6)


def test_frozen_weights_are_stored_once_and_nothing_asks_for_xla(
    tmp_path: Path, small_model: Build, make_card: MakeCard
) -> None:
    model = small_model(3, flatten=True)
    export_model(model, make_card(), tmp_path)
    saved = SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [*saved.meta_graphs[0].graph_def.node, *(node for function in functions for node in function.node_def)]
    assert not {node.op for node in nodes} & {"VarHandleOp", "ReadVariableOp"}
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    kernel = next(weight for weight in model.get_weights() if weight.shape == (8 * 8 * 8, 8))
    core = [one for one in constants if [size.size for size in one.tensor_shape.dim] == list(kernel.shape)]
    assert len(core) == 2  # in the function of all signatures, and in the gradient of `explain`
    everything = [*nodes, *functions]
    assert not any(one.attr["_XlaMustCompile"].b for one in everything if "_XlaMustCompile" in one.attr)


def test_a_network_with_swish_whose_gradient_cannot_be_written_is_exported(
    tmp_path: Path, small_model: Build, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    model = small_model(activation="swish")
    export_model(model, make_card(), tmp_path, batch_sizes=(1,))
    expected = softmax(np.asarray(model(IMAGES.astype(np.float32)), np.float64))
    explained = serve(tmp_path)("explain", images=IMAGES)
    assert explained["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert explained["heatmap"].max() == pytest.approx(1.0)


def test_every_signature_has_a_warm_up_record_of_every_batch_size(small: Small, serve: Callable[[Path], Run]) -> None:
    run = serve(small.directory)
    logs = [PredictionLog.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(small.directory / RECORDS))]
    requests = [log.predict_log.request for log in logs]
    seen = set()
    for request in requests:
        ((name, tensor),) = request.inputs.items()
        answer = run(request.model_spec.signature_name, **{name: tf.make_ndarray(tensor)})
        seen.add((request.model_spec.signature_name, {len(value) for value in answer.values()}.pop()))
    assert seen == set(itertools.product(["serving_default", "pixels", "explain", "embed", "describe"], [1, 4]))
    assert (small.directory / RECORDS).stat().st_size < 20_000


def test_the_keras_files_beside_give_the_same_probabilities(small: Small) -> None:
    assert small.exported.parity.h5 is not None
    expected = softmax(small.logits() / 2.0)
    for name in ("model.keras", "model.h5"):
        restored = keras.models.load_model(small.directory / "assets.extra" / name, compile=False)
        assert np.asarray(restored(IMAGES.astype(np.float32))) == pytest.approx(expected, abs=1e-6)


def test_a_network_that_cannot_be_exported_is_known_without_training(small: Small, make_card: MakeCard) -> None:
    try_export(small.model, make_card())
    flat = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(
        TrainerError, match=r"small_cnn cannot be exported \(the model has no layer .* another --backbone"
    ):
        try_export(flat, make_card())


def test_parity_is_measured_on_the_photos_given_and_written_to_the_card(
    tmp_path: Path, small: Small, make_card: MakeCard
) -> None:
    photos = []
    for kind in ("PNG", "JPEG", "WEBP"):
        stream = BytesIO()
        Image.fromarray(IMAGES[0]).resize((90, 70)).save(stream, kind)
        photos.append(stream.getvalue())
    exported = export_model(small.model, make_card(), tmp_path, photos=[*photos, b"not a photo"])
    assert exported.card.parity["photos"] == 3
    assert not exported.card.parity["drawn"]
    assert "on 3 photos:" in exported.summary()
    assert 0 <= exported.parity.pixels < 1e-6
    assert 0 < exported.parity.serving_default < 0.05
    assert Card.from_json((tmp_path / "assets.extra" / "card.json").read_text()).parity == exported.card.parity


def test_an_export_that_computes_something_else_is_refused(tmp_path: Path, small: Small, make_card: MakeCard) -> None:
    class Drifting(keras.layers.Layer):  # type: ignore[misc]
        """Adds more each time it is traced: the graph that is exported is not what Keras computes."""

        traced = 0.0

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            Drifting.traced += 1.0
            return tf.add(inputs, [[Drifting.traced, 0.0, 0.0]])

    drifting = keras.Model(small.model.input, Drifting()(small.model.output))
    with pytest.raises(TrainerError, match=r"export is refused: `pixels` differs from the Keras model by"):
        export_model(drifting, make_card(), tmp_path)
    assert not (tmp_path / "saved_model.pb").exists()


@pytest.mark.parametrize("difference", [1.1e-4, float("nan"), float("inf")])
def test_a_difference_over_the_limit_or_none_at_all_is_refused(difference: float) -> None:
    parity.check(1e-4, "x")
    with pytest.raises(TrainerError):
        parity.check(difference, "x")


def test_a_card_that_does_not_fit_the_model_is_refused(tmp_path: Path, small: Small, make_card: MakeCard) -> None:
    for card in (
        make_card(("a", "b")),
        make_card(("a", "b", "b")),
        make_card(input=InputSpec(64, 32)),
    ):
        with pytest.raises(TrainerError):
            export_model(small.model, card, tmp_path)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(80, 121), (121, 80), (20, 31), (1, 300)])
def test_the_graph_decodes_and_fits_as_the_gateway_does(fit: str, interpolation: str, shape: tuple[int, int]) -> None:
    coarse = Image.fromarray(np.random.default_rng(2).integers(0, 256, (6, 6, 3), np.uint8))
    stream = BytesIO()
    coarse.resize(shape[::-1], Image.Resampling.BICUBIC).save(stream, "PNG")
    spec = InputSpec(40, 56, fit, interpolation)  # type: ignore[arg-type]
    in_graph = decode(tf.constant([stream.getvalue()]), spec).numpy()[0].astype(int)
    by_gateway = decode_image(stream.getvalue(), spec.target).astype(int)
    apart = np.abs(in_graph - by_gateway)
    # Pillow rounds its weights to 8 bits and may shrink by whole numbers first.
    assert apart.mean() < (6.0 if interpolation == "nearest" else 1.0)


@pytest.mark.parametrize(("outputs", "labels"), [(1, ("cat", "dog")), (3, ("a", "b", "c"))])
def test_a_network_with_a_hidden_layer_can_be_had_by_openvino_heat_maps_included(
    tmp_path: Path, small_model: Build, make_card: MakeCard, outputs: int, labels: tuple[str, ...]
) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    exported = export_model(small_model(outputs, flatten=True), make_card(labels), tmp_path)
    assert exported.without_openvino is None
    assert exported.card.parity["openvino"] == exported.parity.openvino
    assert max(exported.parity.openvino or 1, exported.parity.openvino_heatmap or 1) < 1e-4
    assert {path.name for path in (tmp_path / "assets.extra" / "openvino").iterdir()} == {"network.xml", "network.bin"}
