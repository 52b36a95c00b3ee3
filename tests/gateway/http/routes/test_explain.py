from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from gateway.images import Target
from gateway.inference.explainer import covered
from testing.colour_scores import colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.photos import photo

Start = Callable[..., httpx.Client]

EXPLAIN = "/api/v1/models/colours/explain"
SPOT = (0.30, 0.55)
"""Where the one red place of the test photo is, in fractions of its upright width and height."""


def spotted(size: tuple[int, int], orientation: int = 1) -> bytes:
    """A dark photo with one red spot, stored as the EXIF orientation wants it."""
    width, height = size
    image = Image.new("RGB", size, (10, 10, 10))
    x, y, radius = SPOT[0] * width, SPOT[1] * height, min(size) * 0.08
    image.paste((255, 0, 0), (round(x - radius), round(y - radius), round(x + radius), round(y + radius)))
    if orientation == 6:
        image = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def hottest(answer: dict[str, object]) -> tuple[float, float]:
    """Where the heat map's centre of gravity lies, in fractions of the upright photo."""
    heatmap = answer["heatmap"]
    assert isinstance(heatmap, dict)
    values, box = np.array(heatmap["values"]), heatmap["box"]
    rows, columns = values.shape
    x = float((values.sum(axis=0) * (np.arange(columns) + 0.5)).sum() / values.sum() / columns)
    y = float((values.sum(axis=1) * (np.arange(rows) + 0.5)).sum() / values.sum() / rows)
    return box["left"] + x * (box["right"] - box["left"]), box["top"] + y * (box["bottom"] - box["top"])


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300), (240, 240)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_heat_lies_where_the_colour_is_in_the_upright_photo(
    gateway: httpx.Client, model_server: ColourServer, fit: str, size: tuple[int, int], orientation: int
) -> None:
    model_server.models["colours"] = {2: ColourModel(height=32, width=24, fit=fit)}
    answer = gateway.post(EXPLAIN, params={"version": 2}, content=spotted(size, orientation)).json()
    assert answer["label"] == "red"
    assert answer["model"] == {"name": "colours", "version": 2}
    assert hottest(answer) == pytest.approx(SPOT, abs=0.03)


def test_the_answer_is_that_of_a_prediction(gateway: httpx.Client) -> None:
    sent = spotted((200, 150))
    explained = gateway.post("/api/v1/predict_breed/explain", params={"top_k": 2}, content=sent)
    predicted = gateway.post("/api/v1/predict_breed", params={"top_k": 2}, content=sent)
    assert explained.headers["x-model-version"] == "1"
    assert {key: value for key, value in explained.json().items() if key != "heatmap"} == predicted.json()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_the_picture_is_the_upright_photo_with_heat_on_the_spot(
    gateway: httpx.Client, model_server: ColourServer, fit: str
) -> None:
    model_server.models["colours"] = {2: ColourModel(height=32, width=24, fit=fit)}
    sent = spotted((1200, 900), orientation=6)
    answer = gateway.post(EXPLAIN, params={"format": "png", "version": 2}, content=sent)
    assert answer.headers["content-type"] == "image/png"
    painted = Image.open(io.BytesIO(answer.content))
    assert painted.size == (768, 576)
    yellow, blue = np.array([250, 110, 5]), np.array([12, 20, 60])
    spot = np.array(painted.getpixel((round(SPOT[0] * 768), round(SPOT[1] * 576))))
    corner = np.array(painted.getpixel((5, 5)))
    assert abs(spot - yellow).max() < 40
    assert abs(corner - blue).max() < 20


def test_a_model_without_heat_maps_says_so(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"] = {2: ColourModel(explains=False)}
    answer = gateway.post(EXPLAIN, params={"version": 2}, content=photo())
    assert (answer.status_code, answer.json()["code"]) == (404, "signature_missing")
    assert not gateway.get("/api/v1/models/colours", params={"version": 2}).json()["explains"]


def test_a_model_without_a_card_gives_no_heat_map(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["foreign"] = {1: ForeignModel({"x": (4, (-1, 8, 8, 3))}, {"y": (1, (-1, 3))}, colour_scores)}
    answer = gateway.post("/api/v1/models/foreign/explain", content=photo())
    assert (answer.status_code, answer.json()["code"]) == (404, "signature_missing")


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"not an image", 415, "unsupported_image"), (photo()[:60], 422, "invalid_image"), (b"", 400, "bad_request")],
)
def test_an_upload_that_is_no_photo_is_refused_as_in_a_prediction(
    gateway: httpx.Client, content: bytes, status: int, code: str
) -> None:
    answer = gateway.post(EXPLAIN, content=content)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_version_that_goes_away_is_followed(gateway: httpx.Client, model_server: ColourServer) -> None:
    assert gateway.post(EXPLAIN, content=photo("red")).json()["model"]["version"] == 1
    model_server.models["colours"] = {2: replace(ColourModel(), labels=("blue", "red", "green"), height=16, width=16)}
    answer = gateway.post(EXPLAIN, content=photo("red")).json()
    assert (answer["label"], answer["model"]["version"]) == ("red", 2)
    assert len(answer["heatmap"]["values"]) == 16


@pytest.mark.parametrize(
    ("size", "fit", "box"),
    [
        ((200, 100), "crop", (0.25, 0, 0.75, 1)),
        ((100, 400), "crop", (0, 0.375, 1, 0.625)),
        ((200, 100), "pad", (0, -0.5, 1, 1.5)),
        ((100, 400), "pad", (-1.5, 0, 2.5, 1)),
        ((123, 45), "squash", (0, 0, 1, 1)),
    ],
)
def test_the_map_covers_what_the_model_was_shown(
    size: tuple[int, int], fit: str, box: tuple[float, float, float, float]
) -> None:
    area = covered(size, Target(64, 64, fit))  # type: ignore[arg-type]
    assert (area.left, area.top, area.right, area.bottom) == pytest.approx(box)
