"""Embeddings: of one photo and of many, with the checks and errors of predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from gateway.inference.worker_pools import ImageWorkers
from gateway.pb import serving_pb2 as pb
from gateway.workers.messages import Message
from testing.colour_scores import colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.photos import RGB, photo
from testing.polling import until

Start = Callable[..., httpx.Client]

EMBED = "/api/v1/models/colours/embed"
BATCH = "/api/v1/models/colours/embed_batch"


def expected(colour: str) -> list[float]:
    [shares] = colour_scores(np.full((1, 8, 8, 3), RGB[colour], np.uint8)).tolist()
    return [share / np.linalg.norm(shares) for share in shares]


def form(*photos: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{number}.png", content)) for number, content in enumerate(photos)]


def test_one_photo_has_an_embedding_of_length_one(gateway: httpx.Client) -> None:
    answer = gateway.post(EMBED, content=photo("red"))
    assert answer.status_code == 200
    assert answer.json() == {
        "embedding": pytest.approx(expected("red"), abs=2e-6),
        "model": {"name": "colours", "version": 1},
    }
    assert np.linalg.norm(answer.json()["embedding"]) == pytest.approx(1, abs=1e-5)
    assert answer.headers["X-Model-Version"] == "1"
    assert "predict" in answer.headers["Server-Timing"]


def test_a_photo_that_fails_keeps_its_place_in_a_batch(gateway: httpx.Client) -> None:
    sent = form(photo("red"), b"hello", photo("blue"), photo("green", encoding="JPEG")[:150])
    answer = gateway.post(BATCH, files=sent)
    assert answer.status_code == 200
    red, text, blue, cut = answer.json()["results"]
    assert red == {"embedding": pytest.approx(expected("red"), abs=2e-6), "filename": "0.png"}
    assert blue == {"embedding": pytest.approx(expected("blue"), abs=2e-6), "filename": "2.png"}
    assert (text["error"]["code"], text["filename"]) == ("unsupported_image", "1.png")
    assert cut["error"]["code"] == "invalid_image"
    assert answer.json()["model"] == {"name": "colours", "version": 1}


def test_a_batch_is_sent_in_few_calls(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    run = ImageWorkers.run

    async def counted(workers: ImageWorkers, job: str, *arguments: Any) -> Message:
        answer = await run(workers, job, *arguments)
        decoded.append(job)
        return answer

    class Slow(ColourModel):
        """Answers the first embedding once all photos are decoded."""

        def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
            if name == "embed":
                until(lambda: len(decoded) >= 12)
            return super().predict(name, inputs)

    monkeypatch.setattr(ImageWorkers, "run", counted)
    model_server.models["colours"] = {1: Slow()}
    gateway = start(max_images_per_server=1)  # so one call of a batch at a time
    assert len(gateway.post(BATCH, files=form(*[photo()] * 12)).json()["results"]) == 12
    assert sum(model_server.batch_sizes) == 12
    assert len(model_server.batch_sizes) < 12


def test_errors_and_limits_are_those_of_predictions(start: Start, model_server: ColourServer) -> None:
    gateway = start(max_batch_images=2, max_upload_bytes=10_000)
    assert gateway.post(EMBED, content=b"hello").json()["code"] == "unsupported_image"
    assert gateway.post(EMBED, content=bytes(20_000)).status_code == 413
    assert gateway.post(BATCH, files=form(*[photo()] * 3)).status_code == 413
    assert gateway.post("/api/v1/models/nothing/embed", content=photo()).json()["code"] == "unknown_model"
    assert gateway.post(EMBED, params={"version": 9}, content=photo()).json()["code"] == "unknown_version"
    model_server.refusal = (grpc.StatusCode.UNAVAILABLE, "starting")
    answer = gateway.post(EMBED, content=photo())
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "Retry-After" in answer.headers


def test_a_version_is_chosen_as_for_predictions(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"][2] = ColourModel()
    model_server.labels["colours", "stable"] = 1
    assert gateway.post(EMBED, params={"version_label": "stable"}, content=photo()).json()["model"]["version"] == 1
    assert gateway.post(BATCH, params={"version": 2}, files=form(photo())).json()["model"]["version"] == 2


def test_a_model_without_embeddings_says_so(gateway: httpx.Client, model_server: ColourServer) -> None:
    assert gateway.get("/api/v1/models/colours").json()["embeds"]
    model_server.models["colours"] = {2: ColourModel(embeds=False)}
    answer = gateway.post(EMBED, params={"version": 2}, content=photo())
    assert (answer.status_code, answer.json()["code"]) == (404, "signature_missing")
    assert "has no embeddings: it lacks the signature 'embed'" in answer.json()["detail"]
    assert not gateway.get("/api/v1/models/colours", params={"version": 2}).json()["embeds"]


def test_images_are_counted_against_the_rate_limit(start: Start) -> None:
    gateway = start(image_rate_limit="4/year", max_batch_images=4)
    assert gateway.post(BATCH, files=form(*[photo()] * 3)).status_code == 200
    assert gateway.post(BATCH, files=form(*[photo()] * 3)).json()["code"] == "rate_limited"


def test_what_is_not_an_embedding_is_not_passed_on(gateway: httpx.Client, model_server: ColourServer) -> None:
    class Broken(ColourModel):
        def predict(self, name: str, inputs: object) -> dict[str, pb.Tensor]:
            answer = super().predict(name, inputs)  # type: ignore[arg-type]
            if name == "embed":
                values = np.frombuffer(answer["embedding"].tensor_content, np.float32) * np.nan
                answer["embedding"].tensor_content = values.tobytes()
            return answer

    model_server.models["colours"] = {3: Broken()}
    answer = gateway.post(EMBED, params={"version": 3}, content=photo())
    assert (answer.status_code, answer.json()["code"]) == (502, "model_server_failed")
    assert "embeddings that are not numbers" in answer.json()["detail"]


def test_a_foreign_model_has_no_embeddings(gateway: httpx.Client, model_server: ColourServer) -> None:
    images = {"x": (pb.DataType.DT_FLOAT, (-1, 8, 8, 3))}
    scores = {"y": (pb.DataType.DT_FLOAT, (-1, 3))}
    model_server.models["foreign"] = {1: ForeignModel(images, scores, lambda x: colour_scores(255 * x))}
    assert gateway.post("/api/v1/models/foreign/embed", content=photo()).json()["code"] == "signature_missing"
