from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping

import httpx
import pytest
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from gateway.app import create_app
from gateway.inference.traffic_split import draw, point
from gateway.pb import serving_pb2 as pb
from gateway.services.services import Services
from gateway.settings import Settings
from testing.colour_server import ColourModel, ColourServer
from testing.gateway import running_gateway
from testing.photos import photo
from testing.polling import DEADLINE_SECONDS, until
from tests.gateway.observability.test_metrics import scraped, total

Start = Callable[..., httpx.Client]


@pytest.fixture
def rollout(model_server: ColourServer) -> ColourServer:
    """Version 1 is stable, version 2 the canary, and the newest, 3, has no label."""
    model_server.models["colours"] = {number: ColourModel() for number in (1, 2, 3)}
    model_server.labels |= {("colours", "stable"): 1, ("colours", "canary"): 2}
    return model_server


def version(gateway: httpx.Client, key: str | None = None, query: str = "") -> int:
    headers = {"x-routing-key": key} if key is not None else {}
    answer = gateway.post(f"/api/v1/predict_breed{query}", content=photo(), headers=headers)
    assert answer.status_code == 200, answer.text
    number = answer.json()["model"]["version"]
    assert isinstance(number, int)
    return number


@pytest.mark.parametrize("keyed", [True, False])
def test_of_ten_thousand_requests_each_share_is_right_to_one_per_cent(keyed: bool) -> None:
    random.seed(1)
    drawn = Counter(draw([90, 10], point("m", f"user-{index}" if keyed else None)) for index in range(10_000))
    assert drawn[1] / 10_000 == pytest.approx(0.10, abs=0.01)
    assert drawn[0] + drawn[1] == 10_000


def test_a_key_stays_where_it_is_and_moves_only_into_a_share_that_grows() -> None:
    keys = [f"user-{index}" for index in range(1000)]
    before = {key: draw([95, 5], point("m", key)) for key in keys}
    assert before == {key: draw([95, 5], point("m", key)) for key in keys}
    after = {key: draw([80, 20], point("m", key)) for key in keys}
    assert all(after[key] == 1 for key in keys if before[key] == 1)
    # Another model shares its users out anew: the canaries of one are not those of all.
    assert before != {key: draw([95, 5], point("other", key)) for key in keys}


@pytest.mark.usefixtures("rollout")
def test_the_traffic_is_shared_and_a_key_sticks_to_its_version(start: Start) -> None:
    gateway = start(traffic_split=json.dumps({"colours": "stable=50,canary=50"}))
    first = {key: version(gateway, key) for key in map(str, range(30))}
    assert set(first.values()) == {1, 2}
    assert {key: version(gateway, key) for key in first} == first
    assert {version(gateway) for _ in range(40)} == {1, 2}
    body = json.dumps({"signature_name": "describe", "instances": [0]})
    answers = {key: tensor_version(gateway, key, body) for key in list(first)[:10]}
    assert answers.items() <= first.items()


def tensor_version(gateway: httpx.Client, key: str, body: str) -> int:
    answer = gateway.post("/v1/models/colours:predict", content=body, headers={"x-routing-key": key})
    return int(answer.headers["x-model-version"])


@pytest.mark.usefixtures("rollout")
def test_a_version_or_label_that_the_caller_gives_wins(start: Start) -> None:
    gateway = start(traffic_split={"colours": {"canary": 1}})
    assert version(gateway) == 2
    assert version(gateway, query="?version=3") == 3
    assert version(gateway, query="?version_label=stable") == 1


def test_a_share_whose_label_is_not_served_falls_to_the_others(start: Start, rollout: ColourServer) -> None:
    gateway = start(traffic_split={"colours": {"stable": 1, "beta": 99}})
    assert version(gateway) == 1
    del rollout.labels["colours", "stable"]
    until(lambda: version(gateway) == 3)
    rollout.labels["colours", "beta"] = 2
    until(lambda: version(gateway, "a") == 2)


@pytest.mark.parametrize(
    "value", ["{", '{"m": "stable"}', '{"m": "stable=x"}', '{"m": "stable=-1,b=2"}', '{"m": {}}', '{"m": "a=0"}']
)
def test_shares_that_make_no_sense_are_refused(value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"traffic_split": value})
    assert {error["loc"][0] for error in refused.value.errors()} == {"traffic_split"}


