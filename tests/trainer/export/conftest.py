"""Exports of small networks, and a session that runs them as a server does."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tests.trainer.export.small import IMAGES, LEAST_SET_SCORE, Run, Small
from trainer.export.saved_model import export_model
from trainer.model_card import Card

Build = Callable[..., keras.Model]
MakeCard = Callable[..., Card]


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory, small_model: Build, make_card: MakeCard) -> Small:
    """Linear head on pooled features, with label sets."""
    model, directory = small_model(), tmp_path_factory.mktemp("small")
    card = make_card(temperature=2.0, label_sets={"coverage": 0.95, "least_score": LEAST_SET_SCORE})
    return Small(model, directory, export_model(model, card, directory, batch_sizes=(1, 4)))


@pytest.fixture(scope="package")
def hidden(tmp_path_factory: pytest.TempPathFactory, small_model: Build, make_card: MakeCard) -> Small:
    """Head with a hidden layer, on flattened features; exported with three photos and a file that is none."""
    photos = []
    for kind in ("PNG", "JPEG", "WEBP"):
        stream = BytesIO()
        Image.fromarray(IMAGES[0]).resize((90, 70)).save(stream, kind)
        photos.append(stream.getvalue())
    model, directory = small_model(flatten=True), tmp_path_factory.mktemp("hidden")
    exported = export_model(model, make_card(), directory, photos=[*photos, b"not a photo"], batch_sizes=(1,))
    return Small(model, directory, exported)


@pytest.fixture(scope="package")
def sigmoid(tmp_path_factory: pytest.TempPathFactory, small_model: Build, make_card: MakeCard) -> Small:
    """Two labels and one output, after a hidden layer."""
    model, directory = small_model(1, flatten=True), tmp_path_factory.mktemp("sigmoid")
    card = make_card(("cat", "dog"), temperature=3.0)
    return Small(model, directory, export_model(model, card, directory, batch_sizes=(1,)))


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
            definition = loaded.signature_def[signature]
            assert set(definition.inputs) == set(inputs)
            feed = {definition.inputs[name].name: value for name, value in inputs.items()}
            answer: dict[str, NDArray[np.generic]] = session.run(
                {name: tensor.name for name, tensor in definition.outputs.items()}, feed
            )
            return answer

        return run

    yield load
    for session in sessions:
        session.close()
