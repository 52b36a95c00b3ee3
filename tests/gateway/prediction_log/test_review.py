"""The review, seen from outside: over HTTP, in the files, and by `breed collect`."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pydantic import ValidationError

from gateway.prediction_log.records import RECORD, Feedback
from gateway.prediction_log.review_index import ReviewIndex
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.prediction_log.written import lines
from trainer.cli import main

Start = Callable[..., httpx.Client]

PREDICT = "/api/v1/models/colours/predict"
PHOTOS = "/api/v1/review/photos"


def hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = f"ann:{hashed('key-of-ann')},bob:{hashed('key-of-bob')}"
ANN, BOB = {"X-API-Key": "key-of-ann"}, {"X-API-Key": "key-of-bob"}


@pytest.fixture
def gateway(start: Start, log: Path) -> httpx.Client:
    """A gateway that keeps all photos and has two reviewers."""
    return start(prediction_log=str(log), prediction_log_photos="all", review_keys=KEYS)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the storage at each request, and leaves decisions where all gateways of this machine read them."""
    monkeypatch.setattr("gateway.prediction_log.review.REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("gateway.prediction_log.review_decisions.SEGMENT_SECONDS", DEADLINE_SECONDS)


def page(gateway: httpx.Client, number: int, **parameters: str) -> list[dict[str, Any]]:
    """The photos of a page, once there are so many."""

    def listed() -> tuple[list[dict[str, Any]]] | None:
        answer = gateway.get(PHOTOS, params={"status": "all", **parameters}, headers=ANN)
        assert answer.status_code == 200, answer.text
        photos = answer.json()["photos"]
        return (photos,) if len(photos) == number else None

    photos = until(listed)
    assert photos is not None
    return photos[0]


def decide(gateway: httpx.Client, digest: object, headers: dict[str, str] = ANN, **body: Any) -> httpx.Response:
    return gateway.post(f"{PHOTOS}/{digest}/decision", json=body, headers=headers)


def classified(gateway: httpx.Client, *colours: str) -> list[str]:
    """Sends photos, each of another size; their digests."""
    contents = [photo(colour, (40 + number, 30)) for number, colour in enumerate(colours)]
    for content in contents:
        assert gateway.post(PREDICT, content=content).status_code == 200
    return [hashlib.sha256(content).hexdigest() for content in contents]


def collected(log: Path, out: Path) -> dict[str, str]:
    """The label of each photo that `breed collect` takes, by digest."""
    assert main(["collect", str(log), str(out)]) == 0
    return {path.stem: path.parent.name for path in out.rglob("*.jpg")}


def test_a_photo_is_listed_with_its_answer_and_can_be_seen(gateway: httpx.Client) -> None:
    [digest] = classified(gateway, "red")
    [one] = page(gateway, 1)
    assert (one["digest"], one["status"], one["decisions"]) == (digest, "open", 0)
    [answer] = one["answers"]
    assert (answer["model"], answer["version"], answer["label"]) == ("colours", 1, "red")
    assert gateway.get(f"{PHOTOS}/{digest}", headers=ANN).json() == one
    image = gateway.get(f"{PHOTOS}/{digest}/image", headers=ANN)
    assert image.headers["cache-control"] == "no-store"
    with Image.open(io.BytesIO(image.content)) as kept:
        assert kept.format == "JPEG"
    body = gateway.get(PHOTOS, headers=ANN).json()
    assert (body["after"], body["labels"], body["counts"]) == (None, {"red": 1}, {"open": 1})
    labels = gateway.get("/api/v1/review/labels", params={"model": "colours"}, headers=ANN).json()
    assert labels == {"labels": ["red", "green", "blue"]}
    unknown = gateway.get("/api/v1/review/labels", params={"model": "others"}, headers=ANN).json()
    assert unknown == {"labels": []}
    assert body["versions"] == [{"model": "colours", "version": 1, "photos": 1}]


def test_what_a_shadow_answered_is_listed(start: Start, model_server: ColourServer, log: Path, tmp_path: Path) -> None:
    model_server.models["colours"] = {1: ColourModel(), 2: ColourModel(threshold=1)}
    shadows = {"colours": {"percent": 100, "version": 2}}
    split = {"colours": {"1": 1}}
    gateway = start(
        prediction_log=str(log),
        prediction_log_photos="all",
        review_keys=KEYS,
        shadows=shadows,
        traffic_split=split,
    )
    [digest] = classified(gateway, "red")
    page(gateway, 1)
    one = until(lambda: (photo := page(gateway, 1)[0])["shadows"] and photo)
    assert one["reasons"] == ["versions"]
    assert one["shadows"] == [{"model": "colours", "version": 2, "label": None, "labels": None, "scores": []}]
    gateway.post("/api/v1/feedback", json={"digest": digest, "model": "colours", "verdict": "right"})
    until(lambda: page(gateway, 1)[0]["feedback"])
    assert collected(log, tmp_path / "out") == {digest: "red"}


def test_decisions_are_records_that_collect_takes(gateway: httpx.Client, log: Path, tmp_path: Path) -> None:
    red, green, blue, other = classified(gateway, "red", "green", "blue", "blue")
    page(gateway, 4)
    assert decide(gateway, red, decision="confirmed", label="red", seen=0).json()["status"] == "reviewed"
    assert decide(gateway, green, decision="relabelled", label="teal", seen=0).status_code == 200
    assert decide(gateway, blue, decision="discarded", seen=0).status_code == 200
    # What a reviewer decides counts more than what anybody says later.
    gateway.post("/api/v1/feedback", json={"digest": red, "model": "colours", "verdict": "wrong", "label": "pink"})
    gateway.post("/api/v1/feedback", json={"digest": blue, "model": "colours", "verdict": "right"})
    gateway.post("/api/v1/feedback", json={"digest": green, "model": "colours", "verdict": "withdrawn"})
    until(lambda: len(lines(log)) == 10)
    written = lines(log)
    reviews = [one for one in map(RECORD.validate_json, written) if isinstance(one, Feedback) and one.review]
    assert [(one.review, one.verdict, one.label, one.key) for one in sorted(reviews, key=lambda one: one.time)] == [
        ("confirmed", "right", "red", "ann"),
        ("relabelled", "wrong", "teal", "ann"),
        ("discarded", "none", None, "ann"),
    ]
    assert not any("key-of-ann" in line or hashed("key-of-ann") in line for line in written)
    assert collected(log, tmp_path / "out") == {red: "red", green: "teal"}
    assert decide(gateway, red, decision="deleted").json() == {"status": "deleted"}
    assert decide(gateway, green, decision="withdrawn", seen=1).json()["status"] == "open"
    assert collected(log, tmp_path / "out") == {}
    assert {one["digest"] for one in page(gateway, 3)} == {green, blue, other}


def test_a_deleted_photo_is_gone_from_every_day_of_the_storage(gateway: httpx.Client, log: Path) -> None:
    [digest] = classified(gateway, "red")
    page(gateway, 1)
    [kept] = until(lambda: list((log / "photos").rglob("*.jpg")))
    other = log / "photos" / "2020-01-01" / kept.name
    other.parent.mkdir()
    other.write_bytes(kept.read_bytes())
    page(gateway, 1)
    assert decide(gateway, digest, decision="deleted", seen=0).json() == {"status": "deleted"}
    assert page(gateway, 0) == []
    assert gateway.get(f"{PHOTOS}/{digest}/image", headers=ANN).status_code == 404
    assert decide(gateway, digest, decision="discarded").json()["code"] == "photo_not_found"
    left = [path.name for path in log.rglob("*.jpg")]
    assert str(other) not in left
    assert kept.name not in [path.name for path in (log / "photos" / kept.parent.name).iterdir()]


def test_nobody_overwrites_what_they_have_not_seen(gateway: httpx.Client) -> None:
    [digest] = classified(gateway, "red")
    page(gateway, 1)
    assert decide(gateway, digest, ANN, decision="confirmed", label="red", seen=0).status_code == 200
    refused = decide(gateway, digest, BOB, decision="relabelled", label="pink", seen=0)
    assert (refused.status_code, refused.json()["code"]) == (409, "review_conflict")
    assert "'confirmed', by ann" in refused.json()["detail"]
    agreed = decide(gateway, digest, BOB, decision="relabelled", label="pink", seen=1).json()
    assert (agreed["status"], agreed["decision"]["label"]) == ("conflicts", "pink")
    assert [one["key"] for one in agreed["reviews"]] == ["ann", "bob"]
    assert [one["digest"] for one in page(gateway, 1, status="conflicts")] == [digest]


def test_of_many_decisions_at_once_one_wins(gateway: httpx.Client) -> None:
    [digest] = classified(gateway, "red")
    page(gateway, 1)
    statuses: list[int] = []

    def race(number: int) -> None:
        answer = decide(gateway, digest, (ANN, BOB)[number % 2], decision="discarded", seen=0)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [409] * 7


def test_gateways_with_one_log_see_the_decisions_of_each_other(start: Start, gateway: httpx.Client, log: Path) -> None:
    other = start(prediction_log=str(log), prediction_log_photos="all", review_keys=KEYS)
    [digest] = classified(gateway, "red")
    page(gateway, 1)
    page(other, 1)
    assert decide(gateway, digest, ANN, decision="confirmed", label="red", seen=0).status_code == 200
    refused = decide(other, digest, BOB, decision="discarded", seen=0)
    assert refused.status_code == 409
    assert decide(other, digest, BOB, decision="discarded", seen=1).json()["status"] == "conflicts"


@pytest.mark.parametrize("usefulness", [1e-06, 0.0, 2.5])
def test_pages_follow_each_other(gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch, usefulness: float) -> None:
    monkeypatch.setattr(ReviewIndex, "_usefulness", lambda *_: usefulness)
    digests = classified(gateway, "red", "green", "blue")
    page(gateway, 3)
    first = gateway.get(PHOTOS, params={"number": 2}, headers=ANN).json()
    second = gateway.get(PHOTOS, params={"number": 2, "after": first["after"]}, headers=ANN).json()
    assert (len(first["photos"]), len(second["photos"]), second["after"]) == (2, 1, None)
    assert {one["digest"] for one in first["photos"] + second["photos"]} == set(digests)


def test_only_review_keys_open_the_review_and_they_open_nothing_else(start: Start, log: Path) -> None:
    gateway = start(prediction_log=str(log), review_keys=KEYS, api_keys=f"api:{hashed('api-key')}")
    none: dict[str, str] = {}
    for headers, status in ((none, 401), ({"X-API-Key": "api-key"}, 401), ({"X-API-Key": "x"}, 401), (ANN, 200)):
        assert gateway.get(PHOTOS, headers=headers).status_code == status
    assert gateway.get("/api/v1/models", headers=ANN).status_code == 401
    assert gateway.get("/api/v1/models", headers={"X-API-Key": "api-key"}).status_code == 200
    assert gateway.get("/review").status_code == 200  # the page contains no data


def test_without_review_keys_there_is_no_review_and_the_api_stays_open(start: Start, log: Path) -> None:
    gateway = start(prediction_log=str(log))
    for path in ("/review", PHOTOS, f"{PHOTOS}/{'0' * 64}/image"):
        assert gateway.get(path, headers=ANN).status_code == 404
    open_api = start(prediction_log=str(log), review_keys=KEYS)
    assert open_api.get("/api/v1/models").status_code == 200
    assert open_api.get(PHOTOS).status_code == 401


@pytest.mark.parametrize("values", [{"review_keys": KEYS}, {"review_keys": "ann:secret", "prediction_log": "log"}])
def test_settings_that_make_no_sense_are_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "liked"},
        {"decision": "confirmed"},
        {"decision": "relabelled", "label": ""},
        {"decision": "discarded", "label": "red"},
        {"decision": "discarded", "seen": -1},
        {"decision": "discarded", "more": 1},
    ],
)
def test_a_decision_that_makes_no_sense_is_refused(gateway: httpx.Client, body: dict[str, Any]) -> None:
    assert decide(gateway, "0" * 64, **body).status_code == 422


