"""The metrics that a rollout reads."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from trainer.rollout.metrics import Increases, Prometheus, Sample


def test_a_prometheus_is_asked_for_the_metrics_of_all_gateways() -> None:
    queries: list[str] = []
    result = {
        "metric": {"__name__": "gateway_requests_total", "model": "dogs", "version": "2", "status": "200", "pod": "a"},
        "value": [1767225600.0, "42"],
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            queries.append(parse_qs(urlparse(self.path).query)["query"][0])
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [result]}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as prometheus:
        thread = threading.Thread(target=prometheus.serve_forever)
        thread.start()
        [sample] = Prometheus(f"http://127.0.0.1:{prometheus.server_port}/").read("dogs")
        prometheus.shutdown()
        thread.join()
    assert (sample.name, sample.value, sample.by_label["pod"]) == ("gateway_requests_total", 42.0, "a")
    assert queries[0].endswith('gateway_traffic_share",model="dogs"}')


def test_counters_go_on_after_a_gateway_was_restarted_or_missed_once() -> None:
    increases = Increases()

    def added(*values: tuple[str, float]) -> list[float]:
        return [one.value for one in increases.of([Sample(name, "c", (), value) for name, value in values])]

    assert added(("a", 5), ("b", 7)) == [5, 7]
    assert added(("a", 8), ("b", 7)) == [3]
    assert added(("a", 2), ("b", 9)) == [2, 2]
