"""Models that people export by other means than this project's trainer: each form is answered right, or refused."""

from __future__ import annotations

import base64
import io
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gateway.images.pixel_format import PixelFormat
from gateway.pb import serving_pb2 as pb
from gateway.pb.serving_pb2 import DataType
from gateway.tensors.wire import Array, array_of
from testing.colour_server import COLOURS, ColourServer, Refused, Tensors, colour_scores, signature
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from testing.tensors import number_tensor, string_tensor

Start = Callable[..., httpx.Client]
FLOAT, HALF, DOUBLE, BFLOAT16 = DataType.DT_FLOAT, DataType.DT_HALF, DataType.DT_DOUBLE, DataType.DT_BFLOAT16
UINT8, INT32, INT64, STRING = DataType.DT_UINT8, DataType.DT_INT32, DataType.DT_INT64, DataType.DT_STRING

Inputs = Mapping[str, Array]
Outputs = Mapping[str, pb.Tensor]


@dataclass(frozen=True)
class Export:
    """A model with any signatures; `answer` gets the inputs of whichever was called."""

    inputs: Tensors
    outputs: Tensors
    answer: Callable[[Inputs], Outputs]
    key: str = "serving_default"
    others: Mapping[str, tuple[Tensors, Tensors]] = field(default_factory=dict)

    def signatures(self) -> dict[str, pb.SignatureDef]:
        described = {key: signature(*one) for key, one in self.others.items()}
        bookkeeping: Tensors = {"__saved_model_init_op": (DataType.DT_INVALID, ())}
        described["__saved_model_init_op"] = signature({}, bookkeeping)
        return {**described, self.key: signature(self.inputs, self.outputs)}

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> Outputs:
        assert name == self.key
        assert set(inputs) == set(self.inputs)
        for key, tensor in inputs.items():
            assert tensor.dtype == self.inputs[key][0]
        return self.answer({key: array_of(tensor, max_elements=10**7) for key, tensor in inputs.items()})


def decoded(strings: Array) -> npt.NDArray[np.generic]:
    files = strings.ravel().tolist()
    return np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB").resize((8, 8))) for one in files])


def scored(images: Array) -> npt.NDArray[np.float32]:
    return colour_scores(decoded(images) if images.dtype == object else images)


def plain(name: str = "x", output: str = "y") -> Callable[[Inputs], Outputs]:
    return lambda given: {output: number_tensor(scored(given[name]))}


def shaped(*shape: int, dtype: object = np.float32) -> Callable[[Inputs], Outputs]:
    def answer(given: Inputs) -> Outputs:
        scores = scored(given["x"])
        return {"y": number_tensor(scores.reshape(len(scores), *shape).astype(dtype))}  # type: ignore[call-overload]

    return answer


def best_first(labels: str, name: str = "x", *, indexes: bool = False) -> Callable[[Inputs], Outputs]:
    """The two best classes of each image by name or by index."""

    def answer(given: Inputs) -> Outputs:
        scores = scored(given[name])
        order = np.argsort(-scores, axis=1)[:, :2]
        names = [COLOURS[index].encode() for index in order.ravel().tolist()]
        named = number_tensor(order.astype(np.int64)) if indexes else string_tensor(names, order.shape)
        return {labels: named, "scores": number_tensor(np.take_along_axis(scores, order, 1))}

    return answer


def with_key(given: Inputs) -> Outputs:
    assert given["key"].shape == given["image_bytes"].shape
    return {**best_first("labels", "image_bytes")(given), "key": string_tensor(given["key"].tolist())}


def as_bfloat16(given: Inputs) -> Outputs:
    bits = scored(given["x"]).view(np.uint32) >> 16
    tensor = pb.Tensor(dtype="DT_BFLOAT16", tensor_content=bits.astype("<u2").tobytes())
    for size in bits.shape:
        tensor.tensor_shape.dim.add(size=size)
    return {"y": tensor}


def two_outputs(given: Inputs) -> Outputs:
    scores = scored(given["x"])
    return {"logits": number_tensor(np.log(scores + 1e-6)), "probabilities": number_tensor(scores)}


