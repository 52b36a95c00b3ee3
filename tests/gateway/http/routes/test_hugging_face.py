"""What Hugging Face's clients send and expect; tests/ecosystem runs the clients themselves."""

from __future__ import annotations

import base64
from collections.abc import Callable

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo

PATH = "/hf/models/colours"


def in_json(image: bytes, **parameters: object) -> dict[str, object]:
    return {"inputs": base64.b64encode(image).decode(), "parameters": parameters}


@pytest.mark.parametrize("media_type", ["image/png", "application/octet-stream", None])
def test_an_image_as_the_body_is_answered_with_a_list_of_labels(gateway: httpx.Client, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}
    answer = gateway.post(PATH, content=photo("green"), headers=headers)
    assert answer.status_code == 200, answer.text
    assert [one.keys() for one in answer.json()] == [{"label", "score"}] * 3
    assert answer.json()[0]["label"] == "green"
    assert 0.5 < answer.json()[0]["score"] < 1
    assert answer.headers["x-model-version"] == "1"
    assert answer.headers["cache-control"] == "no-store"


def test_top_k_in_json_sets_the_number_of_labels(gateway: httpx.Client) -> None:
    for top_k, count in ((1, 1), (2, 2), (9, 3), (None, 3)):
        answer = gateway.post(PATH, json=in_json(photo("red"), top_k=top_k, function_to_apply=None))
        assert [one["label"] for one in answer.json()][:1] == ["red"], answer.text
        assert len(answer.json()) == count
    assert len(gateway.post(PATH, json={**in_json(photo("red")), "parameters": None}).json()) == 3


def test_the_size_of_an_image_in_json_is_that_of_the_image(gateway: httpx.Client) -> None:
    assert gateway.post(PATH, json=in_json(photo("red"))).status_code == 200
    text = gateway.get("/metrics").text
    assert f'gateway_image_bytes_total{{model="colours"}} {float(len(photo("red")))}' in text


def test_json_is_recognised_whatever_its_media_type_and_white_space(gateway: httpx.Client) -> None:
    text = b"\xef\xbb\xbf \n" + httpx.Request("POST", "http://x", json=in_json(photo("blue"), top_k=1)).read()
    for media_type in ("application/json", "application/octet-stream"):
        answer = gateway.post(PATH, content=iter([text[:1], text[1:]]), headers={"content-type": media_type})
        assert [one["label"] for one in answer.json()] == ["blue"], answer.text


def test_the_address_selects_a_version(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"][2] = ColourModel()
    answer = gateway.post(f"{PATH}?version=1", content=photo("red"))
    assert answer.headers["x-model-version"] == "1"


def test_the_score_of_an_unknown_image_is_listed_all_the_same(
    model_server: ColourServer, start: Callable[..., httpx.Client]
) -> None:
    model_server.models["colours"] = {1: ColourModel(threshold=1.0)}
    assert start().post(PATH, content=photo("red")).json()[0]["label"] == "red"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"top_k": 0}, "top_k must be a whole number of at least 1."),
        ({"top_k": True}, "top_k must be a whole number of at least 1."),
        ({"top_k": 10**9}, "top_k must be at most 1000."),
        (
            {"function_to_apply": "softmax"},
            "function_to_apply is not supported: scores are returned as the model computes them.",
        ),
        ({"threshold": 0.5}, "The parameter 'threshold' is not supported. The only parameter is top_k."),
    ],
)
def test_a_parameter_that_is_not_offered_is_named(
    gateway: httpx.Client, parameters: dict[str, object], message: str
) -> None:
    answer = gateway.post(PATH, json=in_json(photo("red"), **parameters))
    assert (answer.status_code, answer.json()) == (400, {"error": message})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b'{"inputs": 7}', 400),
        (b'{"inputs": "AA==", "parameters": [1]}', 400),
        (b'{"inputs": "AA=="}', 415),
        (b"not an image", 415),
        (photo("red")[:80], 422),
        (b"", 400),
    ],
)
def test_errors_have_the_form_that_the_clients_read(gateway: httpx.Client, body: bytes, status: int) -> None:
    answer = gateway.post(PATH, content=body, headers={"content-type": "application/octet-stream"})
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]


def test_an_unknown_model_is_not_found(gateway: httpx.Client) -> None:
    answer = gateway.post("/hf/models/nope", content=photo("red"))
    assert (answer.status_code, answer.json()) == (404, {"error": "The model 'nope' does not exist."})


def test_a_body_over_a_limit_is_refused_before_its_json_is_read(start: Callable[..., httpx.Client]) -> None:
    gateway = start(image_rate_limit="1/year", max_batch_images=1)
    assert gateway.post(PATH, content=b'{"inputs": 7}').status_code == 400
    answer = gateway.post(PATH, content=b'{"inputs": 7}')
    assert answer.status_code == 429, answer.text
    assert "images" in answer.json()["error"]
