"""Models that people export by other means than this project's trainer: each form is answered right, or refused."""

from __future__ import annotations

import logging
from collections.abc import Callable

import httpx
import numpy as np
import pytest

from gateway.images.pixel_format import PixelFormat
from testing.colour_server import ColourServer, Refused, Tensors, colour_scores
from testing.photos import photo
from testing.polling import until
from testing.tensors import number_tensor
from tests.gateway.exports import (
    AUTOML,
    BFLOAT16,
    DOUBLE,
    FLOAT,
    HALF,
    IMAGES,
    INT32,
    INT64,
    NAMED,
    SCORES,
    STRING,
    UINT8,
    Export,
    Inputs,
    Outputs,
    as_bfloat16,
    best_first,
    best_only,
    brightness,
    channels_first,
    logits,
    no_batch,
    normalized,
    one_image,
    plain,
    shaped,
    three_images,
    two_outputs,
    with_features,
)

Start = Callable[..., httpx.Client]


SERVED: dict[str, tuple[Export, dict[str, object]]] = {
    "one signature of another name": (Export(IMAGES, SCORES, plain(), key="predict"), NAMED),
    "a signature that an option chooses": (
        Export(IMAGES, SCORES, plain(), key="classify", others={"serving_default": (IMAGES, {"z": (FLOAT, (-1, 9))})}),
        {**NAMED, "signature": "classify"},
    ),
    "the only signature that classifies images": (
        Export(IMAGES, SCORES, plain(), key="classify", others={"train": ({"a": (FLOAT, (-1,))}, {"b": (FLOAT, ())})}),
        NAMED,
    ),
    "classes and scores, best first": (
        Export(IMAGES, {"classes": (STRING, (-1, 2)), "scores": (FLOAT, (-1, 2))}, best_first("classes")),
        {},
    ),
    "classes and scores of any number": (
        Export(IMAGES, {"classes": (STRING, (-1, -1)), "scores": (FLOAT, (-1, -1))}, best_first("classes")),
        {},
    ),
    "indexes of classes and scores, best first": (
        Export(IMAGES, {"ids": (INT64, (-1, 2)), "scores": (FLOAT, (-1, 2))}, best_first("ids", indexes=True)),
        NAMED,
    ),
    "AutoML": (AUTOML, {}),
    "logits and probabilities": (
        Export(IMAGES, {"logits": (FLOAT, (-1, 3)), "probabilities": (FLOAT, (-1, 3))}, two_outputs),
        NAMED,
    ),
    "an output that an option chooses": (
        Export(IMAGES, {"a": (FLOAT, (-1, 3)), "b": (FLOAT, (-1, 3))}, plain(output="b")),
        {**NAMED, "output": "b"},
    ),
    "scores (n, 1, 1, classes)": (Export(IMAGES, {"y": (FLOAT, (-1, 1, 1, 3))}, shaped(1, 1, 3)), NAMED),
    "scores of half precision": (Export(IMAGES, {"y": (HALF, (-1, 3))}, shaped(3, dtype=np.float16)), NAMED),
    "scores of double precision": (Export(IMAGES, {"y": (DOUBLE, (-1, 3))}, shaped(3, dtype=np.float64)), NAMED),
    "scores in bfloat16": (Export(IMAGES, {"y": (BFLOAT16, (-1, 3))}, as_bfloat16), NAMED),
    "pixels of half precision": (Export({"x": (HALF, (-1, 8, 8, 3))}, SCORES, plain()), NAMED),
    "pixels of double precision": (Export({"x": (DOUBLE, (-1, 8, 8, 3))}, SCORES, plain()), NAMED),
    "pixels of int32": (Export({"x": (INT32, (-1, 8, 8, 3))}, SCORES, plain()), NAMED),
    "pixels of int64": (Export({"x": (INT64, (-1, 8, 8, 3))}, SCORES, plain()), NAMED),
    "channels first": (Export({"x": (FLOAT, (-1, 3, 8, 6))}, SCORES, channels_first), NAMED),
    "channels first, by option": (
        Export({"x": (FLOAT, (-1, -1, -1, -1))}, SCORES, channels_first),
        {**NAMED, "layout": "nchw", "height": 8, "width": 6},
    ),
    "a fixed batch of one": (Export({"x": (FLOAT, (1, 8, 8, 3))}, {"y": (FLOAT, (1, 3))}, one_image), NAMED),
    "a fixed batch of three": (Export({"x": (FLOAT, (3, 8, 8, 3))}, {"y": (FLOAT, (3, 3))}, three_images), NAMED),
    "a fixed batch of three files": (Export({"x": (STRING, (3,))}, {"y": (FLOAT, (3, 3))}, three_images), NAMED),
    "logits": (Export(IMAGES, SCORES, logits), {**NAMED, "activation": "softmax"}),
    "logits, independent of each other": (
        Export(IMAGES, SCORES, logits),
        {**NAMED, "activation": "sigmoid", "multi_label": True},
    ),
    "the best class and its score": (Export(IMAGES, {"best": (STRING, (-1,)), "p": (FLOAT, (-1,))}, best_only), {}),
    "features beside as many scores as labels": (
        Export(IMAGES, {"y": (FLOAT, (-1, 3)), "features": (FLOAT, (-1, 9))}, with_features),
        NAMED,
    ),
    "one image and no batch": (
        Export(
            {"x": (UINT8, (8, 8, 3))},
            {"y": (FLOAT, (3,))},
            lambda given: {"y": number_tensor(colour_scores(given["x"][np.newaxis])[0])},
        ),
        NAMED,
    ),
    "a scalar string": (Export({"x": (STRING, ())}, {"y": (FLOAT, (3,))}, no_batch), NAMED),
    "strings (n, 1)": (Export({"x": (STRING, (-1, 1))}, SCORES, plain()), NAMED),
    "BGR": (
        Export(IMAGES, SCORES, lambda given: {"y": number_tensor(colour_scores(given["x"][..., ::-1]))}),
        {**NAMED, "channels": "bgr"},
    ),
    "normalised as by caffe": (Export(IMAGES, SCORES, normalized("caffe")), {**NAMED, "normalize": "caffe"}),
    "normalised as by torch": (Export(IMAGES, SCORES, normalized("torch")), {**NAMED, "normalize": "torch"}),
    "normalised as by tf": (Export(IMAGES, SCORES, normalized("tf")), {**NAMED, "normalize": "tf"}),
}


