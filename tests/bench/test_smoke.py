"""The benchmark's parts on real processes: a model server that computes nothing, and the gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from rich.console import Console

from bench import batches, load, picture, profile, report, sweep
from bench.__main__ import chosen_model, parser
from bench.agreement import Disagreement
from bench.compare import Comparison, compare
from bench.idle_server import MODEL
from bench.photos import draw_photos, read_photos
from bench.programs import available, input_size, started
from bench.systems import System, check_agreement, systems
from bench.targets import Target
from modelserver.config import parse_batching
from testing import ROOT
from testing.polling import DEADLINE_SECONDS
from testing.processes import LOOPBACK, Process, free_port

T = TypeVar("T")


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    return draw_photos(3)


def test_drawn_photos_are_the_same_every_time_and_a_folder_gives_what_it_holds(
    tmp_path: Path, photos: list[bytes]
) -> None:
    assert draw_photos(3) == photos
    (tmp_path / "a.jpg").write_bytes(photos[0])
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert read_photos(tmp_path) == [photos[0]]
    with pytest.raises(ValueError, match="contains no photo"):
        read_photos(tmp_path / "nothing")


def test_a_model_on_a_running_server_may_have_the_name_of_a_folder_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bench").mkdir()
    target = ["--target", "127.0.0.1:8500"]
    assert chosen_model(parser().parse_args(["--model", "bench", *target]), Console()) == (None, "bench", [], None)
    for options in (["--model", "bench"], ["--model", "models/bench", *target]):
        with pytest.raises(ValueError, match="bench is not a folder of model versions"):
            chosen_model(parser().parse_args(options), Console())


def test_a_moment_of_everything_ends_in_tables_json_and_a_plot(
    tmp_path: Path, photos: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "RAMP_SECONDS", 0.1)
    port = free_port()
    target = f"{LOOPBACK}:{port}"
    server = Process("idle", ["bench.idle_server", "--port", str(port)], {}, tmp_path / "idle.log")
    try:
        server.wait_until(lambda: available(target, MODEL))
        with started(None, MODEL, photos[0], tmp_path, target=target, target_pid=server.pid) as running:
            compared = systems(running, MODEL, photos)
            assert [one.name for one in compared] == ["direct", "decode + direct", "gateway"]
            check_agreement(compared, len(photos))
            _a_wrong_answer_is_found(compared, len(photos))
            comparison = _long_enough(
                lambda seconds: compare(compared, len(photos), 1, seconds, 20, lambda _: None, closed=(1, 8)),
                _all_answer,
            )
            in_batches, _ = _long_enough(
                lambda seconds: batches.measure(running.gateway_port, photos, 1, seconds), lambda both: both[1][0] > 0
            )
    finally:
        server.stop()
    _all_is_measured(comparison)
    assert in_batches[0] > 0
    console = Console(record=True, width=140)
    report.print_tables(console, comparison, running.start_seconds)
    assert "gateway" in console.export_text()
    report.write_json(tmp_path / "figures.json", comparison, [Target("a", "b", "c", True)], {"more": 1})
    assert json.loads((tmp_path / "figures.json").read_text())["rounds"]["8 callers"]["gateway"][0]["failures"] == 0
    picture.draw(tmp_path / "plot.png", comparison, "8 callers", "a caption")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def _long_enough(measure: Callable[[float], T], is_enough: Callable[[T], bool]) -> T:
    """Measures for longer and longer: on a busy machine, no request may end within a moment."""
    seconds = 0.3
    while not is_enough(measured := measure(seconds)):
        seconds *= 4
        assert seconds < DEADLINE_SECONDS, "a system answers nothing"
    return measured


def _all_answer(comparison: Comparison) -> bool:
    measured = [run for systems_ in comparison.runs.values() for runs in systems_.values() for run in runs]
    assert sum(run.failures for run in measured) == 0
    return min(run.rate for run in measured) > 0


def _a_wrong_answer_is_found(compared: list[System], photos: int) -> None:
    gateway = compared[-1]

    def check(photo: int, answer: bytes, expected: object) -> None:
        wrong = json.loads(answer)
        wrong["predictions"][0]["score"] += 0.01
        gateway.check(photo, json.dumps(wrong).encode(), expected)  # type: ignore[arg-type]

    with pytest.raises(Disagreement):
        check_agreement([compared[0], System("wrong", gateway.connect, {}, check)], photos)


def _all_is_measured(comparison: Comparison) -> None:
    assert list(comparison.runs) == ["1 caller", "8 callers", "open 20/s"]
    for systems_ in comparison.runs.values():
        for name, [run] in systems_.items():
            assert run.failures == 0, name
            assert run.cpu["client"] > 0, name
    assert comparison.memory["gateway"]["gateway"] > 10
    assert comparison.memory["gateway"]["model server"] > 10


def test_every_file_of_the_gateway_that_a_profile_names_is_there() -> None:
    files = {pattern for patterns in profile.AREAS.values() for pattern in patterns if pattern.startswith("gateway/")}
    assert all((ROOT / file).exists() for file in files)


def test_a_setting_of_the_sweep_is_what_the_model_server_reads() -> None:
    batching = parse_batching(sweep.Setting(64, 4, 2000, 3).text())
    assert (batching.max_batch_size, batching.execution_size) == (64, 4)
    assert (batching.timeout_micros, batching.threads) == (2000, 3)


def test_the_input_size_of_a_model_is_that_of_its_newest_version(tmp_path: Path) -> None:
    for version, height in ((9, 224), (10, 96)):
        folder = tmp_path / str(version) / "assets.extra"
        folder.mkdir(parents=True)
        (folder / "card.json").write_text(json.dumps({"input": {"height": height, "width": 64}}))
    assert input_size(tmp_path) == (96, 64)


def test_samples_are_counted_for_the_innermost_part_they_are_in() -> None:
    folded = (
        "run (uvicorn/server.py:1);classify (gateway/inference/classifier.py:2);stack (numpy/core.py:3) 2\n"
        "run (uvicorn/server.py:1);run (gateway/workers/pool.py:2);readexactly (asyncio/streams.py:3) 5\n"
    )
    assert profile.areas(folded) == {"tensors, ranking": 2, "event loop": 5}
