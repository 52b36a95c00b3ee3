"""All models behind one model server with batching: what clients are answered is what `evaluate` computed."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainer.model_card import Card  # isort: skip - sets what TensorFlow reads when it is imported

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from gateway.images import decode_image
from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.modelserver import Server
from testing.polling import DEADLINE_SECONDS
from tests.gateway.conftest import patience
from trainer.cli import main
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import export_model
from trainer.registry.publish import new_version

__all__ = ["patience"]

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
BATCHING = ROOT / "serving" / "batching.config"
TOLERANCE = 1e-3
SIGNATURES = ("pixels", "serving_default")
LABELS = {"breeds": ("a", "b", "c"), "cats_dogs": ("cat", "dog")}

Array = NDArray[np.generic]


@dataclass(frozen=True)
class ServedVersion:
    """A model server on every model, and what `evaluate` wrote: scores by model, signature and photo."""

    address: str
    models: Path
    photos: list[Path]
    evaluated: Mapping[tuple[str, str], list[dict[str, float]]]

    def card(self, name: str) -> Card:
        return SavedClassifier(self.models / name).card


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, small_model: Callable[..., keras.Model], make_card: Callable[..., Card]
) -> Iterator[ServedVersion]:
    folder = tmp_path_factory.mktemp("served")
    config = ModelServerConfig()
    photos = _draw_photos(folder / "photos")
    evaluated = {}
    for name, labels in LABELS.items():
        sigmoid = len(labels) == 2
        with new_version(folder / "models", name) as draft:
            card = make_card(labels, name=name, temperature=0.02)
            export_model(small_model(1 if sigmoid else 3, flatten=sigmoid), card, draft.directory, batch_sizes=(1,))
        config.model_config_list.config.add(
            name=name, base_path=str(folder / "models" / name), model_platform="tensorflow"
        )
        for photo in photos:
            (folder / name / labels[0]).mkdir(parents=True, exist_ok=True)
            (folder / name / labels[0] / photo.name).symlink_to(photo)
        for signature in SIGNATURES:
            output = folder / f"{name}-{signature}"
            arguments = ["evaluate", folder / "models" / name, folder / name, "--signature", signature]
            assert main([str(one) for one in (*arguments, "--output", output)]) == 0
            lines = map(json.loads, (output / "predictions.jsonl").read_text().splitlines())
            evaluated[name, signature] = [line["scores"] for line in lines]
    (folder / "models.config").write_text(str(config))
    server = Server(
        f"--model_config_file={folder / 'models.config'}",
        "--engine=tensorflow",  # whose `serving_default` decodes by itself, as TensorFlow Serving does
        "--enable_batching",
        f"--batching_parameters_file={BATCHING}",
    )
    try:
        yield ServedVersion(server.address, folder / "models", photos, evaluated)
    finally:
        server.close()


def _draw_photos(folder: Path) -> list[Path]:
    """Larger than the models take them, so that TensorFlow and the gateway do not fit them to the last digit alike."""
    folder.mkdir()
    photos = [folder / f"{number:02}.{'png' if number % 2 else 'jpg'}" for number in range(24)]
    for number, photo in enumerate(photos):
        colours = np.random.default_rng(number).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(colours).resize((500 + number, 400), Image.Resampling.BICUBIC).save(photo)
    return photos


@pytest.fixture(scope="module")
def predict(served: ServedVersion) -> Iterator[Callable[..., dict[str, Array]]]:
    """Calls as any client of TensorFlow Serving does, with nothing but its published package."""
    with grpc.insecure_channel(served.address) as channel:
        stub = PredictionServiceStub(channel)

        def call(model: str, signature: str, **inputs: Array | list[bytes]) -> dict[str, Array]:
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            answer = stub.Predict(request, timeout=DEADLINE_SECONDS)
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

        yield call


def test_what_evaluate_computes_depends_on_who_decodes(served: ServedVersion) -> None:
    for name in LABELS:
        both = zip(*(served.evaluated[name, signature] for signature in SIGNATURES), strict=True)
        apart = [abs(one[label] - other.get(label, 0.0)) for one, other in both for label in one]
        assert max(apart) > 3 * TOLERANCE


def test_many_clients_of_all_models_at_once_are_answered_what_evaluate_computed(
    served: ServedVersion, predict: Callable[..., dict[str, Array]]
) -> None:
    targets = {name: served.card(name).input.target for name in LABELS}

    def check(model: str, at: int) -> None:
        labels, data = LABELS[model], served.photos[at].read_bytes()
        images = decode_image(data, targets[model])[np.newaxis]
        row = [served.evaluated[model, "pixels"][at].get(label, 0.0) for label in labels]
        assert predict(model, "pixels", images=images)["probabilities"][0] == pytest.approx(row, abs=TOLERANCE)
        explained = predict(model, "explain", images=images)
        assert explained["probabilities"][0] == pytest.approx(row, abs=TOLERANCE)
        assert 0 <= explained["heatmap"].min() <= explained["heatmap"].max() <= 1
        best = predict(model, "serving_default", image_bytes=[data])
        scores = {label.decode(): score for label, score in zip(best["classes"][0], best["scores"][0], strict=True)}
        expected = dict.fromkeys(labels, 0.0) | served.evaluated[model, "serving_default"][at]
        assert scores == pytest.approx(expected, abs=TOLERANCE)
        if len(labels) == 2:
            raw = predict(model, "sigmoid", images=images)["probability"][0, 0]
            assert (raw > 0.5) == (row[1] > 0.5)
        card = predict(model, "describe", request=np.zeros(1, np.int32))["card"][0]
        assert Card.from_json(card.decode()).name == model

    calls = [(model, at) for at in range(len(served.photos)) for model in LABELS]
    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(check, *zip(*calls, strict=True)))) == len(calls)


@pytest.mark.parametrize("model", list(LABELS))
def test_the_gateway_answers_what_evaluate_computed(model: str, served: ServedVersion) -> None:
    settings = Settings(serving_target=served.address, default_model=model, request_timeout_seconds=60)
    nothing = dict.fromkeys(LABELS[model], 0.0)
    with running_gateway(settings) as client:
        for at, photo in enumerate(served.photos[:8]):
            data = photo.read_bytes()
            answer = client.post(f"/api/v1/models/{model}/predict", files={"image": data}).json()
            scores = {one["label"]: one["score"] for one in answer["predictions"]}
            assert scores == pytest.approx(nothing | served.evaluated[model, "pixels"][at], abs=TOLERANCE)
            body = {"instances": [{"b64": base64.b64encode(data).decode()}]}
            (best,) = client.post(f"/v1/models/{model}:predict", json=body).json()["predictions"]
            scores = dict(zip(best["classes"], best["scores"], strict=True))
            assert scores == pytest.approx(nothing | served.evaluated[model, "serving_default"][at], abs=TOLERANCE)
