"""`evaluate --url`: models that a gateway serves, also those that say nothing about themselves."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

from gateway.pb.serving_pb2 import DataType
from testing.colour_scores import COLOURS, colour_scores
from testing.colour_server import ColourModel, ColourServer, ForeignModel
from testing.gateway import gateways
from testing.photos import photo
from tests.gateway.conftest import patience
from trainer.prediction import remote
from trainer.prediction.sources import Photo

__all__ = ["patience"]

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of three colours, one of them in the folder of another colour, and a file that is damaged."""
    for at, colour in enumerate((*COLOURS, COLOURS[0])):
        folder = tmp_path / "photos" / (COLOURS[1] if at == len(COLOURS) else colour)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(3 if at < len(COLOURS) else 1):
            (folder / f"{at}-{number}.png").write_bytes(photo(colour))
    (tmp_path / "photos" / COLOURS[0] / "cut.jpg").write_bytes(photo(COLOURS[0], encoding="JPEG")[:200])
    return tmp_path / "photos"


FOREIGN = ForeignModel(
    {"x": (DataType.DT_FLOAT, (-1, 8, 8, 3))},
    {"y": (DataType.DT_FLOAT, (-1, 3))},
    lambda images: colour_scores(np.asarray(images, np.float32)),
)


def test_models_with_and_without_a_card_are_evaluated_through_a_gateway(
    photos: Path, trainer: Trainer, tmp_path: Path
) -> None:
    server = ColourServer(models={"described": {1: ColourModel(threshold=0.5)}, "foreign": {1: FOREIGN}})
    options = {"foreign": {"labels": list(COLOURS), "unknown_threshold": 0.5}}
    with server.serving(), gateways(server.address) as start:
        url = str(start(default_model="foreign", models="described", model_options=options).base_url)
        for model in ("described/1", "foreign"):
            output = tmp_path / model
            status, out, error = trainer("evaluate", model, photos, "--output", output, "--url", url)
            assert status == 0, error
            assert "10 photos: accuracy 0.900" in out
            assert "threshold 0.5: 0.000" in out
            assert "cut.jpg: The JPEG image is truncated" in out
            lines = [json.loads(line) for line in (output / "predictions.jsonl").read_text().splitlines()]
            assert len(lines) == 11
            page = (output / "report.html").read_text()
            assert "through a gateway" in page
            assert "<span class='muted'>version 1</span>" in page
            for unknown in ("Backbone", "exported", "unknown time", "<td>float32</td>", "<td>libraries</td>"):
                assert unknown not in page, unknown
        status, _, error = trainer("evaluate", "foreign", photos, "--url", url, "--signature", "serving_default")
        assert (status, "--signature does not work with --url" in error) == (1, True)


def test_a_model_whose_labels_or_thresholds_are_not_known_is_refused(
    photos: Path, trainer: Trainer, tmp_path: Path
) -> None:
    server = ColourServer(models={"foreign": {1: FOREIGN}})
    options = {"foreign": {"labels": list(COLOURS), "multi_label": True}}
    with server.serving(), gateways(server.address) as start:
        url = str(start(default_model="foreign", model_options=options).base_url)
        status, _, error = trainer("evaluate", "foreign", photos, "--output", tmp_path, "--url", url)
    assert (status, "several labels for a photo, and no model card" in error) == (1, True), error


def test_photos_of_other_things_are_sent_again_if_the_gateway_is_busy(
    photos: Path, trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ColourServer(models={"colours": {1: ColourModel(threshold=0.5)}})
    answers, pause, rounds = remote.RemoteModel.answers, remote._seconds, []

    def busy_in_the_second_round(model: remote.RemoteModel, sent: Iterator[Photo]) -> Iterator[object]:
        rounds.append(sent)
        if len(rounds) == 2:
            server.refusal = (grpc.StatusCode.UNAVAILABLE, "starting")
        return answers(model, sent)

    def over(text: str | None) -> float | None:
        server.refusal = None
        return min(pause(text) or 0.0, 0.1)

    monkeypatch.setattr(remote.RemoteModel, "answers", busy_in_the_second_round)
    monkeypatch.setattr(remote, "_seconds", over)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "grey.png").write_bytes(photo("grey"))
    command = ("evaluate", "colours", photos, "--unknown", tmp_path / "others", "--output", tmp_path / "out", "--url")
    with server.serving(), gateways(server.address) as start:
        url = str(start().base_url)
        status, out, error = trainer(*command, url)
        assert (status, server.refusal) == (0, None), error
        assert "1 photos of other things" in out
        server.refusal = (grpc.StatusCode.UNAVAILABLE, "starting")
        status, _, error = trainer(*command, url, "--patience", "0")
        assert status == 1
        assert "gave up after 0 s; --patience waits longer; the same command starts with the first photo again" in error
        assert "resume" not in error


def test_a_card_with_only_what_the_gateway_needs_is_used(photos: Path, trainer: Trainer, tmp_path: Path) -> None:
    shutil.rmtree(photos / COLOURS[2])  # which the model takes for another thing
    described = ColourModel(COLOURS[:2], threshold=0.5, other_labels=COLOURS[2:], least_set_score=0.2)
    several = ColourModel(thresholds=(0.5, 0.5, 0.5))
    bare = ColourModel(words={"label_sets": {"least_score": 0.2}})  # a set of no certain coverage
    models = {"colours": described, "several": several, "bare": bare, "odd": OddModel()}
    server = ColourServer(models={name: {7: model} for name, model in models.items()})
    with server.serving(), gateways(server.address) as start:
        command = ("--output", tmp_path / "out", "--url", str(start(models="several,bare,odd").base_url))
        status, out, error = trainer("evaluate", "colours", photos, *command)
        assert status == 0, error
        evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
        assert evaluation["label_sets"]["least_score"] == 0.2
        page = (tmp_path / "out" / "report.html").read_text()
        assert "A photo is unknown if its sum of scores is below 0.5" in page
        assert "<span class='muted'>version 7</span>" in page
        status, out, error = trainer("evaluate", "several", photos, *command)
        assert (status, "mean average precision" in out) == (0, True), error
        status, _, error = trainer("evaluate", "bare", photos, *command)
        assert status == 0, error
        status, _, error = trainer("evaluate", "odd", photos, *command)
        assert (status, "the model card of odd, as the gateway returns it, cannot be read" in error) == (1, True), error


@dataclass(frozen=True)
class OddModel(ColourModel):
    """A model with a card of another schema, which the gateway does not look at."""

    def card(self) -> dict[str, object]:
        return {**super().card(), "schema": 99}


def test_a_model_with_more_labels_than_the_gateway_returns_is_refused(
    photos: Path, trainer: Trainer, tmp_path: Path
) -> None:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving(), gateways(server.address) as start:
        url = str(start(max_top_k=2).base_url)
        status, _, error = trainer("evaluate", "colours", photos, "--output", tmp_path, "--url", url)
    assert status == 1
    assert "needs the scores of all 3 labels of colours: set max_top_k of the gateway to 3 or more" in error