@pytest.mark.parametrize("form", SERVED)
def test_forms_of_exports_are_answered_with_the_right_label(
    start: Start, model_server: ColourServer, form: str
) -> None:
    model, options = SERVED[form]
    model_server.models["m"] = {1: model}  # type: ignore[dict-item]
    gateway = start(default_model="m", model_options={"m": options})
    assert gateway.get("/readyz").status_code == 200, gateway.get("/readyz").text
    for colour in ("red", "blue"):
        answer = gateway.post("/api/v1/models/m/predict", content=photo(colour, encoding="JPEG"))
        assert answer.status_code == 200, answer.text
        assert answer.json()["label"] == colour
    files = [("images", photo(colour)) for colour in ("red", "green", "blue", "green")]
    results = gateway.post("/api/v1/models/m/predict_batch", files=files).json()["results"]
    assert [one["label"] for one in results] == ["red", "green", "blue", "green"]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((-1, 8, 8, 1), FLOAT), ((-1, 1, 8, 8), FLOAT), ((-1, 8, 8), FLOAT), ((-1, 8, 8, 1), UINT8)]
)
def test_grey_inputs_get_the_luminance(
    start: Start, model_server: ColourServer, shape: tuple[int, ...], dtype: int
) -> None:
    model_server.models["m"] = {1: Export({"x": (dtype, shape)}, SCORES, brightness)}  # type: ignore[dict-item]
    gateway = start(default_model="m", model_options={"m": {"labels": ["dark", "medium", "bright"]}})
    answers = [gateway.post("/api/v1/models/m/predict", content=photo(one)).json()["label"] for one in ("blue", "grey")]
    assert answers == ["dark", "medium"]


