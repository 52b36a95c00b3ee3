"""The Helm chart: linted and rendered by Helm, against the manifests it is made of and the Kubernetes schemas."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import cast

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from testing import ROOT
from tests.deploy.test_kubernetes import (
    CONTAINER,
    KUBERNETES,
    POD,
    VERSIONS,
    Manifest,
    at,
    base,
    gateway_settings,
    manifests,
    named,
    rendered,
)

CHART = ROOT / "deploy" / "helm" / "breed-gateway"
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
CUSTOM = {"HTTPRoute", "PodMonitor", "PrometheusRule"}
"""Kinds whose schemas are not those of Kubernetes."""

KEY = f"web:{hashlib.sha256(b'key').hexdigest()}"

EVERYTHING: dict[str, object] = {
    "gateway": {
        "image": {"repository": "registry.example/breed-gateway", "tag": "1.0"},
        "minReplicas": 3,
        "maxReplicas": 5,
        "resources": {"limits": {"memory": "2Gi"}},
        "settings": {"GATEWAY_RATE_LIMIT": "60/minute", "GATEWAY_MAX_TOP_K": 7, "GATEWAY_DOCS": False},
        "grpcPort": 9000,
    },
    "apiKeys": [KEY],
    "serving": {"replicas": 4},
    "models": {
        "default": "flowers",
        "served": [{"name": "flowers", "labels": {"stable": 1, "canary": 2}}, {"name": "b"}],
    },
    "storage": {"storageClassName": "nfs", "size": "50Gi", "accessModes": ["ReadOnlyMany"]},
    "ingress": {"enabled": True, "className": "nginx", "host": "breeds.example", "tlsSecret": "tls"},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["breeds.example"]},
    "monitoring": {"podMonitor": True, "annotations": False, "namespace": "observability"},
    "imagePullSecrets": [{"name": "registry"}],
}


def helm(values: dict[str, object], tmp_path: Path) -> tuple[str, str]:
    """What Helm prints for the chart, and its errors."""
    binary = shutil.which("helm")
    if binary is not None:
        file = tmp_path / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        text = ""
        for command in (["lint", "--strict"], ["template", "breed", "--namespace", "photos"]):
            arguments = [binary, *command, str(CHART), "-f", str(file)]
            done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode:
                return "", done.stdout + done.stderr
            text = done.stdout
        return text, ""
    if not list(CLIENTS.parents[1].glob("lib/*/site-packages/helm_python")):
        pytest.skip("needs helm, or the packages that `scripts/test -m clients` installs")
    arguments = [str(CLIENTS), str(Path(__file__).with_name("helm_render.py")), str(CHART), json.dumps(values)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["text"], "\n".join(result["errors"])


def chart(values: dict[str, object], tmp_path: Path) -> list[Manifest]:
    text, errors = helm(values, tmp_path)
    assert not errors
    return [one for one in manifests(text) if isinstance(one, dict) and "kind" in one]


def by_name(resources: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(cast(str, one["kind"]), cast(str, at(one, "metadata.name"))): one for one in resources}


def test_with_its_defaults_it_is_the_base_of_the_kustomization(tmp_path: Path) -> None:
    expected = base()
    for one in expected:
        metadata = cast(Manifest, one["metadata"])
        labels = cast(Manifest, metadata.setdefault("labels", {}))
        labels["app.kubernetes.io/part-of"] = "breed-gateway"
    images = yaml.safe_load((KUBERNETES / "base" / "kustomization.yaml").read_text())["images"]
    for name in ("gateway", "serving"):
        container = cast(Manifest, at(named(expected, "Deployment", name), CONTAINER))
        [image] = [one for one in images if one["name"] == container["image"]]
        container["image"] = f"{image.get('newName', image['name'])}:{image['newTag']}"
        container["imagePullPolicy"] = "IfNotPresent"
    resources = by_name(chart({}, tmp_path))
    for key, manifest in by_name(expected).items():
        assert resources.pop(key) == manifest, key
    assert not resources


def test_a_gpu_gives_what_the_overlay_gives(tmp_path: Path) -> None:
    resources = by_name(chart({"serving": {"gpu": True}}, tmp_path))
    for key, manifest in by_name(rendered(KUBERNETES / "overlays" / "gpu")).items():
        rendered_manifest = resources[key]
        for one in (manifest, rendered_manifest):
            if key == ("Deployment", "serving"):
                container = cast(Manifest, at(one, CONTAINER))
                container["env"] = sorted(cast(list[Manifest], container["env"]), key=str)
                container["imagePullPolicy"] = "IfNotPresent"
            if key[0] == "Deployment":
                cast(Manifest, at(one, CONTAINER)).pop("imagePullPolicy", None)
        assert rendered_manifest == manifest, key


@pytest.mark.parametrize("version", VERSIONS)
def test_every_value_gives_valid_manifests(tmp_path: Path, version: str) -> None:
    resources = chart(EVERYTHING, tmp_path)
    assert {one["kind"] for one in resources} >= {"Secret", "Ingress", *CUSTOM}
    for manifest in resources:
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_value_arrives(tmp_path: Path) -> None:
    resources = chart(EVERYTHING, tmp_path)
    gateway, serving = (named(resources, "Deployment", name) for name in ("gateway", "serving"))
    assert at(gateway, f"{CONTAINER}.image") == "registry.example/breed-gateway:1.0"
    assert at(gateway, f"{CONTAINER}.resources") == {"limits": {"memory": "2Gi"}}
    assert {"secretRef": {"name": "gateway-api-keys"}} in cast(list[Manifest], at(gateway, f"{CONTAINER}.envFrom"))
    assert at(named(resources, "Secret", "gateway-api-keys"), "stringData") == {"GATEWAY_API_KEYS": KEY}
    assert at(serving, "spec.replicas") == 4
    for deployment in (gateway, serving):
        assert at(deployment, f"{POD}.imagePullSecrets") == [{"name": "registry"}]
        assert "prometheus.io/scrape" not in str(at(deployment, "spec.template.metadata"))
    settings = gateway_settings(resources)
    assert (settings.default_model, settings.models) == ("flowers", ("b",))
    assert (settings.rate_limit, settings.max_top_k, settings.docs, settings.grpc_port) == ("60/minute", 7, False, 9000)
    assert {"name": "grpc", "containerPort": 9000} in cast(list[Manifest], at(gateway, f"{CONTAINER}.ports"))
    assert [one["port"] for one in cast(list[Manifest], at(named(resources, "Service", "gateway"), "spec.ports"))] == [
        80,
        9000,
    ]
    assert "9000" in str(at(named(resources, "NetworkPolicy", "gateway"), "spec.ingress"))
    assert "observability" in str(at(named(resources, "NetworkPolicy", "serving"), "spec.ingress"))
    data = cast(dict[str, str], at(named(resources, "ConfigMap", "serving-config"), "data"))
    models = text_format.Parse(data["models.config"], ModelServerConfig()).model_config_list.config
    assert [(one.name, one.base_path) for one in models] == [("flowers", "/models/flowers"), ("b", "/models/b")]
    assert dict(models[0].version_labels) == {"stable": 1, "canary": 2}
    assert sorted(models[0].model_version_policy.specific.versions) == [1, 2]
    scaler = named(resources, "HorizontalPodAutoscaler", "gateway")
    assert (at(scaler, "spec.minReplicas"), at(scaler, "spec.maxReplicas")) == (3, 5)
    claim = named(resources, "PersistentVolumeClaim", "models")
    assert at(claim, "spec.storageClassName") == "nfs"
    rules = yaml.safe_load((ROOT / "deploy/monitoring/rules.yml").read_text())
    assert at(named(resources, "PrometheusRule", "breed-gateway"), "spec") == rules


def test_other_settings_are_other_pods(tmp_path: Path) -> None:
    def checksum(values: dict[str, object]) -> object:
        pod = cast(Manifest, at(named(chart(values, tmp_path), "Deployment", "gateway"), "spec.template.metadata"))
        return cast(Manifest, pod.get("annotations", {})).get("checksum/settings")

    served: list[dict[str, object]] = [{"name": "dog_breed"}, {"name": "b"}]
    sums = [
        checksum({}),
        checksum({"apiKeys": [KEY]}),
        checksum({"gateway": {"settings": {"GATEWAY_RATE_LIMIT": "60/minute"}}}),
        checksum({"models": {"served": served}}),
        checksum({"models": {"served": served, "default": "b"}}),
    ]
    assert sums[0] is None
    assert len(set(sums)) == len(sums)
    labelled = [{"name": "dog_breed", "labels": {"stable": 1}}]
    assert checksum({"models": {"served": labelled}}) is None  # only the model server reads them


def test_metrics_have_no_route_from_outside_and_pages_have_one(tmp_path: Path) -> None:
    resources = chart(EVERYTHING, tmp_path)
    for kind in ("Ingress", "HTTPRoute"):
        routes = str(named(resources, kind, "gateway"))
        assert "metrics" not in routes
        assert "'/review'" in routes
        assert "'/docs'" in routes


def test_a_claim_that_exists_and_policies_that_are_off(tmp_path: Path) -> None:
    resources = chart(
        {"storage": {"existingClaim": "photos"}, "networkPolicies": False, "existingSecret": "keys"}, tmp_path
    )
    assert not {"PersistentVolumeClaim", "NetworkPolicy", "Secret"} & {cast(str, one["kind"]) for one in resources}
    assert "'claimName': 'photos'" in str(at(named(resources, "Deployment", "serving"), f"{POD}.volumes"))
    assert "'secretRef': {'name': 'keys'}" in str(at(named(resources, "Deployment", "gateway"), f"{CONTAINER}.envFrom"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gatewy": {}}, "gatewy"),
        ({"apiKeys": ["secret"]}, "apiKeys"),
        ({"gateway": {"settings": {"RATE_LIMIT": "1/minute"}}}, "RATE_LIMIT"),
        ({"models": {"default": "nope"}}, "models.default"),
        ({"ingress": {"enabled": True}}, "ingress.host is required"),
    ],
)
def test_values_that_cannot_work_are_refused(tmp_path: Path, values: dict[str, object], message: str) -> None:
    _, errors = helm(values, tmp_path)
    assert message in errors


def test_its_version_is_that_of_the_gateway() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{described["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert described["appVersion"] == described["version"]