def one_image(given: Inputs) -> Outputs:
    assert given["x"].shape[0] == 1
    return {"y": number_tensor(scored(given["x"]))}


def three_images(given: Inputs) -> Outputs:
    assert given["x"].shape[0] == 3
    return {"y": number_tensor(scored(given["x"]))}


def logits(given: Inputs) -> Outputs:
    return {"y": number_tensor(50 * scored(given["x"]) - 30)}


def best_only(given: Inputs) -> Outputs:
    scores = scored(given["x"])
    return {
        "best": string_tensor([COLOURS[index].encode() for index in scores.argmax(1)]),
        "p": number_tensor(scores.max(1)),
    }


def with_features(given: Inputs) -> Outputs:
    scores = scored(given["x"])
    return {"y": number_tensor(scores), "features": number_tensor(np.tile(scores, (1, 3)))}


def no_batch(given: Inputs) -> Outputs:
    assert given["x"].shape == ()
    return {"y": number_tensor(scored(given["x"].reshape(1))[0])}


def channels_first(given: Inputs) -> Outputs:
    assert given["x"].shape[1:] == (3, 8, 6)
    return {"y": number_tensor(colour_scores(np.moveaxis(given["x"], 1, 3)))}


def brightness(given: Inputs) -> Outputs:
    """Dark, medium or bright."""
    values = given["x"].astype(np.float64).reshape(len(given["x"]), -1).mean(axis=1)
    return {"y": number_tensor(np.eye(3, dtype=np.float32)[np.digitize(values, [64, 192])])}


def normalized(mode: str) -> Callable[[Inputs], Outputs]:
    """Scores of images that were normalised so, undone by the formulas of Keras' documentation."""

    def answer(given: Inputs) -> Outputs:
        x = given["x"].astype(np.float64)
        if mode == "caffe":
            images = np.add(x, [103.939, 116.779, 123.68])[..., ::-1]
        elif mode == "torch":
            images = (x * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406]) * 255
        else:
            images = (x + 1) * 127.5
        np.testing.assert_allclose(images, np.rint(images), atol=1e-3)
        return {"y": number_tensor(colour_scores(np.rint(images)))}

    return answer


IMAGES: Tensors = {"x": (FLOAT, (-1, 8, 8, 3))}
SCORES: Tensors = {"y": (FLOAT, (-1, 3))}
NAMED: dict[str, object] = {"labels": list(COLOURS)}

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
    "AutoML": (
        Export(
            {"image_bytes": (STRING, (-1,)), "key": (STRING, (-1,))},
            {"labels": (STRING, (-1, -1)), "scores": (FLOAT, (-1, -1)), "key": (STRING, (-1,))},
            with_key,
        ),
        {},
    ),
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


# TensorFlow Serving's interface


def upper(given: Inputs) -> Outputs:
    """Scores of texts, by which letter they begin with; fails where one of them does not."""
    [texts] = given.values()
    return {"y": number_tensor(np.array([[one[:1] in b"ab", one[:1] in b"cd", 0] for one in texts], np.float32))}


@pytest.mark.parametrize("name", ["text", "inputs", "examples", "bytes_b64"])
def test_strings_that_are_no_images_pass_through(start: Start, model_server: ColourServer, name: str) -> None:
    model_server.models["m"] = {1: Export({name: (STRING, (-1,))}, SCORES, upper)}  # type: ignore[dict-item]
    gateway = start()
    for given in ("a good film", {"b64": base64.b64encode(b"\x0a\x05\x12").decode()}, "BMW", ""):
        body = {"instances": [given, "c"]}
        answer = gateway.post("/v1/models/m:predict", content=json.dumps(body))
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][1] == [0, 1, 0]
    tensor = {"name": name, "shape": [1], "datatype": "BYTES", "data": ["c"]}
    answer = gateway.post("/v2/models/m/infer", content=json.dumps({"inputs": [tensor]}))
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [0, 1, 0]


def test_a_text_models_request_from_a_report_is_answered(
    start: Start, model_server: ColourServer, testdata: Path
) -> None:
    body = (testdata / "reports" / "v1_text_model.json").read_bytes()
    model_server.models["m"] = {1: Export({"inputs": (STRING, (-1,))}, SCORES, upper)}  # type: ignore[dict-item]
    answer = start().post("/v1/models/m:predict", content=body)
    assert (answer.status_code, answer.json()) == (200, {"predictions": [[1, 0, 0]]})


