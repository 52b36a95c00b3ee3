"""The exported SavedModel: signatures, parity, frozen weights, warm-up; read by the loader that servers use."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tests.trainer.export.conftest import MakeCard
from tests.trainer.export.small import IMAGES, Run, Small, png, softmax
from trainer.errors import TrainerError
from trainer.export import parity
from trainer.export.keras_copies import save_keras
from trainer.export.keras_runner import BATCH
from trainer.export.precision import in_bfloat16
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import export_model, try_export
from trainer.export.warmup import RECORDS
from trainer.model_card import Card, InputSpec

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_weights_too_large_for_constants_are_saved_as_variables(
    tmp_path: Path, small: Small, make_card: MakeCard, serve: Callable[[Path], Run]
) -> None:
    exported = export_model(small.model, make_card(temperature=2.0), tmp_path, batch_sizes=(1,), graph_limit=0)
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
        exported = export_model(
            small.model, make_card(temperature=2.0), tmp_path, batch_sizes=(1,), precision="bfloat16"
        )
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


def test_frozen_weights_are_stored_once_and_nothing_asks_for_xla(hidden: Small) -> None:
    saved = SavedModel.FromString((hidden.directory / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    nodes = [*saved.meta_graphs[0].graph_def.node, *(node for function in functions for node in function.node_def)]
    assert not {node.op for node in nodes} & {"VarHandleOp", "ReadVariableOp"}
    constants = [node.attr["value"].tensor for node in nodes if node.op == "Const"]
    kernel = next(weight for weight in hidden.model.get_weights() if weight.shape == (8 * 8 * 8, 8))
    core = [one for one in constants if [size.size for size in one.tensor_shape.dim] == list(kernel.shape)]
    assert len(core) == 2  # in the function of all signatures, and in the gradient of `explain`
    everything = [*nodes, *functions]
    assert not any(one.attr["_XlaMustCompile"].b for one in everything if "_XlaMustCompile" in one.attr)


def test_every_signature_has_a_warm_up_record_of_every_batch_size(small: Small, serve: Callable[[Path], Run]) -> None:
    run = serve(small.directory)
    logs = [PredictionLog.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(small.directory / RECORDS))]
    requests = [log.predict_log.request for log in logs]
    calls = set()
    for request in requests:
        ((name, tensor),) = request.inputs.items()
        answer = run(request.model_spec.signature_name, **{name: tf.make_ndarray(tensor)})
        calls.add((request.model_spec.signature_name, {len(value) for value in answer.values()}.pop()))
    assert calls == set(itertools.product(["serving_default", "pixels", "explain", "embed", "describe"], [1, 4]))
    assert (small.directory / RECORDS).stat().st_size < 20_000


def test_the_keras_files_beside_give_the_same_probabilities(small: Small) -> None:
    assert small.exported.parity.h5 is not None
    expected = softmax(small.logits() / 2.0)
    for name in ("model.keras", "model.h5"):
        restored = keras.models.load_model(small.directory / "assets.extra" / name, compile=False)
        assert np.asarray(restored(IMAGES.astype(np.float32))) == pytest.approx(expected, abs=1e-6)


def test_a_network_that_hdf5_cannot_hold_has_no_h5_file_and_that_is_said(
    tmp_path: Path, small: Small, make_card: MakeCard
) -> None:
    mirrored = keras.Model(small.model.input, small.model(keras.ops.flip(small.model.input, 2)))
    assert not save_keras(mirrored, make_card(), tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.keras"]
    without = dataclasses.replace(small.exported, parity=dataclasses.replace(small.exported.parity, h5=None))
    sentence = "model.h5 is left out: Keras cannot read this network back from HDF5"
    assert sentence in without.summary()
    assert sentence not in small.exported.summary()


def test_a_network_that_cannot_be_exported_is_known_without_training(small: Small, make_card: MakeCard) -> None:
    try_export(small.model, make_card())
    flat = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(
        TrainerError, match=r"small_cnn cannot be exported \(the model has no layer .* another --backbone"
    ):
        try_export(flat, make_card())


def test_parity_is_measured_on_the_photos_given_and_written_to_the_card(hidden: Small) -> None:
    exported = hidden.exported
    assert exported.card.parity["photos"] == 3
    assert not exported.card.parity["drawn"]
    assert "on 3 photos:" in exported.summary()
    assert 0 <= exported.parity.pixels < 1e-6
    assert 0 < exported.parity.serving_default < 0.05
    card = Card.from_json((hidden.directory / "assets.extra" / "card.json").read_text())
    assert card.parity == exported.card.parity


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


def test_the_file_written_is_held_to_keras_on_every_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Small, make_card: MakeCard
) -> None:
    sizes, probabilities = [], SavedClassifier.probabilities

    def wrong_on_the_last(written: SavedClassifier, pixels: np.ndarray) -> np.ndarray:
        sizes.append(len(pixels))
        scores = probabilities(written, pixels).copy()
        scores[(pixels == IMAGES[-1]).all(axis=(1, 2, 3)), 0] += 0.01
        return scores

    monkeypatch.setattr(SavedClassifier, "probabilities", wrong_on_the_last)
    assert len(IMAGES) > BATCH
    with pytest.raises(TrainerError, match=r"`pixels` of the file written differs from the Keras model by 0\.01"):
        export_model(small.model, make_card(), tmp_path, photos=[png(image) for image in IMAGES], batch_sizes=(1,))
    assert sizes == [BATCH, len(IMAGES) - BATCH]