@pytest.mark.parametrize("value", ['{"m": {"percent": 5}}', '{"m": {"percent": 0, "model": "x"}}', '{"m": 3}'])
def test_shadows_that_make_no_sense_are_refused(value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({"shadows": value})
    assert {error["loc"][0] for error in refused.value.errors()} == {"shadows"}


def shadowed(gateway: httpx.Client, outcome: str, target: str = "canary") -> float:
    return total(scraped(gateway), "gateway_shadow_images_total", model="colours", target=target, outcome=outcome)


def test_a_shadow_is_compared_and_never_seen(start: Start, rollout: ColourServer) -> None:
    gateway = start(shadows=json.dumps({"colours": {"percent": 100, "version_label": "canary"}}))
    assert version(gateway) == 3
    until(lambda: shadowed(gateway, "agree") == 1)
    samples = scraped(gateway)
    for role in ("primary", "shadow"):
        assert total(samples, "gateway_shadow_seconds_count", role=role) == 1
    # The same scores under other names: the shadow disagrees on every photo.
    rollout.models["colours"][2] = Misnamed(("green", "blue", "red"))
    until(lambda: version(gateway) == 3 and shadowed(gateway, "disagree") > 0)
    del rollout.models["colours"][2]
    until(lambda: version(gateway) == 3 and shadowed(gateway, "failed") > 0)


class Misnamed(ColourModel):
    """Says that it is of the usual order, and scores in another."""

    def card(self) -> dict[str, object]:
        return super().card() | {"labels": ["red", "green", "blue"]}


def test_another_model_of_another_size_can_be_the_shadow(start: Start, rollout: ColourServer) -> None:
    rollout.models["bigger"] = {7: ColourModel(height=16, width=12)}
    gateway = start(shadows={"colours": {"percent": 100, "model": "bigger", "version": 7}})
    files = [("images", ("a", photo("red"))), ("images", ("b", b"broken")), ("images", ("c", photo("blue")))]
    assert gateway.post("/api/v1/predict_breed/batch", files=files).status_code == 200
    until(lambda: shadowed(gateway, "agree", "bigger/7") == 2)


def test_a_shadow_that_hangs_slows_nobody_and_copies_beyond_the_limit_are_dropped(
    start: Start, rollout: ColourServer
) -> None:
    rollout.models["stuck"] = {1: Stuck()}
    Stuck.free.clear()
    gateway = start(shadows={"colours": {"percent": 100, "model": "stuck"}})
    try:
        for _ in range(20):
            assert version(gateway) == 3
        assert shadowed(gateway, "dropped", "stuck") == 12
    finally:
        Stuck.free.set()
    until(lambda: shadowed(gateway, "agree", "stuck") == 8)


def test_copies_hold_permits_and_bytes_until_they_are_done_and_leave_callers_half(rollout: ColourServer) -> None:
    rollout.models["stuck"] = {1: Stuck()}
    Stuck.free.clear()
    settings = Settings.model_validate(
        {
            "serving_target": rollout.address,
            "default_model": "colours",
            "shadows": {"colours": {"percent": 100, "model": "stuck"}},
            "max_images_in_flight": 4,
            "max_batch_images": 4,
            "request_timeout_seconds": 60,
        }
    )
    app = create_app(settings)
    services: list[Services] = []

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            services[:] = [scope["state"]["services"]]
        await app(scope, receive, send)

    with running_gateway(settings, noting) as gateway:
        try:
            for _ in range(5):
                assert version(gateway) == 3
            until(lambda: shadowed(gateway, "dropped", "stuck") == 3)
            admission = services[0].admission
            until(lambda: (admission.in_flight, admission.upload_bytes) == (2, 2 * len(photo())))
        finally:
            Stuck.free.set()
        until(lambda: shadowed(gateway, "agree", "stuck") == 2)
        until(lambda: (admission.in_flight, admission.upload_bytes) == (0, 0))
        admission.max_upload_bytes = 2 * len(photo()) - 1  # the photo itself is taken, a copy would be more than half
        assert version(gateway) == 3
        until(lambda: shadowed(gateway, "dropped", "stuck") == 4)


class Stuck(ColourModel):
    """Does not answer until it is freed."""

    free = threading.Event()

    def predict(self, name: str, inputs: Mapping[str, pb.Tensor]) -> dict[str, pb.Tensor]:
        if name != "describe":
            self.free.wait(DEADLINE_SECONDS)
        return super().predict(name, inputs)
