"""A real Prometheus reads the gateway by the configuration of this project, and answers what the dashboard asks.

TensorFlow Serving's page is the documented one, with values that grow. Debian's package `prometheus` has both programs.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateways, running_gateway
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import LOOPBACK, free_port
from testing.promtool import check_metrics
from tests.deploy.test_monitoring import BASELINE, DASHBOARD, MONITORING, RULES

SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
SCRAPE_INTERVAL, RATE_INTERVAL = "250ms", "2s"


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"needs {name}")
    return path


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yml"), ("check", "config", "--syntax-only", "prometheus.yml")],
    ids=["rules", "config"],
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    command = [program("promtool"), *arguments]
    done = subprocess.run(
        command, cwd=MONITORING, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_about_answers_fire_when_they_should() -> None:
    command = [program("promtool"), "test", "rules", "rules_of_answers.yml"]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_wrong_with_the_metrics() -> None:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving() as address, gateways(address) as start:
        gateway = start()
        for content in (photo(), b"broken"):
            gateway.post("/api/v1/predict_breed", content=content)
        page = gateway.get("/metrics").text
    assert "gateway_decode_failures_total" in page
    check_metrics(page)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus before a gateway with traffic and a TensorFlow Serving's metrics, when it has scraped both."""
    command = program("prometheus")
    with ExitStack() as stack:
        gateway = stack.enter_context(busy_gateway(tmp_path_factory.mktemp("log")))
        addresses = {"gateway": gateway.base_url.netloc.decode(), "serving": stack.enter_context(serving_metrics())}
        folder = tmp_path_factory.mktemp("prometheus")
        (folder / "prometheus.yml").write_text(yaml.safe_dump(local(addresses)))
        groups = [{**group, "interval": SCRAPE_INTERVAL} for group in RULES["groups"]]
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
        address = f"{LOOPBACK}:{free_port()}"
        process = subprocess.Popen(
            [
                *(command, f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--log.level=error"),
            ]
        )
        stack.callback(process.wait, 120)
        stack.callback(process.terminate)
        client = stack.enter_context(httpx.Client(base_url=f"http://{address}/api/v1", timeout=DEADLINE_SECONDS))

        def scraped() -> bool:
            assert process.poll() is None, "prometheus ended"
            try:
                ready = client.get(f"http://{address}/-/ready").status_code == 200
                return ready and value(client, "sum(up)") == 2
            except httpx.TransportError:
                return False

        until(scraped)
        yield client


def local(addresses: dict[str, str]) -> dict[str, object]:
    """The project's configuration, with the addresses of this test in place of the names that Docker resolves."""
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": SCRAPE_INTERVAL, "evaluation_interval": SCRAPE_INTERVAL}
    assert config["rule_files"] == ["/etc/prometheus/rules.yml"]
    config["rule_files"] = ["rules.yml"]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
    assert isinstance(config, dict)
    return config


@contextmanager
def busy_gateway(log: Path) -> Iterator[httpx.Client]:
    """A gateway that is always being asked: good photos, broken ones, and a shadow beside."""
    model = ColourModel(baseline=BASELINE)
    server = ColourServer(models={"colours": {1: model, 2: model}})
    stop = threading.Event()
    with server.serving() as address:
        shadows = {"colours": {"percent": 100, "version": 1}}
        split = {"colours": {"2": 1}}
        values = {"serving_target": address, "default_model": "colours", "shadows": shadows, "traffic_split": split}
        values["prediction_log"] = str(log)
        with running_gateway(Settings.model_validate(values)) as gateway:

            def ask() -> None:
                while not stop.wait(0.05):
                    gateway.post("/api/v1/predict_breed", content=photo())
                    gateway.post("/api/v1/predict_breed", content=b"broken")
                    gateway.post("/api/v1/feedback", json={"request_id": "a", "verdict": "right"})

            asking = threading.Thread(target=ask)
            asking.start()
            try:
                yield gateway
            finally:
                stop.set()
                asking.join()


@contextmanager
def serving_metrics() -> Iterator[str]:
    """Address of a server that gives TensorFlow Serving's metrics, larger each time, at the configured path."""
    text = (MONITORING / "tensorflow-serving-metrics.txt").read_text()
    scrapes = count(1)

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/monitoring/prometheus/metrics":
                self.send_error(404)
                return
            scrape = next(scrapes)
            body = re.sub(r"(?m)(?<=} )\d+$", lambda match: str(int(match[0]) * scrape), text).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")  # and no more, as TensorFlow Serving has it
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def value(prometheus: httpx.Client, query: str) -> float:
    """The first value that a query gives; NaN where it gives none."""
    answer = prometheus.get("/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    results = answer["data"]["result"]
    return float(results[0]["value"][1]) if results else math.nan


@pytest.mark.parametrize("query", SHOWN)
def test_a_query_of_the_dashboard_gives_numbers(query: str, prometheus: httpx.Client) -> None:
    expression = query.replace("$__rate_interval", RATE_INTERVAL)
    assert "$" not in expression
    until(lambda: math.isfinite(value(prometheus, expression)))


def test_every_rule_is_evaluated_and_a_failing_model_server_is_noticed(prometheus: httpx.Client) -> None:
    def rules() -> list[dict[str, str]]:
        groups = prometheus.get("/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    names = {rule.get("alert") or rule["record"] for group in RULES["groups"] for rule in group["rules"]}
    until(lambda: {rule["name"] for rule in rules() if rule["health"] == "ok"} == names)
    # Until: on a busy machine one scrape may take longer than the interval.
    until(lambda: {rule["name"]: rule.get("state") for rule in rules()}["GatewayDown"] == "inactive")
    until(lambda: {rule["name"]: rule.get("state") for rule in rules()}["ModelServerFailing"] in ("pending", "firing"))
