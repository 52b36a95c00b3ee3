"""All models behind one model server with batching: what clients are answered is what `evaluate` computed."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainer.card import Card  # isort: skip - sets what TensorFlow reads when it is imported

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
from tests.gateway.conftest import running_gateway
from tests.modelserver.server import Server
from trainer.export import export_model
from trainer.publish import new_version
from trainer.saved import SavedClassifier

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
BATCHING = ROOT / "serving" / "batching.config"
TOLERANCE = 1e-3
LABELS = {"breeds": ("a", "b", "c"), "cats_dogs": ("cat", "dog")}

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Served:
    """A model server on every model, and what the SavedModels answer by themselves: probabilities by photo."""

    address: str
    models: Path
    photos: list[Path]
    expected: Mapping[str, NDArray[np.float32]]

    def card(self, name: str) -> Card:
        return SavedClassifier(self.models / name).card


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, small_model: Callable[..., keras.Model], make_card: Callable[..., Card]
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    config = ModelServerConfig()
    for name, labels in LABELS.items():
        sigmoid = len(labels) == 2
        with new_version(folder / "models", name) as draft:
            card = make_card(labels, name=name, temperature=1.5)
            export_model(small_model(1 if sigmoid else 3, flatten=sigmoid), card, draft.directory)
        config.model_config_list.config.add(
            name=name, base_path=str(folder / "models" / name), model_platform="tensorflow"
        )
    (folder / "models.config").write_text(str(config))
    photos = [folder / f"{number}.png" for number in range(24)]
    for number, photo in enumerate(photos):
        colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(colours).resize((32, 32), Image.Resampling.BICUBIC).save(photo)
    expected = {}
    for name in LABELS:
        answers = [answer.probabilities for answer in SavedClassifier(folder / "models" / name).answers(photos)]
        expected[name] = np.stack([row for row in answers if row is not None])
    server = Server(
        f"--model_config_file={folder / 'models.config'}",
        "--enable_batching",
        f"--batching_parameters_file={BATCHING}",
    )
    try:
        yield Served(server.address, folder / "models", photos, expected)
    finally:
        server.close()


@pytest.fixture(scope="module")
def predict(served: Served) -> Iterator[Callable[..., dict[str, Array]]]:
    """Calls as any client of TensorFlow Serving does, with nothing but its published package."""
    with grpc.insecure_channel(served.address) as channel:
        stub = PredictionServiceStub(channel)

        def call(model: str, signature: str, **inputs: Array | list[bytes]) -> dict[str, Array]:
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            for name, value in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            answer = stub.Predict(request, timeout=60)
            return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

        yield call


@pytest.mark.parametrize("model", list(LABELS))
def test_many_clients_at_once_are_answered_what_evaluate_computed(
    model: str, served: Served, predict: Callable[..., dict[str, Array]]
) -> None:
    labels, expected = LABELS[model], served.expected[model]
    target = served.card(model).input.target

    def check(at: int) -> None:
        data = served.photos[at].read_bytes()
        images = decode_image(data, target)[np.newaxis]
        row = expected[at]
        assert predict(model, "pixels", images=images)["probabilities"][0] == pytest.approx(row, abs=TOLERANCE)
        explained = predict(model, "explain", images=images)
        assert explained["probabilities"][0] == pytest.approx(row, abs=TOLERANCE)
        assert 0 <= explained["heatmap"].min() <= explained["heatmap"].max() <= 1
        best = predict(model, "serving_default", image_bytes=[data])
        scores = dict(zip(best["classes"][0].tolist(), best["scores"][0].tolist(), strict=True))
        assert scores == pytest.approx({label.encode(): row[i] for i, label in enumerate(labels)}, abs=TOLERANCE)
        if len(labels) == 2:
            raw = predict(model, "sigmoid", images=images)["probability"][0, 0]
            logit = np.log(row[1] / row[0]) * 1.5  # the temperature
            assert raw == pytest.approx(1 / (1 + np.exp(-logit)), abs=TOLERANCE)
        card = predict(model, "describe", request=np.zeros(1, np.int32))["card"][0]
        assert Card.from_json(card.decode()).name == model

    with ThreadPoolExecutor(12) as pool:
        assert len(list(pool.map(check, range(len(served.photos))))) == len(served.photos)


@pytest.mark.parametrize("model", list(LABELS))
def test_the_gateway_answers_what_evaluate_computed(model: str, served: Served) -> None:
    settings = Settings(serving_target=served.address, default_model=model)
    with running_gateway(settings) as client:
        for photo, row in zip(served.photos[:8], served.expected[model], strict=False):
            answer = client.post(f"/api/v1/models/{model}/predict", files={"image": photo.read_bytes()}).json()
            found = {one["label"]: one["score"] for one in answer["predictions"]}
            assert found == pytest.approx(dict(zip(LABELS[model], row.tolist(), strict=True)), abs=TOLERANCE)
