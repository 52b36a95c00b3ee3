"""The runtime for KServe: its pod against the Kubernetes schemas, and against the programs that it starts."""

from __future__ import annotations

from typing import cast

import kubernetes_validate
import pytest

from gateway.command_line import unknown_variables
from gateway.settings import Settings
from modelserver import flags
from testing import ROOT
from tests.deploy.test_kubernetes import VERSIONS, Manifest, at, base, manifests, named

KSERVE = ROOT / "deploy" / "kserve"


@pytest.fixture
def runtime() -> Manifest:
    [runtime] = manifests((KSERVE / "serving-runtime.yaml").read_text())
    return runtime


def containers(runtime: Manifest) -> dict[str, Manifest]:
    return {cast(str, one["name"]): one for one in cast(list[Manifest], at(runtime, "spec.containers"))}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pod_of_the_runtime_is_valid(runtime: Manifest, version: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": at(runtime, "spec.containers")},
    }
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_gateway_is_what_kserve_sends_requests_to(runtime: Manifest) -> None:
    """KServe's Service leads to the first port of transformer-container, if there is one."""
    specs = containers(runtime)
    assert list(specs) == ["kserve-container", "transformer-container"]
    assert at(specs["transformer-container"], "ports.0.containerPort") == Settings.model_fields["port"].default
    assert at(specs["transformer-container"], "readinessProbe.httpGet.port") == 8000


def test_the_programs_take_what_they_are_given(runtime: Manifest) -> None:
    specs = containers(runtime)
    args = cast(list[str], specs["kserve-container"]["args"])
    assert "--model_name={{.Name}}" in args
    parsed = flags.parse(args)
    assert parsed.port == at(specs["kserve-container"], "readinessProbe.grpc.port") == 8500
    environment = cast(list[dict[str, str]], specs["transformer-container"]["env"])
    assert unknown_variables({one["name"]: "" for one in environment}) == []
    values = {one["name"].removeprefix("GATEWAY_").lower(): one["value"] for one in environment if "value" in one}
    assert Settings.model_validate(values).serving_target == "127.0.0.1:8500"


def test_images_and_resources_are_those_of_the_plain_deployment(runtime: Manifest) -> None:
    specs = containers(runtime)
    for name, container in (("serving", "kserve-container"), ("gateway", "transformer-container")):
        plain = cast(Manifest, at(named(base(), "Deployment", name), "spec.template.spec.containers.0"))
        assert cast(str, specs[container]["image"]).startswith(f"{plain['image']}:")
        assert at(specs[container], "resources.limits.memory") == at(plain, "resources.limits.memory")


def test_the_service_names_the_runtime_and_a_format_of_it(runtime: Manifest) -> None:
    [service] = manifests((KSERVE / "inference-service.yaml").read_text())
    assert at(service, "spec.predictor.model.runtime") == at(runtime, "metadata.name")
    expected = cast(dict[str, str], at(service, "spec.predictor.model.modelFormat"))
    offered = cast(list[dict[str, str]], at(runtime, "spec.supportedModelFormats"))
    assert expected.items() <= offered[0].items()
