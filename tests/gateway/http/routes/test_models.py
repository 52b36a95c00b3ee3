from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest

from gateway.pb.serving_pb2 import DataType
from testing.colour_scores import COLOURS, colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.photos import photo
from testing.polling import until

Start = Callable[..., httpx.Client]
FLOAT, UINT8, STRING = DataType.DT_FLOAT, DataType.DT_UINT8, DataType.DT_STRING


def test_the_list_has_every_configured_model_with_its_versions_newest_first(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {9: ColourModel(), 10: ColourModel()}
    models = start(models="colours,absent").get("/api/v1/models").json()["models"]
    assert [(one["name"], one["available"], one["default"]) for one in models] == [
        ("colours", True, True),
        ("absent", False, False),
    ]
    assert [one["version"] for one in models[0]["versions"]] == [10, 9]
    assert models[1]["versions"] == []


def test_a_model_is_described_with_its_card(gateway: httpx.Client) -> None:
    detail = gateway.get("/api/v1/models/colours").json()
    assert detail["labels"] == list(COLOURS)
    assert detail["input"] == {"height": 8, "width": 8, "fit": "crop"}
    assert detail["version"] == 1
    assert detail["card"]["description"] == "Knows three colours."


@pytest.mark.parametrize(
    ("accepted", "encoding"), [("br, gzip;q=0.8", "gzip"), ("identity", None), ("gzip;q=0, br;q=1", None)]
)
def test_a_long_description_is_compressed_for_clients_that_accept_it(
    start: Start, model_server: ColourServer, accepted: str, encoding: str | None
) -> None:
    text = "Knows three colours. " * 500
    model_server.models["colours"] = {1: ColourModel(words={"description": text})}
    answer = start().get("/api/v1/models/colours", headers={"Accept-Encoding": accepted})
    assert answer.json()["card"]["description"] == text
    assert answer.headers.get("content-encoding") == encoding
    assert (int(answer.headers["content-length"]) < len(text) / 5) is (encoding == "gzip")
    assert answer.headers["vary"] == "Accept-Encoding"


def test_a_model_that_is_not_served_has_no_description(gateway: httpx.Client) -> None:
    answer = gateway.get("/api/v1/models/absent")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")


PATHS = {
    "/v1/models/colours": 200,
    "/v1/models/colours/versions/1": 200,
    "/v1/models/colours/versions/9": 404,
    "/v1/models/colours/labels/stable": 200,
    "/v1/models/colours/labels/absent": 200,
    "/v1/models/colours/metadata": 200,
    "/v1/models/colours/versions/9/metadata": 404,
    "/v1/models/absent": 404,
    "/v1/models/absent/metadata": 404,
    "/v2/models/colours": 200,
    "/v2/models/colours/versions/9": 404,
    "/v2/models/colours/ready": 200,
    "/v2/models/absent": 404,
    "/v2/models/absent/ready": 404,
    "/v2/health/ready": 200,
    "/api/v1/models": 200,
    "/api/v1/models/colours": 200,
    "/api/v1/models/absent": 404,
}


@pytest.mark.parametrize(("path", "status"), PATHS.items())
def test_an_answer_about_a_model_costs_a_few_calls_a_second_however_often_it_is_asked(
    start: Start, model_server: ColourServer, path: str, status: int
) -> None:
    model_server.labels["colours", "stable"] = 1
    gateway = start(model_refresh_seconds=1)
    assert gateway.get(path).status_code == status
    before, started = model_server.calls, time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: gateway.get(path).status_code, range(40)))
    assert set(answers) == {status}
    # The states; the signatures and the card, or why there are none; and of readiness the same and an image.
    assert model_server.calls - before <= 8 * (1 + time.monotonic() - started)


def test_an_answer_about_a_model_is_renewed_by_itself(gateway: httpx.Client, model_server: ColourServer) -> None:
    assert gateway.get("/v2/models/second/ready").status_code == 404
    model_server.models["second"] = {3: ColourModel()}
    until(lambda: gateway.get("/v2/models/second/ready").status_code == 200)
    assert gateway.get("/v1/models/second").json()["model_version_status"][0]["version"] == "3"
    until(lambda: gateway.get("/v1/models/second/metadata").status_code == 200)


