from __future__ import annotations

import io
import math
from collections.abc import Callable

import httpx
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from gateway.observability.answer_metrics import AnswerMetrics, Baseline
from gateway.observability.request_record import RequestRecord
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until
from tests.gateway.observability.test_metrics import scraped, total
from trainer.evaluation.baseline import BINS

Start = Callable[..., httpx.Client]

PREDICT = "/api/v1/models/colours/predict"

BASELINE = {
    "photos": 40,
    "labels": {"red": 0.5, "green": 0.25, "blue": 0.0},
    "unknown": 0.25,
    "confidence": [0, 0, 0, 0.25, 0, 0, 0, 0, 0, 0.75],
}


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", size, colour).save(encoded, "PNG")
    return encoded.getvalue()


def predictions(gateway: httpx.Client, **labels: str) -> float:
    return total(scraped(gateway), "gateway_predictions_total", model="colours", **labels)


def test_answers_are_counted_by_label_and_confidence(gateway: httpx.Client, model_server: ColourServer) -> None:
    model_server.models["colours"] = {1: ColourModel(threshold=0.5)}
    until(lambda: gateway.post(PREDICT, content=plain((128, 128, 128))).json()["label"] is None)
    unknown = predictions(gateway, label="(unknown)")
    files = [("images", ("a", photo("red"))), ("images", ("b", photo("red"))), ("images", ("c", b"no image"))]
    gateway.post("/api/v1/models/colours/predict_batch", files=files)
    gateway.post(PREDICT, content=photo("blue"))
    assert predictions(gateway, version="1", label="red") == 2
    assert predictions(gateway, version="1", label="blue") == 1
    assert predictions(gateway, label="(unknown)") == unknown >= 1
    samples = scraped(gateway)
    grey = total(samples, "gateway_prediction_confidence_bucket", model="colours", version="1", le="0.4")
    assert grey >= unknown  # a third for each colour
    assert total(samples, "gateway_prediction_confidence_count", model="colours") == predictions(gateway)


def test_a_heat_map_of_an_answer_is_not_another_answer(gateway: httpx.Client) -> None:
    assert gateway.post("/api/v1/models/colours/explain", content=photo("red")).status_code == 200
    assert predictions(gateway) == 0


def test_photos_are_counted_by_size_and_brightness(gateway: httpx.Client) -> None:
    for colour, size in (((0, 0, 0), (40, 30)), ((255, 255, 255), (400, 300))):
        assert gateway.post(PREDICT, content=plain(colour, size)).status_code == 200
    samples = scraped(gateway)
    for name, bound, number in (("pixels", "10000.0", 1), ("pixels", "300000.0", 2), ("brightness", "0.1", 1)):
        assert total(samples, f"gateway_photo_{name}_bucket", model="colours", le=bound) == number
    assert total(samples, "gateway_photo_pixels_sum", model="colours") == 40 * 30 + 400 * 300
    assert total(samples, "gateway_photo_brightness_sum", model="colours") == pytest.approx(1)


