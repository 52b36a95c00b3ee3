from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.observability.metrics import FOLDER, Metrics
from gateway.observability.scrapes import Scrapes
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until

Start = Callable[..., httpx.Client]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(gateway: httpx.Client) -> Samples:
    """Every sample by name and labels; the parser raises on what is not Prometheus' format."""
    answer = gateway.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} twice"
            samples[key] = sample.value
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for (one, its), value in samples.items() if one == name and labels.items() <= dict(its).items())


def test_requests_are_counted_by_route_status_and_the_version_that_answered(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    for colour in ("red", "green"):
        gateway.post("/api/v1/predict_breed", content=photo(colour))
    model_server.models["colours"] = {2: ColourModel()}
    gateway.post("/api/v1/models/colours/predict?version=2", content=photo())
    gateway.post("/api/v1/models/nope/predict", content=photo())
    samples = scraped(gateway)
    assert total(samples, "gateway_requests_total", route="/api/v1/predict_breed", status="200", version="1") == 2
    named = {"route": "/api/v1/models/{model}/predict", "method": "POST"}
    assert total(samples, "gateway_requests_total", **named, model="colours", version="2") == 1
    assert total(samples, "gateway_requests_total", **named, model="", version="", status="404") == 1
    assert total(samples, "gateway_model_version_last_answer_timestamp_seconds", version="2") == pytest.approx(
        time.time(), abs=60
    )


def test_nothing_that_a_caller_makes_up_becomes_a_label(gateway: httpx.Client) -> None:
    for index in range(5):
        gateway.post(f"/api/v1/models/made-up-{index}/predict", content=photo())
        gateway.post(f"/v1/models/made-up-{index}:predict", content=b'{"inputs": 1}')
        gateway.get(f"/made-up-{index}")
        gateway.request(f"MADEUP{index}", "/healthz")
    text = gateway.get("/metrics").text
    assert "made-up" not in text
    assert "MADEUP" not in text
    assert total(scraped(gateway), "gateway_requests_total", route="unmatched", method="GET") == 5


def test_images_bytes_stages_and_failures_by_reason_are_told(gateway: httpx.Client) -> None:
    contents = [photo("red"), photo("blue"), b"no image", photo()[:-40]]
    gateway.post("/api/v1/predict_breed/batch", files=[("images", (f"{i}", one)) for i, one in enumerate(contents)])
    samples = scraped(gateway)
    assert total(samples, "gateway_images_total", model="colours") == 4
    assert total(samples, "gateway_image_bytes_total", model="colours") == sum(map(len, contents))
    assert total(samples, "gateway_decode_failures_total", reason="unsupported_image") == 1
    assert total(samples, "gateway_decode_failures_total", reason="invalid_image") == 1
    for stage in ("upload", "queue", "decode", "predict"):
        assert total(samples, "gateway_stage_seconds_count", stage=stage, model="colours") == 1
    assert total(samples, "gateway_request_duration_seconds_count", route="/api/v1/predict_breed/batch") == 1


def test_what_is_in_flight_is_told_and_comes_back_to_nothing(gateway: httpx.Client, model_server: ColourServer) -> None:
    gateway.post("/api/v1/predict_breed", content=photo())
    model_server.stalled.set()
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(gateway.post, "/api/v1/predict_breed", content=photo()) for _ in range(3)]
        until(lambda: total(scraped(gateway), "gateway_images_in_flight") == 3)
        assert total(scraped(gateway), "gateway_requests_in_flight") == 4  # and the scrape itself
        model_server.stalled.clear()
        assert {one.result().status_code for one in pending} == {200}
    until(lambda: total(scraped(gateway), "gateway_images_in_flight") == 0)
    assert total(scraped(gateway), "gateway_requests_in_flight") == 1


def test_every_prediction_says_where_its_time_went(gateway: httpx.Client) -> None:
    for answer in (
        gateway.post("/api/v1/predict_breed", content=photo()),
        gateway.post("/api/v1/predict_breed/batch", files=[("images", ("a", photo()))]),
    ):
        stages = dict(re.findall(r"(\w+);dur=([\d.]+)", answer.headers["server-timing"]))
        assert set(stages) == {"upload", "queue", "decode", "predict"}
        assert float(stages["predict"]) > 0


@pytest.mark.parametrize(("form", "painted"), [("json", 0), ("png", 1)])
def test_an_explanation_says_and_counts_the_same(gateway: httpx.Client, form: str, painted: int) -> None:
    answer = gateway.post("/api/v1/models/colours/explain", params={"format": form}, content=photo())
    stages = set(re.findall(r"(\w+);dur=[\d.]+", answer.headers["server-timing"]))
    assert stages == {"upload", "queue", "decode", "predict"} | ({"paint"} if painted else set())
    samples = scraped(gateway)
    for stage in ("upload", "queue", "decode", "predict", "paint"):
        count = total(samples, "gateway_stage_seconds_count", stage=stage, model="colours")
        assert count == (painted if stage == "paint" else 1)
    assert total(samples, "gateway_images_total", model="colours") == 1
    gateway.post("/api/v1/models/colours/explain", content=photo()[:60])
    assert total(scraped(gateway), "gateway_decode_failures_total", reason="invalid_image") == 1


def test_openmetrics_is_spoken_to_those_who_accept_it(gateway: httpx.Client) -> None:
    answer = gateway.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    "version", ["", "; version=nonsense", "; version=" + "9" * 5000, "; version=2.0.0; escaping=x"]
)
def test_any_accept_header_gets_the_metrics(gateway: httpx.Client, version: str) -> None:
    answer = gateway.get("/metrics", headers={"accept": f"application/openmetrics-text{version}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0;")


def test_many_scrapes_at_once_share_what_is_written(gateway: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    began, may_end = threading.Event(), threading.Event()
    calls: list[str] = []
    asked: list[str] = []
    exposition, answer = Metrics.exposition, Scrapes.answer

    def blocking(metrics: Metrics, accept: str) -> tuple[bytes, str]:
        calls.append(accept)
        began.set()
        assert may_end.wait(DEADLINE_SECONDS)
        return exposition(metrics, accept)

    async def noting(scrapes: Scrapes, accept: str) -> tuple[bytes, str]:
        asked.append(accept)
        return await answer(scrapes, accept)

    monkeypatch.setattr(Metrics, "exposition", blocking)
    monkeypatch.setattr(Scrapes, "answer", noting)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(gateway.get, "/metrics")]
        assert began.wait(DEADLINE_SECONDS)
        answers += [pool.submit(gateway.get, "/metrics") for _ in range(19)]
        until(lambda: len(asked) == 20)
        may_end.set()
    assert {one.result().status_code for one in answers} == {200}
    assert len(calls) == 2  # for the first, and for all that came meanwhile


def test_processes_that_begin_or_end_fail_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    metrics = Metrics()
    (tmp_path / "counter_1.db").touch()  # as a process creates it, before it gives it a size
    for pid in range(2**22, 2**22 + 200):  # more than any process has
        (tmp_path / f"gauge_livesum_{pid}.db").touch()
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(metrics.exposition, [""] * 8))) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]