def unit(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Colours of images whose values are 0 to 1; anything else is answered with a wrong colour."""
    assert images.dtype == np.float32
    return colour_scores(images) if images.max() <= 1.0 else np.eye(3, dtype=np.float32)[[1] * len(images)]


def redness(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return colour_scores(images)[:, :1]


FOREIGN = {
    "uint8 pixels": (
        ForeignModel({"x": (UINT8, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, colour_scores),
        {},
        "0",
    ),
    "float pixels of a range": (
        ForeignModel({"x": (FLOAT, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, unit),
        {"pixel_range": [0, 1]},
        "0",
    ),
    "pixels of any size": (
        ForeignModel({"x": (UINT8, (-1, -1, -1, 3))}, {"y": (FLOAT, (-1, -1))}, colour_scores),
        {"height": 5, "width": 7},
        "0",
    ),
    "encoded images": (
        ForeignModel({"x": (STRING, (-1,))}, {"y": (FLOAT, (-1, 3))}, colour_scores),
        {},
        "0",
    ),
    "a sigmoid": (
        ForeignModel({"x": (UINT8, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 1))}, redness),
        {},
        "1",
    ),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_a_model_without_a_card_is_served_by_its_signature(start: Start, model_server: ColourServer, form: str) -> None:
    model, options, best = FOREIGN[form]
    model_server.models["foreign"] = {1: model}
    gateway = start(models="foreign", model_options={"foreign": options})
    answer = gateway.post("/api/v1/models/foreign/predict", files={"image": photo("red", encoding="WebP")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == best
    assert answer.json()["confidence"] > 0.8


@pytest.mark.parametrize("text", ["red\ngreen\n\nblue\n", json.dumps(COLOURS), "\ufeffred\r\ngreen\r\nblue"])
def test_labels_of_a_model_without_a_card_come_from_a_file(
    start: Start, model_server: ColourServer, tmp_path: Path, text: str
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text(text, encoding="utf-8")
    model_server.models["foreign"] = {1: FOREIGN["uint8 pixels"][0]}
    gateway = start(models="foreign", model_options={"foreign": {"labels": str(labels)}})
    answer = gateway.post("/api/v1/models/foreign/predict", content=photo("blue"))
    assert answer.json()["label"] == "blue"


def test_labels_of_another_number_than_the_models_classes_are_told(start: Start, model_server: ColourServer) -> None:
    model_server.models["foreign"] = {1: FOREIGN["uint8 pixels"][0]}
    gateway = start(models="foreign", model_options={"foreign": {"labels": ["red", "green"]}})
    answer = gateway.post("/api/v1/models/foreign/predict", content=photo("blue"))
    assert (answer.status_code, answer.json()["code"]) == (502, "unsupported_model")
    assert "has 3 classes, but its option labels has 2 names" in answer.json()["detail"]


UNSUPPORTED: dict[str, tuple[dict[str, tuple[int, tuple[int, ...]]], ...]] = {
    "rank 2 input": ({"x": (FLOAT, (-1, 100))}, {"y": (FLOAT, (-1, 3))}),
    "two channels": ({"x": (FLOAT, (-1, 8, 8, 2))}, {"y": (FLOAT, (-1, 3))}),
    "two inputs": ({"x": (FLOAT, (-1, 8, 8, 3)), "z": (FLOAT, (-1, 1))}, {"y": (FLOAT, (-1, 3))}),
    "integer output": ({"x": (FLOAT, (-1, 8, 8, 3))}, {"y": (DataType.DT_INT64, (-1,))}),
    "two score outputs": ({"x": (FLOAT, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3)), "z": (FLOAT, (-1, 3))}),
}


@pytest.mark.parametrize("form", UNSUPPORTED)
def test_what_is_no_image_classifier_is_refused_with_what_was_found(
    gateway: httpx.Client, model_server: ColourServer, form: str
) -> None:
    inputs, outputs = UNSUPPORTED[form]
    model_server.models["foreign"] = {1: ForeignModel(inputs, outputs, colour_scores)}
    answer = gateway.post("/api/v1/models/foreign/predict", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (502, "unsupported_model")
    assert all(name in answer.json()["detail"] for name in (*inputs, *outputs))
    assert model_server.batch_sizes == []


def wrong_count(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.ones((len(images), 4), np.float32)


def wrong_rows(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.ones((len(images) + 1, 3), np.float32)


def not_numbers(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.full((len(images), 3), np.nan, np.float32)


@pytest.mark.parametrize("answer", [wrong_count, wrong_rows, not_numbers])
def test_scores_that_contradict_the_contract_are_never_passed_on(
    gateway: httpx.Client,
    model_server: ColourServer,
    answer: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.float32]],
) -> None:
    model_server.models["foreign"] = {1: ForeignModel({"x": (UINT8, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, answer)}
    got = gateway.post("/api/v1/models/foreign/predict", content=photo())
    assert (got.status_code, got.json()["code"]) == (502, "model_server_failed")


def logits(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    return np.log(colour_scores(images))


@pytest.mark.parametrize("path", ["predict", "predict_batch"])
def test_scores_that_are_not_probabilities_are_refused_with_what_the_model_must_end_in(
    gateway: httpx.Client, model_server: ColourServer, path: str
) -> None:
    model_server.models["foreign"] = {1: ForeignModel({"x": (UINT8, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, logits)}
    got = gateway.post(f"/api/v1/models/foreign/{path}", files={"image": photo("red")})
    assert (got.status_code, got.json()["code"]) == (502, "unsupported_model")
    assert "from -3.33 to -0.113" in got.json()["detail"]
    assert "softmax" in got.json()["detail"]


@pytest.mark.parametrize(
    ("scores", "answered"),
    [
        ([1, 1, 0.5], [1, 1, 0.5]),
        ([0.001, 0, 0], [0.001, 0, 0]),
        ([1.0078125, -0.0078125, 0.5], [1, 0, 0.5]),  # a step of bfloat16 outside
    ],
)
def test_scores_of_any_sum_are_taken_and_rounded_ones_stay_within_0_and_1(
    gateway: httpx.Client, model_server: ColourServer, scores: list[float], answered: list[float]
) -> None:
    def answer(images: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
        return np.array([scores] * len(images), np.float32)

    model_server.models["foreign"] = {1: ForeignModel({"x": (UINT8, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, answer)}
    got = gateway.post("/api/v1/models/foreign/predict", content=photo()).json()
    assert {one["label"]: one["score"] for one in got["predictions"]} == dict(zip("012", answered, strict=True))


def test_a_model_that_takes_another_size_in_its_next_version_is_prepared_for_anew(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    for version, size in enumerate((8, 16, 5), start=1):
        model_server.models["colours"] = {version: ColourModel(height=size, width=size + 1)}
        assert gateway.post("/api/v1/predict_breed", content=photo("blue")).json()["breed"] == "blue"


def test_a_model_that_takes_another_dtype_in_its_next_version_is_prepared_for_anew(
    start: Start, model_server: ColourServer
) -> None:
    gateway = start(model_options={"colours": {"pixel_range": [0, 1]}})
    forms = [(UINT8, colour_scores), (FLOAT, unit), (UINT8, colour_scores)]
    for version, (dtype, scores) in enumerate(forms, start=1):
        foreign = ForeignModel({"x": (dtype, (-1, 8, 8, 3))}, {"y": (FLOAT, (-1, 3))}, scores)
        model_server.models["colours"] = {version: foreign}
        assert gateway.post("/api/v1/predict_breed", content=photo("blue")).json()["breed"] == "2"


def test_a_republished_version_of_the_same_number_is_noticed(start: Start, model_server: ColourServer) -> None:
    gateway = start(model_refresh_seconds=0.01)
    assert gateway.post("/api/v1/predict_breed", content=photo("red")).json()["breed"] == "red"
    model_server.models["colours"] = {1: ColourModel(("blue", "red", "green"))}
    for _ in range(500):
        detail = gateway.get("/api/v1/models/colours").json()
        if detail["labels"][0] == "blue":
            break
    answer = gateway.post("/api/v1/predict_breed", content=photo("red")).json()
    assert answer["breed"] == "red"
