"""What the signatures of an export answer, by the loader that servers use."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gateway.images import decode_image
from tests.trainer.export.conftest import Build, MakeCard
from tests.trainer.export.small import IMAGES, LEAST_SET_SCORE, Run, Small, png, softmax
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import export_model
from trainer.export.signatures import decode, split_at_features
from trainer.model_card import Card, InputSpec

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


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
    np.testing.assert_array_equal(best["in_label_set"], best["scores"].astype(np.float32) >= LEAST_SET_SCORE)
    assert 0 < best["in_label_set"].sum() < best["scores"].size

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
    small: Small, hidden: Small, serve: Callable[[Path], Run]
) -> None:
    maps = np.asarray(split_at_features(small.model)[0](IMAGES.astype(np.float32))[1])
    pooled = maps.mean(axis=(1, 2))
    expected = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert serve(small.directory)("embed", images=IMAGES)["embedding"] == pytest.approx(expected, abs=1e-5)
    assert SavedClassifier(small.directory).embeddings(IMAGES) == pytest.approx(expected, abs=1e-5)

    flat = np.asarray(split_at_features(hidden.model)[0](IMAGES.astype(np.float32))[1]).reshape(5, -1)
    expected = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    assert serve(hidden.directory)("embed", images=IMAGES)["embedding"] == pytest.approx(expected, abs=1e-5)


def test_a_sigmoid_becomes_two_classes_and_stays_available_raw(sigmoid: Small, serve: Callable[[Path], Run]) -> None:
    run = serve(sigmoid.directory)
    logits = sigmoid.logits()
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
    export_model(model, card, tmp_path, batch_sizes=(1,))
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
    assert written.card.known_scores(expected.astype(np.float32)) == pytest.approx(
        expected[:, :3].sum(axis=1), abs=1e-6
    )


def test_a_network_with_swish_whose_gradient_cannot_be_written_is_exported(
    tmp_path: Path, small_model: Build, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    model = small_model(activation="swish")
    export_model(model, make_card(), tmp_path, batch_sizes=(1,))
    expected = softmax(np.asarray(model(IMAGES.astype(np.float32)), np.float64))
    explained = serve(tmp_path)("explain", images=IMAGES)
    assert explained["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert explained["heatmap"].max() == pytest.approx(1.0)


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


def test_a_network_with_a_hidden_layer_can_be_had_by_openvino_heat_maps_included(hidden: Small, sigmoid: Small) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    for one in (hidden, sigmoid):
        exported = one.exported
        assert exported.without_openvino is None
        assert exported.card.parity["openvino"] == exported.parity.openvino
        assert max(exported.parity.openvino or 1, exported.parity.openvino_heatmap or 1) < 1e-4
        files = {path.name for path in (one.directory / "assets.extra" / "openvino").iterdir()}
        assert files == {"network.xml", "network.bin"}