@pytest.mark.parametrize("file", ["v1_b64_no_padding.json", "v1_b64_with_newlines.json"])
def test_base64_of_phones_and_mail_encoders_is_read_as_the_real_server_reads_it(
    start: Start, model_server: ColourServer, testdata: Path, file: str
) -> None:
    body = (testdata / "reports" / file).read_bytes()
    model_server.models["m"] = {1: Export({"image_bytes": (STRING, (-1,))}, SCORES, plain("image_bytes"))}  # type: ignore[dict-item]
    answer = start().post("/v1/models/m:predict", content=body)
    assert answer.status_code == 200, answer.text
    assert sum(answer.json()["predictions"][0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "options"), [("inputs", {}), ("image_bytes", {}), ("inputs", {"encoded_image": True})]
)
def test_images_are_sent_as_files_that_the_gateway_wrote_also_where_the_input_may_hold_others(
    start: Start, model_server: ColourServer, name: str, options: dict[str, object]
) -> None:
    def only_files_of_the_gateway(given: Inputs) -> Outputs:
        assert all(Image.open(io.BytesIO(one)).format in ("PNG", "JPEG") for one in given[name].tolist())
        return plain(name)(given)

    model_server.models["m"] = {1: Export({name: (STRING, (-1,))}, SCORES, only_files_of_the_gateway)}  # type: ignore[dict-item]
    gateway = start(models="m", model_options={"m": options})
    file = {"b64": base64.b64encode(photo("red", encoding="WebP")).decode()}
    answer = gateway.post("/v1/models/m:predict", content=json.dumps({"instances": [file, file]}))
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0][0] > 0.8
    broken = {"b64": base64.b64encode(photo("red")[:50]).decode()}
    assert gateway.post("/v1/models/m:predict", content=json.dumps({"instances": [broken]})).status_code == 400


@dataclass
class OneBatch:
    """Joins all calls that it has at once, as a server with batching does: a bad one fails those beside it."""

    answer: Callable[[Inputs], Outputs]
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    running: dict[int, bool] = field(default_factory=dict)
    """By call, whether it is bad."""
    failed: set[int] = field(default_factory=set)

    def __call__(self, given: Inputs) -> Outputs:
        with self.lock:
            number = next(self.numbers)
            self.running[number] = any(one in (b"bad", -1) for one in next(iter(given.values())).ravel().tolist())
            if any(self.running.values()):
                self.failed.update(self.running)
        time.sleep(0.02)
        with self.lock:
            del self.running[number]
            if number in self.failed:
                raise Refused("Could not parse example input")
        return self.answer(given)


def first_numbers(given: Inputs) -> Outputs:
    return {"y": number_tensor(given["tokens"][:, :3].astype(np.float32))}


UNBATCHED_OUTPUT: Tensors = {"y": (FLOAT, ())}


@pytest.mark.parametrize(
    ("export", "good", "bad"),
    [
        (Export({"inputs": (STRING, (-1,))}, SCORES, OneBatch(upper)), "a", "bad"),
        (Export({"inputs": (STRING, (-1,))}, UNBATCHED_OUTPUT, OneBatch(upper)), "a", "bad"),
        (Export({"tokens": (INT64, (-1, 4))}, SCORES, OneBatch(first_numbers)), [1, 2, 3, 4], [-1, 2, 3, 4]),
    ],
    ids=["with a contract", "without a contract", "numbers"],
)
def test_a_row_that_the_model_refuses_fails_its_own_request_only(
    start: Start, model_server: ColourServer, export: Export, good: object, bad: object
) -> None:
    model_server.models["m"] = {1: export}  # type: ignore[dict-item]
    gateway = start()

    def ask(row: object) -> int:
        return gateway.post("/v1/models/m:predict", content=json.dumps({"instances": [row]})).status_code

    with ThreadPoolExecutor(6) as pool:
        honest = [pool.submit(ask, good) for _ in range(20)]
        hostile = [pool.submit(ask, bad) for _ in range(5)]
        honest += [pool.submit(ask, good) for _ in range(20)]
    assert {one.result() for one in hostile} == {400}
    assert {one.result() for one in honest} == {200}


