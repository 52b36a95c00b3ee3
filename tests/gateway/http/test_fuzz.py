"""Any bytes, any form, any request that the description admits or not: only documented answers, and no hang."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.checks import CheckFunction
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance, unsupported_method

from gateway.http.parameters import MIN_TIMEOUT_SECONDS
from gateway.settings import Settings
from scripts.openapi import OPENAPI
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo

BREED = "/api/v1/predict_breed"
CODES = {400, 413, 415, 422}

quick = settings(max_examples=80)


@pytest.fixture(scope="module")
def server() -> Iterator[ColourServer]:
    models: dict[str, dict[int, object]] = {"colours": {1: ColourModel()}, "dog_breed": {1: ColourModel()}}
    server = ColourServer(models=models)  # type: ignore[arg-type]
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def client(server: ColourServer) -> Iterator[httpx.Client]:
    values = {"serving_target": server.address, "model_refresh_seconds": 60, "max_upload_bytes": 100_000}
    values["request_timeout_seconds"] = 60  # a busy machine is slow, and 504 is not among the answers
    with running_gateway(Settings.model_validate(values)) as client:
        yield client


def checked(answer: httpx.Response) -> None:
    """An answer, or one of the documented errors with the one body."""
    if answer.status_code != 200:
        assert answer.status_code in CODES, answer.text
        body = answer.json()
        assert body["status"] == answer.status_code
        assert body["code"]
        assert answer.headers["content-type"] == "application/problem+json"


GOOD = [photo(encoding=kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP")]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    body = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 8))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)))] + draw(st.binary(max_size=20)))


@quick
@given(body=st.one_of(st.binary(max_size=300), damaged()))
def test_any_bytes_are_an_image_or_a_clear_error(client: httpx.Client, body: bytes) -> None:
    checked(client.post(BREED, content=body, headers={"content-type": "image/jpeg"}))


name = st.sampled_from(["dog_image", "image", "images", "file", "other", "", "ü", "a\\b"])
part = st.tuples(
    name,
    st.one_of(st.none(), st.text(max_size=10)),
    st.one_of(st.binary(max_size=60), st.sampled_from(GOOD)),
    st.lists(st.sampled_from(["Content-Type: image/png", "Content-Transfer-Encoding: base64", "X: y", ":", "X"])),
)


@st.composite
def forms(draw: st.DrawFn) -> tuple[bytes, str]:
    boundary = draw(st.sampled_from(["X", "XY", "-", "a b", "=", "x" * 70, ""]))
    body = b""
    for field, filename, content, headers in draw(st.lists(part, max_size=4)):
        disposition = f'form-data; name="{field}"' + (f'; filename="{filename}"' if filename is not None else "")
        lines = "\r\n".join([f"--{boundary}", f"Content-Disposition: {disposition}", *headers, "", ""])
        body += lines.encode("utf-8", "surrogatepass") + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    return body, draw(
        st.sampled_from(['multipart/form-data; boundary="%s"', "multipart/form-data; boundary=%s"])
    ) % boundary


@quick
@given(form=forms(), path=st.sampled_from([BREED, f"{BREED}/batch", "/api/v1/models/colours/predict_batch"]))
def test_any_form_is_answered_or_a_clear_error(client: httpx.Client, form: tuple[bytes, str], path: str) -> None:
    body, media_type = form
    answer = client.post(path, content=body, headers={b"content-type": media_type.encode("utf-8")})
    checked(answer)
    if answer.status_code == 200:
        assert json.loads(answer.text)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("\ud800"))
anything = st.recursive(
    st.one_of(scalars, st.sampled_from([[0], [[1.5]], {"b64": "AA=="}, {"b64": "!"}])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=3), st.just("request")), inner, max_size=3),
    ),
    max_leaves=8,
)
signature_names = st.one_of(st.sampled_from(["describe", "pixels", "explain", "", "nope"]), scalars)
rest_bodies = st.fixed_dictionaries(
    {"instances": anything}, optional={"signature_name": signature_names, "other": anything}
) | st.fixed_dictionaries({"inputs": anything}, optional={"signature_name": signature_names})
tensor = st.fixed_dictionaries(
    {
        "name": st.one_of(st.sampled_from(["request", "images"]), anything),
        "shape": st.one_of(st.lists(st.integers(-1, 4), max_size=3), anything),
        "datatype": st.one_of(st.sampled_from(["INT32", "UINT8", "BYTES", "FP32", "BF16"]), anything),
    },
    optional={"data": anything, "parameters": anything},
)
infer_bodies = st.fixed_dictionaries(
    {"inputs": st.one_of(st.lists(tensor, max_size=2), anything)},
    optional={
        "id": anything,
        "parameters": st.one_of(
            st.fixed_dictionaries({"signature_name": signature_names, "top_k": anything}), anything
        ),
        "outputs": st.one_of(st.lists(st.fixed_dictionaries({"name": anything, "parameters": anything})), anything),
    },
)


@quick
@given(body=st.one_of(anything, rest_bodies, infer_bodies), ends=st.sampled_from(["", "]", "\x00"]))
@pytest.mark.parametrize("path", ["/v1/models/colours:predict", "/v2/models/colours/infer"])
def test_any_json_is_answered_or_a_clear_error(client: httpx.Client, path: str, body: object, ends: str) -> None:
    answer = client.post(path, content=(json.dumps(body) + ends).encode())
    assert answer.status_code in {200, 400, 404, 415, 422}, answer.text
    assert answer.status_code == 200 or list(answer.json()) == ["error"]


@settings(max_examples=30)
@given(body=st.one_of(anything, st.fixed_dictionaries({"inputs": anything}, optional={"parameters": anything})))
def test_any_json_of_hugging_faces_clients_is_answered_or_a_clear_error(client: httpx.Client, body: object) -> None:
    answer = client.post("/hf/models/colours", content=json.dumps(body).encode())
    assert answer.status_code in {200, 400, 415, 422}, answer.text
    assert answer.status_code == 200 or list(answer.json()) == ["error"]


schemathesis.serializer.alias(["image/bmp", "image/webp"], "application/octet-stream")
schemathesis.openapi.format("binary", st.sampled_from(GOOD))
described = schemathesis.pytest.from_fixture("description")
"""Made when the test runs. At the collection, it would take every process of a test run 3 seconds."""


@pytest.fixture
def description(request: pytest.FixtureRequest) -> BaseSchema:
    request.node._nodeid = request.node.nodeid  # schemathesis 4.32 looks for it there, and pytest 9.2 has it elsewhere
    return schemathesis.openapi.from_dict(json.loads(OPENAPI.read_text("utf-8")))  # test_openapi keeps it current


@described.parametrize()
@settings(max_examples=8)
def test_what_is_described_is_what_happens(client: httpx.Client, case: schemathesis.Case) -> None:  # type: ignore[type-arg]
    if "version_label" in case.query:
        case.query.pop("version", None)  # no schema can say that only one of them may be given
    for values, name in ((case.query, "timeout_seconds"), (case.headers, "x-request-timeout")):
        if name in values and _is_short(values[name]):
            values[name] = "5"  # a caller that gives hardly any time is answered 504, rightly
    described_names = {parameter.name for parameter in case.operation.query}
    # Parameters that nobody knows are passed over, as everywhere on the web.
    passed_over: list[CheckFunction] = [negative_data_rejection] if set(case.query) - described_names else []
    if case.path.startswith(("/v1/", "/v2")):
        passed_over.append(positive_data_acceptance)  # which tensors are taken is the model's to say
    elif case.media_type == "application/json":
        passed_over.append(positive_data_acceptance)  # no schema can say which strings are an image in base64
    elif case.media_type == "multipart/form-data":
        passed_over.append(negative_data_rejection)  # every value of a form is text on the wire, and so a file
    if case.path.startswith("/v1/"):
        passed_over.append(unsupported_method)  # TensorFlow Serving answers 400 to a method that it does not have
    case.call_and_validate(base_url=str(client.base_url), timeout=60, excluded_checks=passed_over)


def _is_short(value: object) -> bool:
    try:
        return MIN_TIMEOUT_SECONDS <= float(str(value)) < 5
    except ValueError:
        return False
