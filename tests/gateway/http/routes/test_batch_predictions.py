"""Several images in one request."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from gateway.inference.classifier import RANKED_AT_ONCE
from gateway.pb import serving_pb2 as pb
from testing.colour_scores import COLOURS, colour_scores
from testing.colour_server import ColourServer, ForeignModel
from testing.photos import photo

Start = Callable[..., httpx.Client]


def test_files_of_a_batch_are_answered_in_order_and_a_bad_one_fails_alone(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    contents = {"a.png": photo("red"), "b.png": b"no image", "c.png": photo("blue"), "d.png": photo("green")}
    files = [("images", (name, content)) for name, content in contents.items()]
    answer = gateway.post("/api/v1/predict_breed/batch", files=files)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [one["filename"] for one in results] == list(contents)
    assert [one.get("breed") for one in results] == ["red", None, "blue", "green"]
    assert results[1]["error"]["code"] == "unsupported_image"
    assert "predictions" not in results[1]
    assert sum(model_server.batch_sizes) == 3


def test_a_batch_goes_out_in_requests_of_a_bounded_size(start: Start, model_server: ColourServer) -> None:
    gateway = start(max_predict_batch_size=4)
    colours = ["red", "green", "blue"] * 3 + ["red"]
    files = [("files", (f"{index}.png", photo(colour))) for index, colour in enumerate(colours)]
    answer = gateway.post("/api/v1/models/colours/predict_batch", files=files).json()
    assert [one["label"] for one in answer["results"]] == colours
    assert sum(model_server.batch_sizes) == 10
    assert max(model_server.batch_sizes) <= 4


def test_photos_that_are_large_as_tensors_go_out_in_requests_of_a_bounded_size(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    side = 400  # 1.9 MB as float32; this server takes messages of 4 MiB
    shape = (-1, side, side, 3)
    model_server.models["large"] = {
        1: ForeignModel({"x": (pb.DataType.DT_FLOAT, shape)}, {"y": (pb.DataType.DT_FLOAT, (-1, 3))}, colour_scores)
    }
    colours = ["red", "green", "blue", "green", "red"]
    files = [("files", (f"{index}.png", photo(colour))) for index, colour in enumerate(colours)]
    answer = gateway.post("/api/v1/models/large/predict_batch", files=files).json()
    assert [COLOURS[int(one["label"])] for one in answer["results"]] == colours
    assert sum(model_server.batch_sizes) == 5


def test_every_image_of_a_large_batch_has_its_own_answer_in_its_place(gateway: httpx.Client) -> None:
    colours = [COLOURS[index * 7 % 3] for index in range(RANKED_AT_ONCE * 3)]
    contents = [photo(colour) for colour in colours]
    contents[5] = b"no image"
    files = [("files", (f"{index}.png", content)) for index, content in enumerate(contents)]
    results = gateway.post("/api/v1/models/colours/predict_batch", files=files).json()["results"]
    assert results[5]["error"]["code"] == "unsupported_image"
    assert [one.get("label") for one in results] == [*colours[:5], None, *colours[6:]]


def test_a_batch_of_bad_files_only_is_answered_without_asking_the_model(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    answer = gateway.post("/api/v1/predict_breed/batch", files=[("images", ("x", b"x")), ("images", ("y", b""))])
    assert answer.status_code == 200
    assert [one["error"]["status"] for one in answer.json()["results"]] == [415, 422]
    assert model_server.batch_sizes == []


def test_more_images_than_a_batch_may_have_are_refused(start: Start) -> None:
    files = [("images", (f"{index}.png", photo())) for index in range(3)]
    answer = start(max_batch_images=2).post("/api/v1/predict_breed/batch", files=files)
    assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
