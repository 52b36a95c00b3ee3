"""The health service of gRPC, asked by a real client, and the probes that use it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.pb import serving_pb2 as pb
from modelserver import flags
from modelserver.health import add_health_service
from modelserver.lifecycle import Lifecycle
from modelserver.models import Models
from modelserver.servable import Servable
from modelserver.service import Service, make_server
from testing import ROOT
from testing.modelserver import Server
from testing.polling import DEADLINE_SECONDS, until
from testing.processes import LOOPBACK
from tests.modelserver.conftest import Publish

Serve = Callable[..., Server]
SERVING = health_pb2.HealthCheckResponse.SERVING


def status(channel: grpc.Channel, service: str) -> int:
    message = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(message, timeout=DEADLINE_SECONDS)
    return int(answer.status)


def test_a_server_with_a_model_is_serving_for_clients_and_for_the_health_check_of_its_image(
    serve: Serve, publish_light: Publish, tmp_path: Path
) -> None:
    dockerfile = (ROOT / "modelserver" / "Dockerfile").read_text()
    [default_flag] = re.findall(r"exec python -m modelserver (\S+) \"\$@\"", dockerfile)
    [command] = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", dockerfile, re.MULTILINE)
    server = serve(f"--model_base_path={tmp_path / 'demo'}", default_flag)
    until(lambda: "waiting" in server.output)
    assert not server.is_open()
    publish_light(tmp_path / "demo", 1)
    channel = server.client.channel
    assert [status(channel, name) for name in ("", "PredictionService", "ModelService")] == [SERVING] * 3
    with pytest.raises(grpc.RpcError) as refused:
        status(channel, "tensorflow.serving.PredictionService")
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND

    command = command.replace("127.0.0.1:8500", server.address)

    def healthy() -> bool:
        program, *arguments = json.loads(command)
        assert program == "python"
        return subprocess.run([sys.executable, *arguments], check=False, capture_output=True).returncode == 0

    until(healthy, "the check succeeds")  # within its 2 s, which a busy machine may need for something else
    server.kill()
    assert not healthy()


def watched(server: Server) -> Any:  # a call that is iterated over and cancelled; grpc has no public type of it
    """A watch of the health of a server that is serving."""
    request = health_pb2.HealthCheckRequest(service="PredictionService")
    watch = health_pb2_grpc.HealthStub(server.client.channel).Watch(request, timeout=DEADLINE_SECONDS)
    assert next(watch).status == SERVING
    return watch


def test_a_server_that_drains_tells_its_watchers(serve: Serve, publish_light: Publish, tmp_path: Path) -> None:
    publish_light(tmp_path / "demo", 1)
    server = serve(f"--model_base_path={tmp_path / 'demo'}", "--enable_grpc_healthcheck_service", "--drain_seconds=60")
    watch = watched(server)
    os.kill(server.pid, signal.SIGTERM)
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    assert server.wait() == 0


def test_a_call_that_outlasts_the_drain_is_ended_with_it(serve: Serve, publish_light: Publish, tmp_path: Path) -> None:
    publish_light(tmp_path / "demo", 1)
    server = serve(f"--model_base_path={tmp_path / 'demo'}", "--enable_grpc_healthcheck_service", "--drain_seconds=0.2")
    watch = watched(server)
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    with pytest.raises(grpc.RpcError) as ended:
        list(watch)
    assert ended.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_check_is_answered_while_all_other_calls_are_in_use() -> None:
    began, over = threading.Semaphore(0), threading.Event()

    class Busy(Service):
        def get_model_status(
            self,
            request: pb.ModelStatusRequest,  # noqa: ARG002
            _context: grpc.ServicerContext,
        ) -> pb.ModelStatusResponse:
            began.release()
            over.wait(DEADLINE_SECONDS)
            return pb.ModelStatusResponse()

    def load(_name: str, _path: Path) -> Servable:
        raise AssertionError("no model is configured")

    models = Models(Lifecycle(load, retries=0, retry_seconds=0), labels_ahead=False)
    server = make_server(Busy(models, as_content=False, configure=lambda *_: None), 2)
    add_health_service(server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus"
        )
        try:
            busy = [call.future(b"", timeout=DEADLINE_SECONDS) for _ in range(2)]
            for _ in busy:
                assert began.acquire(timeout=DEADLINE_SECONDS)
            assert status(channel, "PredictionService") == SERVING
        finally:
            over.set()
        assert [one.result() for one in busy] == [b""] * 2
    server.stop(None).wait()
    models.close()


def test_without_the_flag_there_is_no_health_service(openvino_server: Server) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        status(openvino_server.client.channel, "")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_probes_on_kubernetes_ask_for_a_service_that_the_server_reports() -> None:
    manifests = yaml.safe_load_all((ROOT / "deploy/kubernetes/base/serving.yaml").read_text())
    [container] = next(one for one in manifests if one["kind"] == "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    parsed = flags.parse(container["args"])
    assert parsed.enable_grpc_healthcheck_service
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": parsed.port, "service": "PredictionService"}
