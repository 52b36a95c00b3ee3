from __future__ import annotations

import base64
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until

Start = Callable[..., httpx.Client]


@pytest.mark.parametrize("field", ["dog_image", "image", "file"])
@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_a_photo_in_a_form_is_answered_with_its_label(gateway: httpx.Client, field: str, colour: str) -> None:
    answer = gateway.post("/api/v1/predict_breed", files={field: ("a.png", photo(colour), "image/png")})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["breed"] == colour
    assert body["confidence"] == body["predictions"][0]["score"] > 0.5
    assert body["model"] == {"name": "colours", "version": 1}
    assert answer.headers["x-model-version"] == "1"


@pytest.mark.parametrize("media_type", ["image/png", "application/octet-stream", None])
def test_the_image_itself_may_be_the_body(gateway: httpx.Client, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}
    answer = gateway.post("/api/v1/predict_breed", content=photo("blue"), headers=headers)
    assert answer.json()["breed"] == "blue"


def test_any_served_model_answers_under_its_name_with_a_label(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["others"] = {4: ColourModel(("green", "blue", "red"))}
    answer = gateway.post("/api/v1/models/others/predict", files={"image": photo("green")}).json()
    assert answer["label"] == "green"
    assert answer["model"] == {"name": "others", "version": 4}
    assert "breed" not in answer


def test_top_k_limits_the_predictions_and_they_come_best_first(gateway: httpx.Client) -> None:
    everything = gateway.post("/api/v1/predict_breed", content=photo("green")).json()["predictions"]
    scores = [one["score"] for one in everything]
    assert len(everything) == 3
    assert scores == sorted(scores, reverse=True)
    two = gateway.post("/api/v1/predict_breed?top_k=2", content=photo("green")).json()["predictions"]
    assert two == everything[:2]


def test_a_limit_of_top_k_under_its_default_holds_however_a_request_is_read(start: Start) -> None:
    gateway = start(max_top_k=2)
    for path in ("/api/v1/predict_breed", "/api/v1/models/colours/predict", "/api/v1/predict_breed/explain"):
        # Without any parameter the first two are not read by FastAPI.
        for query in ("", "?version=1", "?version=1&top_k=2"):
            answer = gateway.post(f"{path}{query}", content=photo())
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["predictions"]) == 2, f"{path}{query}"
    encoded = base64.b64encode(photo()).decode()
    body = {"inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [1], "data": [encoded]}]}
    assert gateway.post("/v2/models/colours/infer", json=body).json()["outputs"][0]["shape"] == [1, 2]
    described = gateway.get("/openapi.json").json()["paths"]["/api/v1/predict_breed"]["post"]["parameters"]
    [limits] = [one["schema"] for one in described if one["name"] == "top_k"]
    assert (limits["default"], limits["maximum"]) == (2, 2)


def test_a_score_under_the_threshold_is_no_breed_but_still_has_predictions(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {2: ColourModel(threshold=0.6)}
    answer = gateway.post("/api/v1/predict_breed", content=photo("grey")).json()
    assert answer["breed"] is None
    assert len(answer["predictions"]) == 3
    assert gateway.post("/api/v1/predict_breed", content=photo("red")).json()["breed"] == "red"


def test_what_is_no_label_is_unknown_and_named_by_what_it_looks_like(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {2: ColourModel(("red", "green"), threshold=0.5, other_labels=("blue",))}
    files = [("images", ("a.png", photo(colour), "image/png")) for colour in ("blue", "green")]
    blue, green = gateway.post("/api/v1/predict_breed/batch", files=files).json()["results"]
    assert (blue["breed"], blue["looks_like"]) == (None, "blue")
    assert {one["label"] for one in blue["predictions"]} == {"red", "green"}
    assert (green["breed"], green["looks_like"]) == ("green", None)
    for path, name in (
        ("predict_breed/explain", "breed"),
        ("models/colours/explain", "label"),
        ("models/colours/predict", "label"),
    ):
        answer = gateway.post(f"/api/v1/{path}", content=photo("blue")).json()
        assert (answer[name], answer["looks_like"]) == (None, "blue")
    # Neither red nor green has half of the light, and both together have two thirds.
    assert gateway.post("/api/v1/predict_breed", content=photo("grey")).json()["breed"] in {"red", "green"}


def test_a_model_with_label_sets_names_the_labels_that_one_of_is_true(start: Start, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(least_set_score=0.3, threshold=0.34)}
    gateway = start()

    def answer(*colour: int) -> dict[str, object]:
        stream = io.BytesIO()
        Image.new("RGB", (20, 20), colour).save(stream, "PNG")
        body: dict[str, object] = gateway.post("/api/v1/predict_breed", content=stream.getvalue()).json()
        return body

    assert answer(200, 0, 0)["label_set"] == ["red"]
    several = answer(90, 100, 10)
    assert several["label_set"] == ["green", "red"]
    assert several["breed"] == "green"
    unknown = answer(100, 100, 100)
    assert unknown["breed"] is None
    assert "label_set" not in unknown
    assert gateway.post("/api/v1/predict_breed/explain", content=photo("red")).json()["label_set"] == ["red"]
    model_server.models["sure"] = {1: ColourModel(least_set_score=1.0)}
    assert gateway.post("/api/v1/models/sure/predict", content=photo("red")).json()["label_set"] == []
    model_server.models["none"] = {1: ColourModel()}
    assert "label_set" not in gateway.post("/api/v1/models/none/predict", content=photo("red")).json()


def test_a_version_can_be_asked_for_by_number_and_by_label(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(), 2: ColourModel(("blue", "red", "green"))}
    model_server.labels["colours", "stable"] = 1
    for query, version in (("", 2), ("?version=1", 1), ("?version=2", 2), ("?version_label=stable", 1)):
        answer = gateway.post(f"/api/v1/predict_breed{query}", content=photo("green")).json()
        assert (answer["breed"], answer["model"]["version"]) == ("green", version), query


def test_a_label_that_moves_is_followed(start: Start, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(), 2: ColourModel(("blue", "red", "green"))}
    model_server.labels["colours", "canary"] = 1
    gateway = start()

    def version() -> object:
        answer = gateway.post("/api/v1/predict_breed?version_label=canary", content=photo("red")).json()
        assert answer["breed"] == "red"
        return answer["model"]["version"]

    assert version() == 1
    model_server.labels["colours", "canary"] = 2
    for _ in range(1000):
        if version() == 2:
            return
    pytest.fail("the label's new version was never used")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/api/v1/models/nope/predict", "unknown_model"),
        ("/api/v1/models/nope/predict?version=1", "unknown_model"),
        ("/api/v1/models/nope/predict?version_label=stable", "unknown_model"),
        ("/api/v1/predict_breed?version=77", "unknown_version"),
        ("/api/v1/predict_breed?version_label=nope", "unknown_version"),
        ("/api/v1/nowhere", "not_found"),
    ],
)
def test_what_is_not_served_is_404_and_says_what_is_missing(gateway: httpx.Client, path: str, code: str) -> None:
    answer = gateway.post(path, content=photo())
    assert (answer.status_code, answer.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    "query",
    [
        *("top_k=0", "top_k=-1", "top_k=x", "top_k=1001"),
        *("version=-1", "version=x", f"version={2**63}", "version_label=", "version=1&version_label=stable"),
    ],
)
def test_a_parameter_out_of_range_is_422_with_the_one_body(gateway: httpx.Client, query: str) -> None:
    answer = gateway.post(f"/api/v1/predict_breed?{query}", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize("name", [".hidden", "a%20b", "a%0A", "x" * 129])
def test_a_model_of_a_name_that_no_model_has_is_422_without_any_parameter(gateway: httpx.Client, name: str) -> None:
    answer = gateway.post(f"/api/v1/models/{name}/predict", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"hello", 415, "unsupported_image"),
        (b"%PDF-1.7 ...", 415, "unsupported_image"),
        (photo()[:-40], 422, "invalid_image"),
        (photo(size=(300, 200), encoding="JPEG")[:500], 422, "invalid_image"),
    ],
)
def test_what_is_no_good_image_never_reaches_the_model_server(
    gateway: httpx.Client, model_server: ColourServer, content: bytes, status: int, code: str
) -> None:
    answer = gateway.post("/api/v1/predict_breed", files={"image": content})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert model_server.batch_sizes == []