def test_a_sigmoid_of_rank_one_is_two_classes(start: Start, model_server: ColourServer) -> None:
    def redness(given: Inputs) -> Outputs:
        return {"y": number_tensor(colour_scores(given["x"])[:, 0])}

    model_server.models["m"] = {1: Export(IMAGES, {"y": (FLOAT, (-1,))}, redness)}  # type: ignore[dict-item]
    gateway = start(default_model="m", model_options={"m": {"labels": ["other", "red"]}})
    answers = [gateway.post("/api/v1/models/m/predict", content=photo(one)).json()["label"] for one in ("red", "blue")]
    assert answers == ["red", "other"]


REFUSED: dict[str, tuple[Export, dict[str, object], str]] = {
    "two signatures that classify": (
        Export(IMAGES, SCORES, plain(), key="a", others={"b": (IMAGES, SCORES)}),
        {},
        "has the signatures 'a', 'b', several of which classify images: name one by the option signature",
    ),
    "a signature that is not there": (
        Export(IMAGES, SCORES, plain(), key="predict"),
        {"signature": "classify"},
        "has no signature 'classify', as its options say; it has 'predict'",
    ),
    "an output that is not there": (Export(IMAGES, SCORES, plain()), {"output": "z"}, "the output 'z' of its options"),
    "two outputs of scores": (
        Export(IMAGES, {"a": (FLOAT, (-1, 3)), "b": (FLOAT, (-1, 3))}, plain()),
        {},
        "name the one of the scores by the option output",
    ),
    "an object detector": (
        Export(
            {"x": (UINT8, (1, -1, -1, 3))},
            {"detection_boxes": (FLOAT, (1, 9, 4)), "detection_scores": (FLOAT, (1, 9))},
            plain(),
        ),
        {},
        "this is an object detector",
    ),
    "logits that no option says are some": (Export(IMAGES, SCORES, logits), NAMED, "or set its option activation"),
    "text": (
        Export({"text": (STRING, (-1,))}, SCORES, plain("text")),
        {},
        "'text' is not taken for images; if it is, set the option encoded_image",
    ),
    "what an option says is no image": (
        Export({"x": (STRING, (-1,))}, SCORES, plain()),
        {"encoded_image": False},
        "is not taken for images by the option encoded_image",
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
    missing = start(default_model="m", models="gone").get("/readyz").json()["missing"]
    assert missing["m"].endswith("A test image failed: Could not parse example input")
    assert missing["gone"] == "The model server serves no version of 'gone'; its log may say why."


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
    def tags(given: Inputs) -> Outputs:
        return {"y": number_tensor(np.array([[0.9, 0.8, 0.1]] * len(given["x"]), np.float32))}

    model_server.models["m"] = {1: Export(IMAGES, SCORES, tags)}  # type: ignore[dict-item]
    for said in (False, True):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "gateway"):
            gateway = start(default_model="m", model_options={"m": {"multi_label": said}})
            answers = [gateway.post("/api/v1/models/m/predict", content=photo()).json() for _ in range(2)]
        assert [one["score"] for one in answers[0]["predictions"]] == [0.9, 0.8, 0.1]
        warnings = [one for one in caplog.records if "multi_label" in one.getMessage()]
        assert len(warnings) == (0 if said else 1)
        assert gateway.get("/api/v1/models/m").json()["multi_label"] is said


def test_pixel_formats_have_the_shape_and_dtype_that_they_say() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    for dtype in ("uint8", "int32", "float16", "float32", "float64"):
        for channels, layout in (("rgb", "nhwc"), ("bgr", "nchw"), ("grey", "nhwc"), ("grey", "nchw"), ("grey", "nhw")):
            form = PixelFormat(dtype, channels, layout)  # type: ignore[arg-type]
            made = form.convert(pixels)
            assert (made.shape, made.dtype.name) == (form.shape(4, 6), dtype)
            assert made.flags.c_contiguous
