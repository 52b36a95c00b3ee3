"""The description of the API: true, current, and of use to generators of clients."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import gateway as package
from scripts.openapi import OPENAPI, described
from testing import ROOT
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS


def test_the_committed_description_is_current() -> None:
    current = OPENAPI.read_text("utf-8") == described()
    assert current, "run `python -m scripts.openapi` and commit openapi.json"


def test_the_description_is_valid_openapi() -> None:
    schema = json.loads(described())
    assert schema["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(schema).iter_errors()] == []


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(described())["info"]["version"] == package.__version__ == project["version"]


def test_every_answer_in_json_has_an_example_for_each_of_its_fields() -> None:
    schemas = json.loads(described())["components"]["schemas"]
    without = [
        f"{name}.{key}"
        for name, schema in schemas.items()
        for key, field in schema.get("properties", {}).items()
        if not field.keys() & {"examples", "$ref", "const", "default", "anyOf"}
        and "$ref" not in json.dumps(field.get("items", {}))
    ]
    assert without == []


def documented(path: str, method: str, status: str) -> set[str]:
    schema = json.loads(described())
    headers = schema["paths"][path][method]["responses"][status]["headers"]
    for one in headers.values():
        *_, name = one["$ref"].split("/")
        assert schema["components"]["headers"][name]["description"]
    return set(headers)


@pytest.mark.parametrize(
    ("path", "body", "wrong"),
    [
        ("/api/v1/predict_breed", photo(), "415"),
        ("/api/v1/models/{model}/explain", photo(), "415"),
        ("/v1/models/{model}:predict", b'{"signature_name": "describe", "instances": [0]}', "400"),
    ],
)
def test_the_headers_of_an_answer_are_those_of_the_description(
    start: Callable[..., httpx.Client], path: str, body: bytes, wrong: str
) -> None:
    client = start(rate_limit="2/year")  # a shorter window could end between the requests
    own = {"X-Request-ID", "X-Model-Version", "Server-Timing", "RateLimit", "RateLimit-Policy", "Retry-After"}
    for content, status in ((body, "200"), (b"text", wrong), (body, "429")):
        answer = client.post(path.format(model="colours"), content=content)
        assert answer.status_code == int(status)
        names = {name for name in own if name in answer.headers}
        limits = {"RateLimit", "RateLimit-Policy"} if status == wrong else set()  # described in words for errors
        assert documented(path, "post", status) | limits == names


def test_every_error_is_documented_with_its_code_and_an_example() -> None:
    for path, operations in json.loads(described())["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path.startswith(("/v1/", "/v2", "/hf/")):
                    assert list(answer["content"]["application/json"]["example"]) == ["error"], path
                elif int(status) >= 400:
                    examples = answer["content"]["application/problem+json"]["examples"]
                    for code, example in examples.items():
                        assert example["value"]["code"] == code, path
                        assert example["value"]["status"] == int(status), path
                        assert f"`{code}`" in answer["description"], path


def test_a_generated_client_uploads_a_photo_and_reads_the_answer(
    gateway: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client", reason="needs the generator of clients: openapi-python-client")
    config = tmp_path / "config.json"  # JSON is YAML
    config.write_text(json.dumps({"package_name_override": "generated_client", "post_hooks": []}))
    arguments = ["generate", "--path", str(OPENAPI), "--config", str(config), "--output-path", str(tmp_path / "client")]
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    )
    assert "Error" not in done.stdout
    monkeypatch.syspath_prepend(tmp_path / "client")
    generated = importlib.import_module("generated_client")
    predict = importlib.import_module("generated_client.api.predictions.predict_breed")
    types = importlib.import_module("generated_client.types")
    models = importlib.import_module("generated_client.models")

    upload = types.File(payload=io.BytesIO(photo("blue")), file_name="blue.png", mime_type="image/png")
    with generated.Client(base_url=str(gateway.base_url)) as client:
        answer = predict.sync(client=client, body=models.PredictBreedFilesBody(dog_image=upload), top_k=2)
        refused = predict.sync(client=client, body=types.File(payload=io.BytesIO(b"no image")))
    assert isinstance(answer, models.BreedAnswer)
    assert (answer.breed, len(answer.predictions), answer.model.version) == ("blue", 2, 1)
    assert isinstance(refused, models.Problem)
    assert refused.code == "unsupported_image"
