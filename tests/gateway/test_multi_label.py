"""Models whose images have several labels or none, on every interface."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from gateway.model_options import ModelOptions
from gateway.pb import serving_pb2 as pb
from gateway.prediction_log.records import Prediction
from testing.colour_scores import colour_lights
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.polling import until
from tests.gateway.prediction_log.written import records

Start = Callable[..., httpx.Client]

PREDICT = "/api/v1/models/colours/predict"


def photo(colour: tuple[int, int, int]) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(encoded, "PNG")
    return encoded.getvalue()


ORANGE, NIGHT = photo((250, 150, 10)), photo((20, 20, 30))


@pytest.fixture
def tagger(start: Start, model_server: ColourServer) -> httpx.Client:
    """A gateway with a multi-label model of three colours, with thresholds of their own."""
    model_server.models["colours"] = {1: ColourModel(thresholds=(0.9, 0.5, 0.5))}
    return start()


def test_an_answer_has_all_labels_over_their_thresholds_best_first(tagger: httpx.Client) -> None:
    answer = tagger.post(PREDICT, content=ORANGE).json()
    assert answer["labels"] == ["red", "green"]
    assert answer["label"] == "red"
    assert answer["confidence"] == answer["predictions"][0]["score"] > 0.9
    assert sum(one["score"] for one in answer["predictions"]) > 1.2
    assert tagger.get("/api/v1/models/colours").json()["multi_label"] is True
    breed = tagger.post("/api/v1/predict_breed", content=ORANGE).json()
    assert (breed["breed"], breed["labels"]) == ("red", ["red", "green"])


def test_no_label_over_its_threshold_is_an_empty_list_and_no_label(tagger: httpx.Client) -> None:
    answer = tagger.post(PREDICT, content=NIGHT).json()
    assert answer["labels"] == []
    assert answer["label"] is None
    assert answer["looks_like"] is None
    assert answer["confidence"] == answer["predictions"][0]["score"]
    assert len(answer["predictions"]) == 3


def test_the_best_label_is_one_over_its_threshold_even_if_another_has_a_higher_score(tagger: httpx.Client) -> None:
    answer = tagger.post(f"{PREDICT}?top_k=1", content=photo((200, 150, 10))).json()  # red is under its 0.9
    assert [one["label"] for one in answer["predictions"]] == ["red"]
    assert answer["labels"] == ["green"]
    assert answer["label"] == "green"
    assert answer["confidence"] == pytest.approx(150 / 255, abs=0.02)


def test_a_batch_a_heat_map_and_other_interfaces_answer_for_it(tagger: httpx.Client) -> None:
    files = [("images", ("a.png", ORANGE)), ("images", ("b.txt", b"no photo")), ("images", ("c.png", NIGHT))]
    results = tagger.post("/api/v1/models/colours/predict_batch", files=files).json()["results"]
    assert [one.get("labels") for one in results] == [["red", "green"], None, []]
    explained = tagger.post("/api/v1/models/colours/explain", content=ORANGE).json()
    assert explained["labels"] == ["red", "green"]
    assert "values" in explained["heatmap"]
    tagged = tagger.post("/hf/models/colours", content=ORANGE).json()
    assert [one["label"] for one in tagged] == ["red", "green", "blue"]
    assert tagged[1]["score"] > 0.5
    encoded = base64.b64encode(ORANGE).decode()
    body = {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}
    outputs = {one["name"]: one for one in tagger.post("/v2/models/colours/infer", json=body).json()["outputs"]}
    [scores] = [one["data"] for one in outputs.values() if one["datatype"] == "FP32"]
    assert scores[:2] == pytest.approx([one["score"] for one in tagged[:2]], abs=1e-5)


def test_a_model_with_one_label_for_each_image_has_no_list_of_labels(gateway: httpx.Client) -> None:
    assert "labels" not in gateway.post(PREDICT, content=ORANGE).json()
    assert gateway.get("/api/v1/models/colours").json()["multi_label"] is False


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.5, 0.5, 1.5)])
def test_a_card_with_the_wrong_thresholds_is_refused(
    gateway: httpx.Client, model_server: ColourServer, thresholds: tuple[float, ...]
) -> None:
    model_server.models["colours"] = {2: ColourModel(thresholds=thresholds)}
    until(lambda: gateway.post(PREDICT, content=ORANGE).status_code == 502)
    problem = gateway.post(PREDICT, content=ORANGE).json()
    assert problem["code"] == "unsupported_model"
    assert "threshold" in problem["detail"]


def test_metrics_count_the_best_label_and_photos_without_labels(tagger: httpx.Client) -> None:
    for content in (ORANGE, ORANGE, NIGHT):
        tagger.post(PREDICT, content=content)
    text = tagger.get("/metrics").text
    assert 'gateway_predictions_total{label="red",model="colours",version="1"} 2.0' in text
    assert 'gateway_predictions_total{label="(unknown)",model="colours",version="1"} 1.0' in text


def test_the_prediction_log_keeps_all_labels_and_takes_no_feedback_on_them(
    start: Start, model_server: ColourServer, tmp_path: Path
) -> None:
    model_server.models["colours"] = {1: ColourModel(thresholds=(0.9, 0.5, 0.5))}
    gateway = start(prediction_log=str(tmp_path))
    request = gateway.post(PREDICT, content=ORANGE).headers["X-Request-ID"]
    gateway.post(PREDICT, content=NIGHT)

    first, second = records(tmp_path, 2)
    assert isinstance(first, Prediction)
    assert isinstance(second, Prediction)
    assert (first.label, first.labels) == ("red", ("red", "green"))
    assert (second.label, second.labels) == (None, ())
    for verdict in ("right", "none"):
        feedback = {"request_id": request, "model": "colours", "verdict": verdict}
        answer = gateway.post(
            "/api/v1/feedback", content=json.dumps(feedback), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 400
        assert "multi-label" in answer.json()["detail"]
    assert gateway.get("/api/v1/models/colours").json()["feedback"] is False


def test_photos_with_a_score_near_its_threshold_are_uncertain_and_those_without_labels_are_not(
    start: Start, model_server: ColourServer, tmp_path: Path
) -> None:
    model_server.models["colours"] = {1: ColourModel(thresholds=(0.9, 0.5, 0.3))}
    gateway = start(prediction_log=str(tmp_path), prediction_log_photos="uncertain", prediction_log_margin=0.2)
    for colour in ((20, 20, 10), (250, 250, 10), (250, 120, 10), (245, 240, 80), (215, 10, 10)):
        assert gateway.post(PREDICT, content=photo(colour)).status_code == 200
    log_records = [one for one in records(tmp_path, 5) if isinstance(one, Prediction)]
    assert [one.labels for one in log_records] == [(), ("red", "green"), ("red",), ("red", "green", "blue"), ()]
    margins = [one.margin for one in log_records]
    assert margins == pytest.approx([0.84, 0.8, 0.06, 0.02, 0.06], abs=0.02)
    assert [one.photo for one in log_records] == [None, None, "uncertain", "uncertain", "uncertain"]


def foreign(classes: int = 3, declared: int | None = None) -> ForeignModel:
    """A model without a card whose scores are how light each channel is."""
    return ForeignModel(
        {"x": (pb.DataType.DT_UINT8, (-1, 8, 8, 3))},
        {"y": (pb.DataType.DT_FLOAT, (-1, classes if declared is None else declared))},
        lambda images: np.ascontiguousarray(colour_lights(images)[:, :classes]),
    )


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, ["red", "green"]),
        ({"thresholds": 0.7}, ["red"]),
        ({"thresholds": [0.99, 0.5, 0.01]}, ["green", "blue"]),
        ({"thresholds": 1}, []),
    ],
)
def test_a_model_without_a_card_has_the_thresholds_of_its_options(
    start: Start, model_server: ColourServer, options: dict[str, object], labels: list[str]
) -> None:
    model_server.models["tags"] = {1: foreign()}
    model_options = {"labels": ["red", "green", "blue"], "multi_label": True, **options}
    gateway = start(default_model="tags", model_options={"tags": model_options})
    answer = gateway.post("/api/v1/models/tags/predict", content=ORANGE).json()
    assert answer["labels"] == labels
    assert answer["label"] == (labels[0] if labels else None)


@pytest.mark.parametrize("declared", [1, -1])
def test_a_single_sigmoid_has_no_several_labels(start: Start, model_server: ColourServer, declared: int) -> None:
    model_server.models["tags"] = {1: foreign(1, declared)}
    gateway = start(default_model="tags", model_options={"tags": {"multi_label": True}})
    answer = gateway.post("/api/v1/models/tags/predict", content=ORANGE)
    assert answer.status_code == 502
    assert answer.json()["code"] == "unsupported_model"
    assert "a score for each label" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"thresholds": 0.3}, "thresholds needs multi_label"),
        ({"multi_label": True, "unknown_threshold": 0.5}, "set thresholds instead of unknown_threshold"),
        ({"multi_label": True, "labels": ["a", "b"], "thresholds": [0.5]}, "1 numbers for 2 labels"),
        ({"multi_label": True, "thresholds": 1.5}, "less than or equal to 1"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ModelOptions.model_validate(options)
