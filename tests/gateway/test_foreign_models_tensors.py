"""Models from elsewhere, called with tensors through TensorFlow Serving's interface: texts, images and bad rows."""

from __future__ import annotations

import base64
import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from testing.colour_scores import COLOURS
from testing.colour_server import ColourServer, Refused, Tensors
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from testing.tensors import number_tensor
from tests.gateway.exports import AUTOML, FLOAT, IMAGES, INT64, SCORES, STRING, Export, Inputs, Outputs, beside, plain

Start = Callable[..., httpx.Client]


def upper(inputs: Inputs) -> Outputs:
    """Scores of texts, by which letter they begin with; fails where one of them does not."""
    [texts] = inputs.values()
    return {"y": number_tensor(np.array([[one[:1] in b"ab", one[:1] in b"cd", 0] for one in texts], np.float32))}


@pytest.mark.parametrize("name", ["text", "inputs", "examples", "bytes_b64"])
def test_strings_that_are_no_images_pass_through(start: Start, model_server: ColourServer, name: str) -> None:
    model_server.models["m"] = {1: Export({name: (STRING, (-1,))}, SCORES, upper)}  # type: ignore[dict-item]
    gateway = start()
    for value in ("a good film", {"b64": base64.b64encode(b"\x0a\x05\x12").decode()}, "BMW", ""):
        body = {"instances": [value, "c"]}
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
    def only_files_of_the_gateway(inputs: Inputs) -> Outputs:
        assert all(Image.open(io.BytesIO(one)).format in ("PNG", "JPEG") for one in inputs[name].tolist())
        return plain(name)(inputs)

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
    """Joins all calls that it has at once, as a server with batching does: a bad one fails those beside it.

    The first bad call waits until there is a good one beside it.
    """

    answer: Callable[[Inputs], Outputs]
    changed: threading.Condition = field(default_factory=threading.Condition)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    running: dict[int, bool] = field(default_factory=dict)
    """By call, whether it is bad."""
    failed: set[int] = field(default_factory=set)
    has_met: bool = False
    """Whether a good call has failed for a bad one."""

    def __call__(self, inputs: Inputs) -> Outputs:
        with self.changed:
            number = next(self.numbers)
            is_bad = any(one in (b"bad", -1) for one in next(iter(inputs.values())).ravel().tolist())
            self.running[number] = is_bad
            if any(self.running.values()):
                self.failed.update(self.running)
                self.has_met |= not all(self.running.values())
            self.changed.notify_all()
            if is_bad:
                assert self.changed.wait_for(lambda: self.has_met, DEADLINE_SECONDS)
            del self.running[number]
            if number in self.failed:
                raise Refused("Could not parse example input")
        return self.answer(inputs)


def first_numbers(inputs: Inputs) -> Outputs:
    return {"y": number_tensor(inputs["tokens"][:, :3].astype(np.float32))}


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
    joined = OneBatch(plain("inputs"))
    export = Export({"inputs": (STRING, (-1,))}, SCORES, joined)
    model_server.models["m"] = {1: export}  # type: ignore[dict-item]
    gateway = start(models="m")

    def classify(_: int) -> int:
        return gateway.post("/api/v1/models/m/predict", content=photo()).status_code

    def ask(_: int) -> int:
        return gateway.post("/v1/models/m:predict", content=json.dumps({"instances": ["bad"]})).status_code

    with ThreadPoolExecutor(4) as photos, ThreadPoolExecutor(2) as strings:
        hostile = strings.map(ask, range(10))
        until(lambda: any(joined.running.values()))
        honest = photos.map(classify, range(30))
    assert set(hostile) == {400}
    assert set(honest) == {200}


def test_calls_of_other_models_do_not_wait_for_a_refused_call(start: Start, model_server: ColourServer) -> None:
    began, slow, refused = threading.Event(), threading.Event(), threading.Event()

    def answer(inputs: Inputs) -> Outputs:
        [text] = inputs["inputs"].tolist()
        if text == b"slow":
            began.set()
            assert slow.wait(DEADLINE_SECONDS)
        if text == b"bad":
            refused.set()
            raise Refused("Could not parse example input")
        return upper(inputs)

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
    model_server.models["m"] = {1: AUTOML}  # type: ignore[dict-item]
    rows = [
        {"key": one, "image_bytes": {"b64": base64.b64encode(photo(one, encoding="GIF")).decode()}} for one in COLOURS
    ]
    answer = start().post("/v1/models/m:predict", content=json.dumps({"instances": rows}))
    assert answer.status_code == 200, answer.text
    assert [(one["key"], one["labels"][0]) for one in answer.json()["predictions"]] == [(one, one) for one in COLOURS]


def test_inputs_beside_pixels_are_those_of_the_request(start: Start, model_server: ColourServer) -> None:
    export = Export({**IMAGES, "info": (FLOAT, (-1, 2))}, SCORES, beside(info=[3, 4]))
    model_server.models["m"] = {1: export}  # type: ignore[dict-item]
    gateway = start(models="m", model_options={"m": {"fixed_inputs": {"info": 0}}})
    rows = [{"x": np.ones((8, 8, 3)).tolist(), "info": [3, 4]}] * 2
    answer = gateway.post("/v1/models/m:predict", content=json.dumps({"instances": rows}))
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 2


def test_an_image_file_for_a_model_of_pixels_is_told_where_to_go(start: Start, model_server: ColourServer) -> None:
    model_server.models["m"] = {1: Export(IMAGES, SCORES, plain())}  # type: ignore[dict-item]
    body = {"instances": [{"b64": base64.b64encode(photo()).decode()}]}
    answer = start().post("/v1/models/m:predict", content=json.dumps(body))
    assert answer.status_code == 400
    assert "send the pixels of an image as nested lists. /api and /hf take image files" in answer.json()["error"]


def test_what_tensorflow_serving_lists_for_its_own_use_is_nowhere_among_the_signatures(
    start: Start, model_server: ColourServer
) -> None:
    model_server.models["m"] = {1: Export(IMAGES, SCORES, plain(), key="predict")}  # type: ignore[dict-item]
    gateway = start()
    answer = gateway.post("/v1/models/m:predict", content=json.dumps({"instances": [0]}))
    assert answer.json() == {"error": "Serving signature key \"serving_default\" not found. There is 'predict'."}
    assert "__saved_model" not in gateway.get("/v1/models/m/metadata").text
