from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until
from tests.gateway.observability.test_metrics import scraped, total

Start = Callable[..., httpx.Client]


@pytest.fixture(autouse=True)
def read_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inference.traffic_split_file.POLL_SECONDS", 0.05)


@pytest.fixture
def versions(model_server: ColourServer) -> ColourServer:
    """Version 1 is stable, version 2 the canary, and the newest, 3, has no label."""
    model_server.models["colours"] = {number: ColourModel() for number in (1, 2, 3)}
    model_server.labels |= {("colours", "stable"): 1, ("colours", "canary"): 2}
    return model_server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "split.json"


def write(file: Path, content: str) -> None:
    """As a rollout does: in one step."""
    new = file.with_suffix(".new")
    new.write_text(content)
    new.replace(file)


def version(gateway: httpx.Client) -> int:
    answer = gateway.post("/api/v1/predict_breed", content=photo())
    assert answer.status_code == 200, answer.text
    number = answer.json()["model"]["version"]
    assert isinstance(number, int)
    return number


def share(gateway: httpx.Client, target: str) -> float:
    return total(scraped(gateway), "gateway_traffic_share", model="colours", target=target)


def errors(gateway: httpx.Client) -> float:
    return total(scraped(gateway), "gateway_traffic_split_file_errors_total")


@pytest.mark.usefixtures("versions")
def test_the_split_changes_whenever_the_file_changes(start: Start, file: Path) -> None:
    write(file, '{"colours": "stable=100,canary=0"}')
    gateway = start(traffic_split_file=file)
    assert version(gateway) == 1
    for content, shares, answers in [
        ('{"colours": "stable=1,canary=99"}', (0.01, 0.99), {1, 2}),
        ('{"colours": {"canary": 5}}', (0, 1), {2}),
        ('{"colours": "stable=1"}', (1, 0), {1}),
        ("{}", (0, 0), {3}),
    ]:
        write(file, content)
        until(lambda shares=shares: (share(gateway, "stable"), share(gateway, "canary")) == shares)  # type: ignore[misc]
        assert {version(gateway) for _ in range(5)} <= answers


@pytest.mark.usefixtures("versions")
def test_the_file_may_be_created_later_and_wins_over_the_setting_for_the_models_that_it_names(
    start: Start, file: Path
) -> None:
    configured = {"colours": {"stable": 1}, "others": {"beta": 1}}
    gateway = start(traffic_split=configured, traffic_split_file=file)
    assert (version(gateway), errors(gateway)) == (1, 0)
    write(file, '{"colours": "canary=1"}')
    until(lambda: version(gateway) == 2)
    assert total(scraped(gateway), "gateway_traffic_share", model="others", target="beta") == 1
    write(file, "{}")
    until(lambda: version(gateway) == 1)


UNUSABLE = [
    ("{", "not valid JSON"),
    ("[" * 10_000, "not valid JSON"),
    ("[]", "valid dictionary"),
    ('{"colours": {"canary": "many"}}', "valid number"),
    ('{"colours": "canary=0"}', "at least one must be positive"),
    ('{"colours": {"canary": NaN}}', "at least one must be positive"),
    (json.dumps({"colours": {"9" * 5000: 1}}), "5000 characters"),
    (" " * 2**20 + "{}", "larger than"),
    (None, "no file"),
]


@pytest.mark.usefixtures("versions")
def test_a_file_that_cannot_be_used_leaves_the_last_split_and_is_reported_once(
    start: Start, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(file, '{"colours": "canary=1"}')
    gateway = start(traffic_split_file=file)
    with caplog.at_level(logging.ERROR, "gateway.inference.traffic_split_file"):
        for number, (content, _) in enumerate(UNUSABLE, 1):
            if content is None:
                file.unlink()
            else:
                write(file, content)
            until(lambda number=number: errors(gateway) == number)  # type: ignore[misc]
            assert version(gateway) == 2
        write(file, '{"colours": "stable=1"}')  # the next good one is used
        until(lambda: version(gateway) == 1)
    assert errors(gateway) == len(UNUSABLE)
    for message, (_, reason) in zip(caplog.messages, UNUSABLE, strict=True):
        assert str(file) in message
        assert reason in message


@pytest.mark.usefixtures("versions")
def test_a_gateway_that_starts_with_a_bad_file_uses_the_setting(start: Start, file: Path) -> None:
    write(file, "stable=1")
    gateway = start(traffic_split={"colours": {"canary": 1}}, traffic_split_file=file)
    assert (version(gateway), errors(gateway)) == (2, 1)


@pytest.mark.usefixtures("versions")
def test_a_file_that_was_bad_is_reported_again_when_another_bad_one_takes_its_place(start: Start, file: Path) -> None:
    write(file, "{")
    gateway = start(traffic_split_file=file)
    write(file, "}")
    until(lambda: errors(gateway) == 2)
    file.unlink()
    file.mkdir()
    until(lambda: errors(gateway) >= 3)
    assert version(gateway) == 3
