"""Models that people export by other means than this project's trainer: each form is answered right, or refused."""

from __future__ import annotations

import io
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.images.pixel_format import PixelFormat
from testing.colour_scores import colour_scores
from testing.colour_server import ColourServer
from testing.photos import photo
from testing.tensors import number_tensor
from tests.gateway.exports import (
    AUTOML,
    BFLOAT16,
    BOOL,
    DOUBLE,
    ESTIMATOR,
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
    beside,
    best_and_all,
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
    "the only signature that classifies images, beside another default": (
        Export(IMAGES, SCORES, plain(), key="predict", others={"serving_default": ({"text": (STRING, (-1,))}, SCORES)}),
        NAMED,
    ),
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
    "a switch for training and the share of dropout": (
        Export({**IMAGES, "phase": (BOOL, ()), "keep": (FLOAT, ())}, SCORES, beside(phase=False, keep=1)),
        {**NAMED, "fixed_inputs": {"phase": False, "keep": 1}},
    ),
    "a row of numbers beside each image": (
        Export({**IMAGES, "info": (FLOAT, (-1, 3))}, SCORES, beside(info=[8, 8, 1])),
        {**NAMED, "fixed_inputs": {"info": [8, 8, 1]}},
    ),
    "a second image": (
        Export({**IMAGES, "mask": (UINT8, (-1, 8, 8, 1))}, SCORES, beside(mask=255)),
        {**NAMED, "fixed_inputs": {"mask": 255}},
    ),
    "a name beside an encoded image": (
        Export({"x": (STRING, (-1,)), "camera": (STRING, (-1,))}, SCORES, beside(camera=b"front")),
        {**NAMED, "fixed_inputs": {"camera": "front"}},
    ),
    "logits and probabilities": (
        Export(IMAGES, {"logits": (FLOAT, (-1, 3)), "probabilities": (FLOAT, (-1, 3))}, two_outputs),
        NAMED,
    ),
    "the best class beside the scores of all": (
        Export(IMAGES, {"classes": (INT64, (-1,)), "probabilities": (FLOAT, (-1, 3))}, best_and_all),
        NAMED,
    ),
    "all outputs of an estimator": (Export(IMAGES, ESTIMATOR, best_and_all), {}),
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
    "scores that are named like features": (
        Export(IMAGES, {"features_softmax": (FLOAT, (-1, 3))}, plain(output="features_softmax")),
        NAMED,
    ),
    "scores that are named like features, beside another output": (
        Export(IMAGES, {"features_softmax": (FLOAT, (-1, 3)), "y": (FLOAT, (-1, 9))}, plain(output="features_softmax")),
        NAMED,
    ),
    "features beside scores of an open number": (
        Export(IMAGES, {"y": (FLOAT, (-1, -1)), "features": (FLOAT, (-1, 3))}, with_features),
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


def test_photos_are_cropped_or_squeezed_as_the_option_says(start: Start, model_server: ColourServer) -> None:
    wide = Image.new("RGB", (64, 32), "blue")
    wide.paste("red", (16, 0, 48, 32))
    file = io.BytesIO()
    wide.save(file, "PNG")
    model_server.models["m"] = {1: Export(IMAGES, SCORES, plain())}  # type: ignore[dict-item]
    shares = {}
    for fit in ("crop", "squash"):
        gateway = start(default_model="m", model_options={"m": {**NAMED, "fit": fit}})
        answer = gateway.post("/api/v1/models/m/predict", content=file.getvalue()).json()
        shares[fit] = {one["label"]: one["score"] for one in answer["predictions"]}["red"]
    assert shares["crop"] > 0.9
    assert 0.4 < shares["squash"] < 0.6


def test_a_sigmoid_of_rank_one_is_two_classes(start: Start, model_server: ColourServer) -> None:
    def redness(inputs: Inputs) -> Outputs:
        return {"y": number_tensor(colour_scores(inputs["x"])[:, 0])}

    model_server.models["m"] = {1: Export(IMAGES, {"y": (FLOAT, (-1,))}, redness)}  # type: ignore[dict-item]
    gateway = start(default_model="m", model_options={"m": {"labels": ["other", "red"]}})
    answers = [gateway.post("/api/v1/models/m/predict", content=photo(one)).json()["label"] for one in ("red", "blue")]
    assert answers == ["red", "other"]


def test_pixel_formats_have_the_shape_and_dtype_that_they_say() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    for dtype in ("uint8", "int32", "float16", "float32", "float64"):
        for channels, layout in (("rgb", "nhwc"), ("bgr", "nchw"), ("grey", "nhwc"), ("grey", "nchw"), ("grey", "nhw")):
            form = PixelFormat(dtype, channels, layout)  # type: ignore[arg-type]
            made = form.convert(pixels)
            assert (made.shape, made.dtype.name) == (form.shape(4, 6), dtype)
            assert made.flags.c_contiguous
