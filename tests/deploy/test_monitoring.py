"""What the dashboard and the rules ask for is what the gateway really tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
import yaml

from gateway.settings import Settings
from testing import ROOT
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import until

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana/dashboards/breed-gateway.json").read_text())
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

SAMPLE = re.compile(r"^([\w:]+)(\{.*\})? ", re.MULTILINE)
NAME = re.compile(r"(?<![\w:])(?:gateway_\w+|:tensorflow:[\w:]+)")
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
LABELS = re.compile(r"(?:by|on) \(([\w, ]+)\)|[{,]\s*(\w+)\s*(?:=~|!=|!~|=)")

BASELINE = {"photos": 3, "labels": {"red": 1, "green": 0, "blue": 0}, "unknown": 0, "confidence": [0] * 9 + [1]}


def queries() -> list[str]:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return expressions + [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def labels_of_metrics(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Label names by sample name: of a gateway that has seen a bit of everything, and of TensorFlow Serving."""
    model = ColourModel(baseline=BASELINE)
    server = ColourServer(models={"colours": {1: model, 2: model}})
    with server.serving() as address:
        shadows = {"colours": {"percent": 100, "version": 1}}
        split = {"colours": {"2": 1}}
        values = {"serving_target": address, "default_model": "colours", "shadows": shadows, "traffic_split": split}
        values["prediction_log"] = str(tmp_path_factory.mktemp("log"))
        values["request_timeout_seconds"] = "60"  # a busy machine is slow
        with running_gateway(Settings.model_validate(values)) as gateway:
            gateway.post("/api/v1/predict_breed", content=photo())
            gateway.post("/api/v1/predict_breed", content=b"broken")
            gateway.post("/api/v1/feedback", json={"request_id": "a", "verdict": "right"})
            until(
                lambda: (
                    {"gateway_shadow_seconds_bucket", "gateway_shadow_images_total"}
                    <= samples(gateway.get("/metrics").text).keys()
                )
            )
            yield samples(gateway.get("/metrics").text + (MONITORING / "tensorflow-serving-metrics.txt").read_text())


def samples(text: str) -> dict[str, set[str]]:
    labels_of_metric: dict[str, set[str]] = {}
    for name, labels in SAMPLE.findall(text):
        labels_of_metric.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return labels_of_metric


@pytest.mark.parametrize("query", queries())
def test_every_metric_and_label_that_is_asked_for_exists(query: str, labels_of_metrics: dict[str, set[str]]) -> None:
    names = NAME.findall(query)
    assert names or query.startswith("up{") or query in RECORDED, "a query of nothing known"
    assert set(re.findall(r"gateway:[\w:]+", query)) <= RECORDED
    assert set(names) <= labels_of_metrics.keys()
    if names:
        labels = set().union(*(labels_of_metrics[name] for name in names))
        for listed, matched in LABELS.findall(query):
            assert {one.strip() for one in (listed or matched).split(",")} <= labels, query


def test_every_metric_of_the_gateway_is_shown_or_watched(labels_of_metrics: dict[str, set[str]]) -> None:
    expressions = " ".join(queries())
    families = {
        re.sub(r"_(bucket|sum|count|total)$", "", name) for name in labels_of_metrics if name.startswith("gateway_")
    }
    assert not [family for family in families if family not in expressions]


def test_the_files_that_compose_mounts_exist_and_name_each_other() -> None:
    services = COMPOSE["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["dns_sd_configs"][0] for job in prometheus["scrape_configs"]}
    assert set(targets) <= set(services)
    assert targets["gateway"]["port"] == 8000
    assert f"--rest_api_port={targets['serving']['port']}" in services["serving"]["command"]
    path = next(job["metrics_path"] for job in prometheus["scrape_configs"] if job["job_name"] == "serving")
    assert f'"{path}"' in (ROOT / "serving/monitoring.config").read_text()
    source = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uids = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert uids == {source["datasources"][0]["uid"]}
