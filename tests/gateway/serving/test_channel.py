"""Several model servers behind one target, and encrypted ones."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from pydantic import ValidationError

from gateway.serving.channel import CHANNEL_OPTIONS, SERVICE_CONFIG
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.photos import photo
from testing.polling import until
from testing.relay import Relay

Start = Callable[..., httpx.Client]
BREED = "/api/v1/predict_breed"


@pytest.fixture
def pair() -> Iterator[tuple[ColourServer, ColourServer]]:
    servers = ColourServer(models={"colours": {1: ColourModel()}}), ColourServer(models={"colours": {1: ColourModel()}})
    with servers[0].serving(), servers[1].serving():
        yield servers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["addresses", "names"])
def test_a_list_of_servers_is_used_in_turn(start: Start, pair: tuple[ColourServer, ColourServer], host: str) -> None:
    target = ", ".join(f"{host}:{server.address.split(':')[1]}" for server in pair)
    gateway = start(serving_target=target, model_refresh_seconds=60)

    def both_answer() -> bool:
        assert gateway.post(BREED, content=photo()).status_code == 200
        return all(server.batch_sizes for server in pair)

    until(both_answer)  # one may be connected to before the other
    for server in pair:
        server.batch_sizes.clear()
    for _ in range(20):
        assert gateway.post(BREED, content=photo("blue")).json()["breed"] == "blue"
    assert all(len(server.batch_sizes) > 5 for server in pair)


def test_names_that_are_nowhere_are_503_and_one_that_is_there_is_enough(
    start: Start, model_server: ColourServer
) -> None:
    port = model_server.address.split(":")[1]
    nowhere = start(serving_target="a.invalid:1,b.invalid:2").post(BREED, content=photo())
    assert (nowhere.status_code, nowhere.json()["code"]) == (503, "model_server_unavailable")
    assert start(serving_target=f"a.invalid:1,localhost:{port}").post(BREED, content=photo()).status_code == 200


def asked_while(gateway: httpx.Client, dying: ColourServer, happen: Callable[[], None]) -> set[tuple[int, bool]]:
    """Statuses, and whether the colour was right, of requests during which a server of two comes to harm."""
    reached = threading.Event()
    colours = ["red", "green", "blue"]

    def ask(index: int) -> tuple[int, bool]:
        if len(dying.batch_sizes) >= 10 and not reached.is_set():
            reached.set()
            happen()
        colour = colours[index % 3]
        answer = gateway.post(BREED, content=photo(colour))
        return answer.status_code, answer.json().get("breed") == colour

    answers: set[tuple[int, bool]] = set()

    def has_reached(pool: ThreadPoolExecutor) -> bool:
        answers.update(pool.map(ask, range(16)))
        return reached.is_set()

    with ThreadPoolExecutor(16) as pool:
        until(partial(has_reached, pool))  # how many photos go out together depends on the machine
        answers.update(pool.map(ask, range(100)))
    return answers


@pytest.fixture
def usual_patience(patience: pytest.MonkeyPatch) -> None:
    """As little time as by default for what gateways ask by themselves."""
    patience.undo()


@pytest.mark.parametrize("harm", ["killed", "stalled"])
def test_a_server_of_two_that_is_killed_or_stalls_under_load_loses_no_request(
    start: Start, pair: tuple[ColourServer, ColourServer], harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.channel.PING_SHARE", 0)  # a ping after two seconds, however long requests have
    monkeypatch.setattr("gateway.serving.version_lookup.PATIENCE", (0.005,) * 50)  # of a minute or more
    lasting, dying = pair
    with Relay(dying.address).running() as relay:
        gateway = start(serving_target=f"{lasting.address},{relay.address}")
        happen = relay.broken.set if harm == "killed" else relay.frozen.set
        assert asked_while(gateway, dying, happen) == {(200, True)}


def test_a_server_that_takes_its_time_is_pinged_and_left_alone(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving.channel.MIN_PING_SECONDS", 1.0)
    monkeypatch.setattr("gateway.serving.channel.PING_SHARE", 0)
    with Relay(model_server.address).running() as relay, ThreadPoolExecutor(1) as pool:
        named = relay.address.replace("127.0.0.1", "localhost")  # so there might be several
        gateway = start(serving_target=named, model_refresh_seconds=60)
        assert gateway.post(BREED, content=photo()).status_code == 200
        before = model_server.calls
        model_server.stalled.set()
        silent = time.monotonic() + 0.25  # gRPC's own measurements of the connection are over by then
        answer = pool.submit(gateway.post, BREED, content=photo())
        until(lambda: model_server.waiting == 1)
        until(lambda: any(at > silent for at in relay.pinged))
        until(lambda: time.monotonic() > relay.pinged[-1] + 2)  # the answer to the ping was due after 1
        model_server.stalled.clear()
        assert answer.result().status_code == 200
    assert model_server.calls == before + 1 + 2  # and the two of a look-up: what was known is older than a second


@pytest.mark.usefixtures("usual_patience")
def test_a_server_of_two_that_is_stuck_fails_its_own_requests_alone(
    start: Start, pair: tuple[ColourServer, ColourServer]
) -> None:
    healthy, stuck = pair
    target = f"{healthy.address},{stuck.address}"
    # Silent servers are pinged after a third of the time limit.
    gateway = start(serving_target=target, model_refresh_seconds=0.2, request_timeout_seconds=6)
    for _ in range(4):
        until(lambda: gateway.post(BREED, content=photo()).status_code == 200)
    stuck.stalled.set()
    began, late = time.monotonic(), Counter[int]()

    def ask(_: int) -> int:
        return gateway.post(BREED, content=photo(), headers={"x-request-timeout": "1"}).status_code

    def is_served(pool: ThreadPoolExecutor) -> bool:
        statuses = Counter(pool.map(ask, range(8)))
        assert statuses.keys() <= {200, 504}
        if time.monotonic() - began > 2:  # by then what was known of the model is too old to be used
            late.update(statuses)
        return late[200] >= 8

    with ThreadPoolExecutor(8) as pool:
        until(partial(is_served, pool))
    until(lambda: gateway.get("/readyz").status_code == 200)


def test_replicas_with_different_versions_answer_every_request(
    start: Start, pair: tuple[ColourServer, ColourServer]
) -> None:
    pair[0].models["colours"] = {1: ColourModel(("red", "green", "blue"))}
    pair[1].models["colours"] = {2: ColourModel(("blue", "red", "green"), 12, 12)}
    pair[1].labels["colours", "canary"] = 2
    # A look-up in the background could be in step with that of a request.
    gateway = start(serving_target=",".join(server.address for server in pair), model_refresh_seconds=60)

    def both_are_connected() -> bool:
        gateway.post(BREED, content=photo())
        return all(server.calls for server in pair)

    until(both_are_connected)
    for query in ("", "?version=1", "?version=2", "?version_label=canary"):
        for colour in ("red", "green", "blue") * 3:
            answer = gateway.post(f"{BREED}{query}", content=photo(colour))
            assert (answer.status_code, answer.json().get("breed")) == (200, colour), answer.text
    assert gateway.post(f"{BREED}?version=3", content=photo()).status_code == 404


def test_unavailable_is_tried_again_within_a_budget_and_a_refusal_once(
    start: Start, model_server: ColourServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = 100  # a tenth of the usual, which take half a minute to use up
    config = SERVICE_CONFIG | {"retryThrottling": {"maxTokens": tokens, "tokenRatio": 0.5}}
    options = dict(CHANNEL_OPTIONS) | {"grpc.service_config": json.dumps(config)}
    monkeypatch.setattr("gateway.serving.channel.CHANNEL_OPTIONS", tuple(options.items()))
    monkeypatch.setattr("gateway.serving.resolver.RELOAD_SECONDS", 3600.0)  # no look-up, however long this takes
    gateway = start(model_refresh_seconds=60, request_timeout_seconds=60)
    assert gateway.post(BREED, content=photo()).status_code == 200
    for code, calls in (
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 1),
        (grpc.StatusCode.INTERNAL, 1),
        (grpc.StatusCode.FAILED_PRECONDITION, 1),  # no other call was beside it whose row may be to blame
    ):
        before = model_server.calls
        model_server.refusal = (code, "no")
        gateway.post(BREED, content=photo())
        assert model_server.calls == before + calls, code
    model_server.refusal = (grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue is full")
    before = model_server.calls
    assert gateway.post(BREED, content=photo()).status_code == 503
    assert model_server.calls == before + 4
    with ThreadPoolExecutor(64) as pool:
        before = model_server.calls
        answers = list(pool.map(lambda _: gateway.post(BREED, content=photo()).status_code, range(100)))
    assert set(answers) == {503}
    # The first tries, and as many retries as use up half of the tokens; some are under way when that happens.
    assert model_server.calls - before <= 100 + tokens / 2 + 20


@pytest.mark.parametrize(
    ("code", "details", "status"),
    [
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", 503),
        (grpc.StatusCode.UNKNOWN, "Stream removed", 503),
        (grpc.StatusCode.CANCELLED, "RST_STREAM", 503),
        (grpc.StatusCode.INTERNAL, "Op failed", 502),
        (grpc.StatusCode.UNKNOWN, "Exception calling application", 502),
    ],
)
def test_a_broken_connection_is_503_and_a_failing_model_502(
    gateway: httpx.Client, model_server: ColourServer, code: grpc.StatusCode, details: str, status: int
) -> None:
    model_server.refusal = (code, details)
    answer = gateway.post(BREED, content=photo())
    assert answer.status_code == status
    assert details not in answer.text


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def files(folder: Path, certificate: trustme.LeafCert, authority: trustme.CA) -> dict[str, object]:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
    return {
        "serving_tls": True,
        "serving_tls_ca": folder / "ca.pem",
        "serving_tls_certificate": folder / "cert.pem",
        "serving_tls_key": folder / "key.pem",
    }


def server_credentials(authority: trustme.CA, name: str, mutual: bool) -> grpc.ServerCredentials:
    certificate = authority.issue_cert(name)
    chain = b"".join(one.bytes() for one in certificate.cert_chain_pems)
    roots = authority.cert_pem.bytes() if mutual else None
    return grpc.ssl_server_credentials([(certificate.private_key_pem.bytes(), chain)], roots, mutual)


@pytest.mark.parametrize("mutual", [False, True], ids=["server only", "mutual"])
def test_the_connection_can_be_encrypted(start: Start, authority: trustme.CA, tmp_path: Path, mutual: bool) -> None:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    tls = files(tmp_path, authority.issue_cert("gateway.example"), authority)
    without = {key: tls[key] for key in ("serving_tls", "serving_tls_ca")}
    with server.serving(credentials=server_credentials(authority, "serving.example", mutual)) as address:
        named = start(**tls, serving_target=address, serving_tls_server_name="serving.example")
        assert named.post(BREED, content=photo("green")).json()["breed"] == "green"
        anonymous = start(**without, serving_target=address, serving_tls_server_name="serving.example")
        wrong = (
            start(**tls, serving_target=address, serving_tls_server_name="other.example"),
            start(serving_target=address),
            start(
                serving_target=address,
                **(without | {"serving_tls_ca": stranger(tmp_path)}),
                serving_tls_server_name="serving.example",
            ),
        )
        # At once, because each of them tries for seconds.
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda one: one.post(BREED, content=photo()).status_code, (anonymous, *wrong)))
        assert statuses == [503 if mutual else 200, 503, 503, 503]


def stranger(folder: Path) -> Path:
    trustme.CA().cert_pem.write_to_path(str(folder / "stranger.pem"))
    return folder / "stranger.pem"


@pytest.mark.parametrize(
    "values",
    [
        {"serving_tls_server_name": "a"},
        {"serving_tls": True, "serving_tls_certificate": "/nowhere.pem"},
        {"serving_tls": True, "serving_tls_ca": "/nowhere.pem"},
        {"serving_tls": True, "serving_target": "a:1,b:1"},
    ],
)
def test_half_a_tls_configuration_is_refused_at_the_start(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(values)