@pytest.mark.parametrize("query", ["after=x", "number=0", "number=9999", "since=yesterday", "status=new"])
def test_a_list_that_makes_no_sense_is_refused(gateway: httpx.Client, query: str) -> None:
    assert gateway.get(f"{PHOTOS}?{query}", headers=ANN).status_code == 422


@pytest.fixture
def broken(log: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> httpx.Client:
    """A gateway whose storage fails."""

    def fail(*_: object) -> None:
        raise OSError("gone")

    gateway = start(prediction_log=str(log), prediction_log_photos="all", review_keys=KEYS)
    monkeypatch.setattr("gateway.prediction_log.storage.Folder.folders", fail)
    return gateway


def test_storage_that_fails_is_an_error_of_the_review_alone(broken: httpx.Client) -> None:
    answer = broken.get(PHOTOS, headers=ANN)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert broken.post(PREDICT, content=photo("red")).status_code == 200


def test_photos_with_several_labels_are_listed_and_can_only_be_discarded(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {2: ColourModel(thresholds=(0.5, 0.5, 0.5))}
    until(lambda: gateway.get("/api/v1/models/colours").json()["multi_label"])
    [digest] = classified(gateway, "red")
    [answer] = page(gateway, 1)[0]["answers"]
    assert (answer["label"], answer["labels"]) == ("red", ["red"])
    refused = decide(gateway, digest, decision="confirmed", label="red")
    assert refused.status_code == 400
    assert "several labels" in refused.json()["detail"]
    assert decide(gateway, digest, decision="discarded").json()["status"] == "reviewed"