def test_the_baseline_of_the_model_card_is_shown_beside_counters_that_begin_at_zero(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {1: ColourModel(baseline=BASELINE)}
    until(
        lambda: (
            gateway.post(PREDICT, content=photo("red")).status_code == 200
            and predictions(gateway, label="red")
            and total(scraped(gateway), "gateway_baseline_label_share") == 1
        )
    )
    samples = scraped(gateway)
    for label, share in (("red", 0.5), ("green", 0.25), ("blue", 0), ("(unknown)", 0.25), ("(other)", 0)):
        of = {"model": "colours", "version": "1", "label": label}
        assert samples["gateway_baseline_label_share", frozenset(of.items())] == share
        assert ("gateway_predictions_total", frozenset(of.items())) in samples
    for bound, share in (("0.3", 0), ("0.4", 0.25), ("0.9", 0.25), ("1.0", 1)):
        assert total(samples, "gateway_baseline_confidence_share", le=bound) == share
    bounds = {dict(labels)["le"] for name, labels in samples if name == "gateway_baseline_confidence_share"}
    assert len(bounds) == BINS
    assert bounds < {dict(labels)["le"] for name, labels in samples if name == "gateway_prediction_confidence_bucket"}


def test_a_model_card_with_a_baseline_that_makes_no_sense_is_refused(
    gateway: httpx.Client, model_server: ColourServer
) -> None:
    model_server.models["colours"] = {2: ColourModel(baseline=BASELINE | {"unknown": 7})}
    until(lambda: gateway.post(PREDICT, content=photo()).status_code != 200)
    assert "baseline.unknown" in gateway.post(PREDICT, content=photo()).json()["detail"]


def by_label(registry: CollectorRegistry, name: str, label: str = "label") -> dict[str, float]:
    samples = (sample for family in registry.collect() for sample in family.samples)
    return {one.labels[label]: one.value for one in samples if one.name == name}


def counted(labels: list[str], baseline: Baseline | None = None, workers: int = 1) -> dict[str, float]:
    """What is counted of answers with these labels."""
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry, workers)
    for label in labels:
        metrics.count(RequestRecord(model="m", version=1, answers=[(label, 0.5)], baseline=baseline))
    return by_label(registry, "gateway_predictions_total")


def test_several_processes_together_have_no_more_series_than_one() -> None:
    values: dict[str, float] = {}
    for worker in range(4):
        values |= counted([f"label {worker * 100 + index}" for index in range(100)], workers=4)
    assert len(values) == 200 + len(("(other)", "(unknown)"))


def baseline_of(*labels: str) -> Baseline:
    return Baseline(photos=9, labels=dict.fromkeys(labels, 1 / len(labels)), unknown=0, confidence=(0.0,) * 9 + (1.0,))


@pytest.mark.parametrize("removable", [True, False])
def test_a_new_baseline_replaces_the_old_one(removable: bool) -> None:
    registry = CollectorRegistry()
    metrics = AnswerMetrics(registry, removable=removable)

    def after(baseline: Baseline | None) -> tuple[dict[str, float], list[float]]:
        metrics.count(RequestRecord(model="m", version=1, answers=[("a", 0.5)], baseline=baseline))
        shares = by_label(registry, "gateway_baseline_label_share")
        bins = by_label(registry, "gateway_baseline_confidence_share", "le")
        return {label: share for label, share in shares.items() if label[0] != "("}, list(bins.values())

    assert after(baseline_of("a", "b"))[0] == {"a": 0.5, "b": 0.5}
    shares, bins = after(baseline_of("a"))
    assert shares == ({"a": 1.0} if removable else {"a": 1.0, "b": 0.0})
    assert bins[-1] == 1
    shares, bins = after(None)
    if removable:
        assert (shares, bins) == ({}, [])
    else:
        assert (set(shares), len(bins)) == ({"a", "b"}, BINS)
        assert all(math.isnan(one) for one in (*shares.values(), *bins))
    shares, bins = after(baseline_of("c"))
    assert shares == ({"c": 1.0} if removable else {"a": 0.0, "b": 0.0, "c": 1.0})
    assert bins[-1] == 1


def test_the_most_frequent_labels_have_series_of_their_own_and_all_others_share_one() -> None:
    labels = [f"label {index}" for index in range(300)]
    counts = counted([*labels, *labels])
    assert len(counts) == 200 + len(("(other)", "(unknown)"))
    assert (counts["label 199"], counts["(other)"], counts["(unknown)"]) == (2, 200, 0)
    frequent = Baseline(
        photos=300,
        labels={label: index / 44850 for index, label in enumerate(labels)},
        unknown=0,
        confidence=(0,) * 9 + (1,),
    )
    counts = counted(labels, frequent)
    assert len(counts) == 202
    assert (counts["label 299"], counts["label 100"], counts["(other)"]) == (1, 1, 100)
    assert "label 99" not in counts
