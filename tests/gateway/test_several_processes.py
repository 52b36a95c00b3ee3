"""Several gateway processes behind one port: all have the same settings, and any answers for all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from testing.colour_server import ColourModel, ColourServer
from testing.gateway import gateway_process, is_live
from testing.photos import photo
from testing.polling import until
from testing.processes import Process
from testing.promtool import check_metrics
from tests.gateway.observability.test_metrics import scraped, total

BREED = "/api/v1/predict_breed"


@pytest.fixture(scope="module")
def model_server() -> Iterator[ColourServer]:
    server = ColourServer(models={"colours": {1: ColourModel()}})
    with server.serving():
        yield server


@pytest.fixture(scope="module")
def two_processes(
    tmp_path_factory: pytest.TempPathFactory, model_server: ColourServer
) -> Iterator[tuple[httpx.Client, Process]]:
    """A gateway of two processes by its configuration file, with variables that are no settings."""
    file = tmp_path_factory.mktemp("configuration") / "gateway.toml"
    file.write_text("workers = 2\ndocs = false\n")
    variables = {"CONFIG": str(file), "API_KEY": "x", "COLOUR": "y"}
    with gateway_process(model_server.address, file.with_name("log"), **variables) as running:
        yield running


@pytest.fixture
def client(two_processes: tuple[httpx.Client, Process]) -> httpx.Client:
    return two_processes[0]


@pytest.fixture
def process(two_processes: tuple[httpx.Client, Process]) -> Process:
    return two_processes[1]


def test_every_process_reads_the_configuration_file(client: httpx.Client) -> None:
    assert {client.get("/docs").status_code for _ in range(20)} == {404}


def test_a_variable_that_is_named_like_a_setting_and_is_none_is_told_once(process: Process) -> None:
    sentence = (
        "ignoring unknown environment variables: GATEWAY_API_KEY (did you mean GATEWAY_API_KEYS?), GATEWAY_COLOUR"
    )
    assert process.output.count(sentence) == 1


def test_promtool_finds_nothing_wrong_with_the_metrics_of_all(client: httpx.Client) -> None:
    for content in (photo(), b"broken"):
        client.post("/api/v1/models/colours/predict", content=content)
    # A request is counted when its answer is out, and another process may be scraped by then.
    until(lambda: total(scraped(client), "gateway_requests_total", route="/api/v1/models/{model}/predict") >= 2)
    check_metrics(client.get("/metrics").text)


def test_any_process_answers_for_all_even_for_one_that_died(
    client: httpx.Client, process: Process, model_server: ColourServer
) -> None:
    def answered() -> float:
        return total(scraped(client), "gateway_requests_total", route=BREED, status="200")

    def ask(_: int) -> int:
        try:
            return client.post(BREED, content=photo()).status_code
        except httpx.TransportError:
            return 0

    def decoded() -> float:
        return total(scraped(client), "gateway_stage_seconds_count", stage="decode")

    before = decoded()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [200] * 40
        until(lambda: {answered() for _ in range(8)} == {40})
        assert decoded() == before + 40
        model_server.stalled.set()
        lost = [pool.submit(ask, index) for index in range(4)]
        until(lambda: total(scraped(client), "gateway_images_in_flight") == 4)
        for one in gateways_of(process.pid):
            one.kill()
        assert [one.result() for one in lost] == [0] * 4
        model_server.stalled.clear()
    until(lambda: is_live(client))
    assert answered() == 40
    # One that is killed is counted until its parent has noticed.
    until(lambda: total(scraped(client), "gateway_images_in_flight") == 0)


def gateways_of(pid: int) -> list[psutil.Process]:
    """The gateway processes of a parent, without multiprocessing's own tracker."""
    return [child for child in psutil.Process(pid).children() if "spawn_main" in " ".join(child.cmdline())]