def test_an_image_with_too_many_pixels_is_refused(start: Start) -> None:
    answer = start(max_image_pixels=700).post("/api/v1/predict_breed", content=photo(size=(40, 40)))
    assert (answer.status_code, answer.json()["code"]) == (422, "image_too_large")


def test_the_request_id_goes_through_to_the_model_server(gateway: httpx.Client, model_server: ColourServer) -> None:
    answer = gateway.post("/api/v1/predict_breed", content=photo(), headers={"x-request-id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    assert "abc-123" in model_server.request_ids
    strange = gateway.get("/healthz", headers={"x-request-id": "a b\tc"}).headers["x-request-id"]
    assert strange != "a b\tc"


def test_more_images_than_the_gateway_takes_are_429_at_once(start: Start, model_server: ColourServer) -> None:
    gateway = start(max_images_in_flight=4, max_batch_images=4)
    assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200
    model_server.stalled.set()
    with ThreadPoolExecutor(12) as pool:
        pending = [pool.submit(gateway.post, "/api/v1/predict_breed", content=photo()) for _ in range(12)]
        until(lambda: sum(one.done() for one in pending) == 8)
        refused = [one for one in pending if one.done()]
        model_server.stalled.clear()
        statuses = [one.result().status_code for one in pending]
    assert len(refused) == statuses.count(429) == 8
    assert statuses.count(200) == 4
    assert all("retry-after" in one.result().headers for one in refused)
    assert gateway.post("/api/v1/predict_breed", content=photo()).status_code == 200
