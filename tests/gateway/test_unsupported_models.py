"""Models that do not classify images, or fail at it: refused, and not ready."""

from __future__ import annotations

import logging
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from gateway.pb import serving_pb2 as pb
from testing.colour_server import ColourServer, Refused, Tensors
from testing.photos import photo
from testing.polling import until
from testing.tensors import number_tensor
from tests.gateway.exports import (
    FLOAT,
    IMAGES,
    INT32,
    NAMED,
    SCORES,
    STRING,
    UINT8,
    Export,
    Inputs,
    Outputs,
    best_first,
    logits,
    plain,
    shaped,
)

Start = Callable[..., httpx.Client]


REFUSED: dict[str, tuple[Export, dict[str, object], str]] = {
    "two signatures that classify": (
        Export(IMAGES, SCORES, plain(), key="a", others={"b": (IMAGES, SCORES)}),
        {},
        "has the signatures 'a', 'b', several of which classify images: select one with the option signature",
    ),
    "a signature that is not there": (
        Export(IMAGES, SCORES, plain(), key="predict"),
        {"signature": "classify"},
        "has no signature 'classify', which its option signature names; it has 'predict'",
    ),
    "an output that is not there": (Export(IMAGES, SCORES, plain()), {"output": "z"}, "the output 'z' of its options"),
    "two outputs of scores": (
        Export(IMAGES, {"a": (FLOAT, (-1, 3)), "b": (FLOAT, (-1, 3))}, plain()),
        {},
        "select the scores with the option output",
    ),
    "two inputs": (
        Export({**IMAGES, "age": (FLOAT, (-1,))}, SCORES, plain()),
        {},
        "Set the values of the other inputs with the option fixed_inputs",
    ),
    "an input that is not there": (
        Export(IMAGES, SCORES, plain()),
        {"fixed_inputs": {"age": 3}},
        "an input 'age', as the option fixed_inputs says",
    ),
    "an input of another type": (
        Export({**IMAGES, "age": (INT32, (-1,))}, SCORES, plain()),
        {"fixed_inputs": {"age": 0.5}},
        "The input 'age' is of type int32, which does not hold a fraction.",
    ),
    "an input of another shape": (
        Export({**IMAGES, "info": (FLOAT, (-1, 3))}, SCORES, plain()),
        {"fixed_inputs": {"info": [1, 2]}},
        "The value of the input 'info' does not fit its shape (n, 3).",
    ),
    "an input of any shape": (
        Export({**IMAGES, "other": (FLOAT, (-1, -1, -1, 3))}, SCORES, plain()),
        {"fixed_inputs": {"other": 0}},
        "The input 'other' has a dimension of unknown size other than the first.",
    ),
    "an input whose second size is open": (
        Export({**IMAGES, "other": (FLOAT, (3, -1))}, SCORES, plain()),
        {"fixed_inputs": {"other": 0}},
        "The input 'other' has a dimension of unknown size other than the first.",
    ),
    "a large second image": (
        Export({**IMAGES, "other": (FLOAT, (-1, 512, 512, 3))}, SCORES, plain()),
        {"fixed_inputs": {"other": 0}},
        "With the input 'other', the values take more than 64 KiB for each image.",
    ),
    "a key of two open dimensions": (
        Export({"x": (STRING, (-1,)), "key": (STRING, (-1, -1))}, SCORES, plain()),
        {},
        "Set the values of the other inputs with the option fixed_inputs",
    ),
    "an object detector": (
        Export(
            {"x": (UINT8, (1, -1, -1, 3))},
            {"detection_boxes": (FLOAT, (1, 9, 4)), "detection_scores": (FLOAT, (1, 9))},
            plain(),
        ),
        {},
        "this is an object detector. If it also classifies, select its scores with the option output",
    ),
    "an embedding": (
        Export(IMAGES, {"embedding": (FLOAT, (-1, 9))}, shaped(9)),
        NAMED,
        "has 9 classes, but its option labels has 3 names, from 'red' to 'blue'",
    ),
    "features beside another number of scores than labels": (
        Export(IMAGES, {"y": (FLOAT, (-1, 4)), "features": (FLOAT, (-1, 9))}, plain()),
        NAMED,
        "If another output has the scores, select it with the option output.",
    ),
    "a segmentation": (
        Export(IMAGES, {"mask": (FLOAT, (-1, 8, 8, 3))}, plain()),
        {},
        "of float, half, bfloat16 or double; none of its outputs can be selected with the option output",
    ),
    "logits that no option says are some": (Export(IMAGES, SCORES, logits), NAMED, "or set its option activation"),
    "text": (
        Export({"text": (STRING, (-1,))}, SCORES, plain("text")),
        {},
        "'text' is not taken for images; if it is, set the option encoded_image",
    ),
    "an object detector beside a signature of features": (
        Export(
            IMAGES,
            {"detection_boxes": (FLOAT, (-1, 4)), "scores": (FLOAT, (-1, 9))},
            plain(),
            others={"embed": (IMAGES, {"features": (FLOAT, (-1, 512))})},
        ),
        {},
        "this is an object detector",
    ),
    "tf.Example in a model of TensorFlow 1": (
        Export({"inputs": (STRING, (-1,))}, SCORES, plain("inputs"), method="tensorflow/serving/classify"),
        {},
        "'inputs' is not taken for images; if it is, set the option encoded_image",
    ),
    "what an option says is no image": (
        Export({"x": (STRING, (-1,))}, SCORES, plain()),
        {"encoded_image": False},
        "is not taken for images because of the option encoded_image",
    ),
    "labels with a name for the background": (
        Export(IMAGES, SCORES, plain()),
        {"labels": ["background", "red", "green", "blue"]},
        "has 3 classes, but its option labels has 4 names, from 'background' to 'blue'",
    ),
    "labels beside those of the model": (
        Export(IMAGES, {"classes": (STRING, (-1, 2)), "scores": (FLOAT, (-1, 2))}, best_first("classes")),
        NAMED,
        "names its classes itself, in its output 'classes'",
    ),
    "normalised whole numbers": (
        Export({"x": (UINT8, (-1, 8, 8, 3))}, SCORES, plain()),
        {"normalize": "caffe"},
        "a float input for the option normalize",
    ),
    "grey of three channels": (Export(IMAGES, SCORES, plain()), {"channels": "grey"}, "not grey as its options say"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_known_is_refused_once_in_the_log_and_wherever_it_is_asked_for(
    start: Start, model_server: ColourServer, caplog: pytest.LogCaptureFixture, form: str
) -> None:
    model, options, words = REFUSED[form]
    model_server.models["m"] = {1: model}  # type: ignore[dict-item]
    with caplog.at_level(logging.WARNING, "gateway"):
        gateway = start(default_model="m", models="colours", model_options={"m": options})
        answer = gateway.post("/api/v1/models/m/predict", content=photo())
        ready = gateway.get("/readyz")
        listed = gateway.get("/api/v1/models").json()["models"]
        gateway.post("/api/v1/models/m/predict", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (502, "unsupported_model")
    assert words in answer.json()["detail"]
    assert "__saved_model" not in answer.text
    assert (ready.status_code, list(ready.json()["missing"])) == (503, ["m"])
    assert words in ready.json()["missing"]["m"]
    assert [(one["name"], one["available"]) for one in listed] == [("m", False), ("colours", True)]
    assert words in listed[0]["reason"]
    assert listed[1]["reason"] is None
    assert len([record for record in caplog.records if words in record.getMessage()]) == 1


def test_a_model_without_a_signature_is_told_how_to_get_one(start: Start, model_server: ColourServer) -> None:
    class Bare(Export):
        def signatures(self) -> dict[str, pb.SignatureDef]:
            return {key: one for key, one in super().signatures().items() if key.startswith("__")}

    model_server.models["m"] = {1: Bare(IMAGES, SCORES, plain())}  # type: ignore[dict-item]
    missing = start(default_model="m").get("/readyz").json()["missing"]
    assert "has no signature. Export it with one" in missing["m"]


def test_a_model_that_loads_and_fails_every_call_is_not_ready(start: Start, model_server: ColourServer) -> None:
    def fail(_: Inputs) -> Outputs:
        raise ValueError("Could not find variable dense/kernel")  # as the gRPC library reports it: UNKNOWN

    model_server.models["m"] = {1: Export(IMAGES, SCORES, fail)}  # type: ignore[dict-item]
    gateway = start(default_model="m")
    ready = gateway.get("/readyz")
    assert ready.status_code == 503
    assert "could not answer" in ready.json()["missing"]["m"]
    assert gateway.get("/api/v1/models").json()["models"][0]["available"] is False
    model_server.models["m"] = {2: Export(IMAGES, SCORES, plain())}  # type: ignore[dict-item]
    until(lambda: gateway.get("/readyz").status_code == 200)


def test_a_model_that_refuses_a_test_image_is_not_ready_with_its_words(
    start: Start, model_server: ColourServer
) -> None:
    def refuse(_: Inputs) -> Outputs:
        raise Refused("Could not parse example input")

    model_server.models["m"] = {1: Export({"inputs": (STRING, (-1,))}, SCORES, refuse)}  # type: ignore[dict-item]
    gateway = start(default_model="m", models="gone")
    missing = gateway.get("/readyz").json()["missing"]
    assert missing["m"].endswith("A test image failed: Could not parse example input")
    assert missing["gone"] == "The model server serves no version of 'gone'; its log may say why."
    model_server.models["m"] = {2: Export(IMAGES, SCORES, plain())}  # type: ignore[dict-item]
    until(lambda: "m" not in gateway.get("/readyz").json()["missing"])


def test_a_model_that_refuses_the_test_image_is_not_asked_at_each_check(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    def refuse(_: Inputs) -> Outputs:
        nonlocal tries
        tries += 1
        raise Refused("Could not parse example input")

    monkeypatch.setattr("gateway.inference.readiness.REFUSED_SECONDS", 3600.0)
    monkeypatch.setattr("gateway.inference.readiness.READINESS_SECONDS", 0.0)
    model_server.models["m"] = {1: Export({"inputs": (STRING, (-1,))}, SCORES, refuse)}  # type: ignore[dict-item]
    gateway = start(default_model="m")
    with caplog.at_level(logging.WARNING, "gateway"):
        answers = [gateway.get("/readyz").json()["missing"]["m"] for _ in range(3)]
    assert len(set(answers)) == 1
    assert "Could not parse example input" in answers[0]
    assert tries == 1
    assert len([one for one in caplog.records if "Could not parse" in one.getMessage()]) == 2  # the call, the model


def test_a_model_of_another_number_of_classes_than_labels_is_not_ready(
    start: Start, model_server: ColourServer
) -> None:
    open_classes: Tensors = {"y": (FLOAT, (-1, -1))}
    model_server.models["m"] = {1: Export(IMAGES, open_classes, plain())}  # type: ignore[dict-item]
    gateway = start(default_model="m", model_options={"m": {"labels": ["cat", "dog"]}})
    assert "3 scores for 2 labels" in gateway.get("/readyz").json()["missing"]["m"]


def test_a_model_is_tried_once_and_not_at_each_check(start: Start, model_server: ColourServer) -> None:
    gateway = start()
    for _ in range(2):
        model_server.calls = 0
        until(lambda: gateway.get("/readyz").status_code == 200 and model_server.calls > 0)
    assert model_server.batch_sizes == [1]


def test_scores_of_several_labels_at_once_are_said_to_be_so(
    start: Start, model_server: ColourServer, caplog: pytest.LogCaptureFixture
) -> None:
    def tags(inputs: Inputs) -> Outputs:
        return {"y": number_tensor(np.array([[0.9, 0.8, 0.1]] * len(inputs["x"]), np.float32))}

    model_server.models["m"] = {1: Export(IMAGES, SCORES, tags)}  # type: ignore[dict-item]
    for multi_label in (False, True):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "gateway"):
            gateway = start(default_model="m", model_options={"m": {**NAMED, "multi_label": multi_label}})
            answers = [gateway.post("/api/v1/models/m/predict", content=photo()).json() for _ in range(2)]
        assert [one["score"] for one in answers[0]["predictions"]] == [0.9, 0.8, 0.1]
        assert [one.get("labels") for one in answers] == [["red", "green"] if multi_label else None] * 2
        warnings = [one for one in caplog.records if "multi_label" in one.getMessage()]
        assert len(warnings) == (0 if multi_label else 1)
        assert gateway.get("/api/v1/models/m").json()["multi_label"] is multi_label


def test_the_model_server_is_not_asked_at_each_check(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.inference.readiness.READINESS_SECONDS", 3600.0)
    gateway = start()
    assert gateway.get("/readyz").status_code == 200
    calls = model_server.calls
    assert [gateway.get("/readyz").status_code for _ in range(5)] == [200] * 5
    assert model_server.calls == calls