def test_a_photo_does_not_fail_for_a_string_beside_it(start: Start, model_server: ColourServer) -> None:
    export = Export({"inputs": (STRING, (-1,))}, SCORES, OneBatch(plain("inputs")))
    model_server.models["m"] = {1: export}  # type: ignore[dict-item]
    gateway = start(models="m")

    def classify(_: int) -> int:
        return gateway.post("/api/v1/models/m/predict", content=photo()).status_code

    def ask(_: int) -> int:
        return gateway.post("/v1/models/m:predict", content=json.dumps({"instances": ["bad"]})).status_code

    with ThreadPoolExecutor(4) as photos, ThreadPoolExecutor(2) as strings:
        hostile = strings.map(ask, range(10))
        honest = photos.map(classify, range(30))
    assert set(hostile) == {400}
    assert set(honest) == {200}


def test_calls_of_other_models_do_not_wait_for_a_refused_call(start: Start, model_server: ColourServer) -> None:
    began, slow, refused = threading.Event(), threading.Event(), threading.Event()

    def answer(given: Inputs) -> Outputs:
        [text] = given["inputs"].tolist()
        if text == b"slow":
            began.set()
            assert slow.wait(DEADLINE_SECONDS)
        if text == b"bad":
            refused.set()
            raise Refused("Could not parse example input")
        return upper(given)

    for name in ("m", "n"):
        model_server.models[name] = {1: Export({"inputs": (STRING, (-1,))}, SCORES, answer)}  # type: ignore[dict-item]
    gateway = start(max_images_per_server=3)

    def ask(text: str, model: str = "m") -> int:
        return gateway.post(f"/v1/models/{model}:predict", content=json.dumps({"instances": [text]})).status_code

    with ThreadPoolExecutor(8) as pool:
        try:
            waits = pool.submit(ask, "slow")
            assert began.wait(DEADLINE_SECONDS)
            bad = [pool.submit(ask, "bad") for _ in range(5)]
            assert refused.wait(DEADLINE_SECONDS)
            assert ask("a", "n") == 200
            assert not any(one.done() for one in (waits, *bad))  # each is repeated only when nothing runs beside it
        finally:
            slow.set()
    assert waits.result() == 200
    assert {one.result() for one in bad} == {400}


def test_automl_takes_images_and_keys_in_tensorflow_servings_interface(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["m"] = {1: SERVED["AutoML"][0]}  # type: ignore[dict-item]
    rows = [
        {"key": one, "image_bytes": {"b64": base64.b64encode(photo(one, encoding="GIF")).decode()}} for one in COLOURS
    ]
    answer = start().post("/v1/models/m:predict", content=json.dumps({"instances": rows}))
    assert answer.status_code == 200, answer.text
    assert [(one["key"], one["labels"][0]) for one in answer.json()["predictions"]] == [(one, one) for one in COLOURS]


def test_what_tensorflow_serving_lists_for_its_own_use_is_nowhere_among_the_signatures(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["m"] = {1: Export(IMAGES, SCORES, plain(), key="predict")}  # type: ignore[dict-item]
    gateway = start()
    answer = gateway.post("/v1/models/m:predict", content=json.dumps({"instances": [0]}))
    assert answer.json() == {"error": "Serving signature key \"serving_default\" not found. There is 'predict'."}
    assert "__saved_model" not in gateway.get("/v1/models/m/metadata").text


def test_pixel_formats_have_the_shape_and_dtype_that_they_say() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    for dtype in ("uint8", "int32", "float16", "float32", "float64"):
        for channels, layout in (("rgb", "nhwc"), ("bgr", "nchw"), ("grey", "nhwc"), ("grey", "nchw"), ("grey", "nhw")):
            form = PixelFormat(dtype, channels, layout)  # type: ignore[arg-type]
            made = form.convert(pixels)
            assert (made.shape, made.dtype.name) == (form.shape(4, 6), dtype)
            assert made.flags.c_contiguous
