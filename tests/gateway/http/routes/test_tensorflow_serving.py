"""The REST interface of TensorFlow Serving: requests in both forms, refusals, status and metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
import httpx
import pytest

from gateway.pb import serving_pb2 as pb
from testing.colour_server import ColourServer
from testing.photos import photo
from tests.gateway.http.routes.arithmetic import Arithmetic, post, rounded

Start = Callable[..., httpx.Client]

ANSWERS: dict[str, tuple[object, object]] = {
    "rows, the only input unnamed": (
        {"instances": [[1, 2], [3, 4.5]]},
        {"predictions": [[0.1, 0.2], [0.3, 0.45]]},
    ),
    "rows, named": ({"instances": [{"x": [1, 2]}]}, {"predictions": [[0.1, 0.2]]}),
    "columns, the only input unnamed": ({"inputs": [[1, 2]]}, {"outputs": [[0.1, 0.2]]}),
    "columns, named": ({"inputs": {"x": [[1, 2]]}}, {"outputs": [[0.1, 0.2]]}),
    "rows of two inputs and two outputs": (
        {"signature_name": "sum", "instances": [{"a": 1, "b": 2}, {"a": 5, "b": 4294967296}]},
        {"predictions": [{"sum": 3, "less": True}, {"sum": 4294967301, "less": True}]},
    ),
    "columns of two inputs and two outputs": (
        {"signature_name": "sum", "inputs": {"a": [1, 5], "b": [2, 4]}},
        {"outputs": {"sum": [3, 9], "less": [True, False]}},
    ),
    "bytes and text": (
        {"signature_name": "echo", "instances": [{"text": {"b64": "w6Q="}}, {"text": "b"}]},
        {"predictions": [{"text": "ä", "raw_bytes": {"b64": "w6Q="}}, {"text": "b", "raw_bytes": {"b64": "Yg=="}}]},
    ),
    "unnamed bytes, and bytes back": (
        {"signature_name": "shout", "instances": [{"b64": "YWI="}, "cd"]},
        {"predictions": [{"b64": "QUI="}, {"b64": "Q0Q="}]},
    ),
    "a scalar output in columns": ({"signature_name": "total", "inputs": [[1, 2], [3, 4]]}, {"outputs": 10.0}),
    "a scalar input": ({"signature_name": "scalar", "inputs": 3}, {"outputs": 3.0}),
    "half precision": ({"signature_name": "half", "inputs": [0.5, 2]}, {"outputs": [0.5, 2.0]}),
    "an empty signature name": ({"signature_name": "", "inputs": [[10, 20]]}, {"outputs": [[1.0, 2.0]]}),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_requests_in_both_forms_are_answered_like_the_real_server_does(arithmetic: httpx.Client, case: str) -> None:
    body, expected = ANSWERS[case]
    answer = post(arithmetic, body)
    assert answer.status_code == 200, answer.text
    assert rounded(answer.json()) == expected
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == "2"
    assert "predict;dur=" in answer.headers["server-timing"]


def test_what_is_not_finite_goes_through_as_the_real_server_writes_it(arithmetic: httpx.Client) -> None:
    content = b'{"signature_name": "nothing", "inputs": [NaN, Infinity, 0]}'
    answer = arithmetic.post("/v1/models/sums:predict", content=content)
    assert answer.text == '{"outputs": [NaN, Infinity, -Infinity]}'


def test_a_version_or_label_in_the_path_is_the_one_that_answers(arithmetic: httpx.Client) -> None:
    for path, version in (("versions/1", "1"), ("versions/2", "2"), ("labels/stable", "1")):
        answer = post(arithmetic, {"inputs": [[1, 2]]}, f"/v1/models/sums/{path}:predict")
        assert answer.headers["x-model-version"] == version


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (":predict", {"instances": [[1, 2, 3]]}, 400, "must be of shape (n, 2), not (1, 3)"),
        (":predict", {"instances": [1, 2]}, 400, "must be of shape (n, 2), not (2)"),
        (":predict", {"instances": [[[1, 2]]]}, 400, "must be of shape (n, 2), not (1, 1, 2)"),
        (":predict", {"inputs": 1}, 400, "must be of shape (n, 2), not ()"),
        (":predict", {"instances": []}, 400, "at least one row"),
        (":predict", {"inputs": []}, 400, "must be of shape"),
        (":predict", {"instances": [[1, 2], [3]]}, 400, "different lengths"),
        (":predict", {"instances": [[1, 2], 3]}, 400, "mixes lists and values"),
        (":predict", {"instances": [[1, "2"]]}, 400, "does not hold a string"),
        (":predict", {"instances": [[1, None]]}, 400, "does not hold a null"),
        (":predict", {"instances": [[1, True]]}, 400, "does not hold a boolean"),
        (":predict", {"instances": [{"x": [1, 2]}, {"y": [1, 2]}]}, 400, "same inputs"),
        (":predict", {"instances": [{"y": [1, 2]}]}, 400, "The inputs must be 'x', not 'y'"),
        (":predict", {"inputs": {"x": [[1, 2]], "z": 1}}, 400, "not 'x', 'z'"),
        (":predict", {}, 400, "either instances or inputs"),
        (":predict", {"instances": [[1, 2]], "inputs": [[1, 2]]}, 400, "either instances or inputs"),
        (":predict", [[1, 2]], 400, "JSON object"),
        (":predict", {"signature_name": 3, "inputs": 1}, 400, "signature_name must be a string"),
        (":predict", {"signature_name": "nope", "inputs": 1}, 400, 'Serving signature key "nope" not found'),
        (":predict", {"signature_name": "sum", "inputs": {"a": [1.5], "b": [1]}}, 400, "does not hold a fraction"),
        (":predict", {"signature_name": "sum", "inputs": {"a": [2**31], "b": [1]}}, 400, "out of the range of int32"),
        (":predict", {"signature_name": "sum", "inputs": {"a": [1, 2], "b": [1]}}, 400, "different numbers of rows"),
        (":predict", {"signature_name": "sum", "inputs": [1]}, 400, "must be named"),
        (":predict", {"signature_name": "echo", "inputs": [1]}, 400, "accepts strings"),
        (":predict", {"signature_name": "echo", "inputs": [{"b64": "?"}]}, 400, "not base64"),
        (":predict", {"signature_name": "open", "inputs": [1]}, 400, "leaves the rank"),
        (":predict", {"signature_name": "strange", "inputs": [1]}, 400, "bfloat16"),
        (":predict", {"signature_name": "total", "instances": [[1]]}, 400, "one row for each instance"),
        (":predict", {"inputs": [[1, 2]] * 33}, 400, "33 rows exceed the limit of 32"),
        (":classify", {"examples": []}, 400, "use :predict"),
        ("/versions/1:regress", {"examples": []}, 400, "use :predict"),
        ("/versions/77:predict", {"inputs": [[1, 2]]}, 404, "Servable not found for request: Specific(sums, 77)"),
        (
            "/versions/x:predict",
            {"inputs": [[1, 2]]},
            400,
            "Malformed request: POST /v1/models/sums/versions/x:predict",
        ),
        ("/labels/nope:predict", {"inputs": [[1, 2]]}, 400, "Unrecognized servable version label: nope"),
    ],
)
def test_a_request_that_does_not_fit_is_told_so_and_never_sent(
    arithmetic: httpx.Client, sums_server: ColourServer, path: str, body: object, status: int, words: str
) -> None:
    sums_server.batch_sizes.clear()
    answer = post(arithmetic, body, f"/v1/models/sums{path}")
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert words in answer.json()["error"]
    assert sums_server.batch_sizes == [] or "one row for each" in words


def test_an_unknown_model_is_404_as_an_error_object(gateway: httpx.Client) -> None:
    for answer in (post(gateway, {"inputs": 1}, "/v1/models/nope:predict"), gateway.get("/v1/models/nope")):
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/sums:predict"),
        ("POST", "/v1/models/sums:explode"),
        ("GET", "/v1/models/sums:explode"),
        ("POST", "/v1/models/sums"),
        ("DELETE", "/v1/models/sums"),
        ("GET", "/v1/models/sums/versions/x"),
        ("GET", "/v1/models"),
        ("GET", "/v1/nothing/%0a"),
    ],
)
def test_an_unknown_verb_address_or_method_is_a_malformed_request_as_with_the_real_server(
    arithmetic: httpx.Client, method: str, path: str
) -> None:
    answer = arithmetic.request(method, path)
    assert (answer.status_code, answer.json()) == (400, {"error": f"Malformed request: {method} {path}"})


def test_what_is_not_served_is_said_in_the_words_of_the_real_server(arithmetic: httpx.Client) -> None:
    for path, status, words in (
        ("nope:predict", 404, "Servable not found for request: Latest(nope)"),
        ("nope/versions/3:predict", 404, "Servable not found for request: Specific(nope, 3)"),
        ("sums/versions/9:predict", 404, "Servable not found for request: Specific(sums, 9)"),
        ("sums/labels/canary:predict", 400, "Unrecognized servable version label: canary"),
    ):
        answer = post(arithmetic, {"inputs": [[1, 2]]}, f"/v1/models/{path}")
        assert (answer.status_code, answer.json()) == (status, {"error": words})
    for path, status, words in (
        ("sums/labels/canary/metadata", 400, "Unrecognized servable version label: canary"),
        ("nope", 404, "Could not find any versions of model nope"),
        ("sums/versions/9", 404, "Could not find version 9 of model sums"),
    ):
        answer = arithmetic.get(f"/v1/models/{path}")
        assert (answer.status_code, answer.json()) == (status, {"error": words})
    every = arithmetic.get("/v1/models/sums").json()
    assert arithmetic.get("/v1/models/sums/labels/canary").json() == every


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION])
def test_what_a_model_says_of_a_request_reaches_clients_of_this_interface_alone(
    start: Start, model_server: ColourServer, code: grpc.StatusCode
) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start()
    assert post(gateway, {"inputs": [[1, 2]]}).status_code == 200

    class Refusing(Arithmetic):
        def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
            del name, inputs
            model_server.refusal = (code, "\n Matrix size-incompatible:\x1b[31m In[0]: [1,2]\n\t [[{{node x}}]]")
            raise ValueError

    model_server.models["sums"] = {1: Refusing()}  # type: ignore[dict-item]
    post(gateway, {"inputs": [[1, 2]]})  # from here on every call is refused
    answer = post(gateway, {"inputs": [[1, 2]]})
    assert (answer.status_code, answer.json()) == (400, {"error": "Matrix size-incompatible:\\x1b[31m In[0]: [1,2]"})
    photo_answer = gateway.post("/api/v1/predict_breed", content=photo())
    assert "Matrix" not in photo_answer.text


def test_keys_come_in_the_order_of_the_real_server(arithmetic: httpx.Client) -> None:
    [state, _] = arithmetic.get("/v1/models/sums").json()["model_version_status"]
    assert (list(state), list(state["status"])) == (["version", "state", "status"], ["error_code", "error_message"])
    described = arithmetic.get("/v1/models/sums/metadata").json()
    assert list(described) == ["model_spec", "metadata"]
    assert list(described["model_spec"]) == ["name", "signature_name", "version"]
    half = described["metadata"]["signature_def"]["signature_def"]["half"]
    assert list(half) == ["inputs", "outputs", "method_name"]
    assert list(half["inputs"]["x"]) == ["dtype", "tensor_shape", "name"]
    assert list(half["inputs"]["x"]["tensor_shape"]) == ["dim", "unknown_rank"]


def test_rows_take_permits_like_images(start: Start, model_server: ColourServer) -> None:
    model_server.models["sums"] = {1: Arithmetic()}  # type: ignore[dict-item]
    gateway = start(max_images_in_flight=2, max_batch_images=2)
    assert post(gateway, {"inputs": [[1, 2]] * 2}).status_code == 200
    refused = post(gateway, {"inputs": [[1, 2]] * 3})
    assert refused.status_code == 429
    assert "retry-after" in refused.headers
    assert post(gateway, {"inputs": [[1, 2]] * 2}).status_code == 200


def test_status_and_metadata_have_the_real_servers_form(arithmetic: httpx.Client) -> None:
    one = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = arithmetic.get("/v1/models/sums").json()
    assert both == {"model_version_status": [{"version": "2", **one}, {"version": "1", **one}]}
    for path in ("versions/1", "labels/stable"):
        answer = arithmetic.get(f"/v1/models/sums/{path}").json()
        assert answer == {"model_version_status": [{"version": "1", **one}]}
    assert arithmetic.get("/v1/models/sums/versions/9").status_code == 404
    described = arithmetic.get("/v1/models/sums/versions/1/metadata").json()
    assert described["model_spec"] == {"name": "sums", "signature_name": "", "version": "1"}
    assert described["metadata"]["signature_def"]["signature_def"]["sum"]["inputs"]["a"] == {
        "dtype": "DT_INT32",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
        "name": "",
    }


def test_a_version_that_goes_away_meanwhile_is_followed(gateway: httpx.Client, model_server: ColourServer) -> None:
    for version in range(1, 30):
        model_server.models["sums"] = {version: Arithmetic()}  # type: ignore[dict-item]
        answer = post(gateway, {"inputs": [[1, 2]]})
        assert (answer.status_code, answer.headers.get("x-model-version")) == (200, str(version))
