"""The command `rollout`: what it refuses, and a whole rollout."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from testing.polling_server import PollingServer, labels
from tests.trainer.registry.conftest import config, server
from tests.trainer.registry.drafts import put
from tests.trainer.rollout.callers import Callers, url
from trainer.cli import main
from trainer.errors import TrainerError
from trainer.rollout.command import read_disagreement

__all__ = ["config", "server"]


def test_the_expected_disagreement_comes_from_a_comparison_of_the_same_versions(tmp_path: Path) -> None:
    file = tmp_path / "comparison.json"
    comparison = {
        "a": {"path": "models/dogs/4"},
        "b": {"path": "models/dogs/5"},
        "disagreement": {"interval": [0.01, 0.04]},
    }
    file.write_text(json.dumps(comparison))
    assert read_disagreement(file, 4, 5) == 0.04
    with pytest.raises(TrainerError, match="compares versions 4 and 5, not 4 and 6"):
        read_disagreement(file, 4, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("5",), "has no label 'stable' of dogs"),
        (("5", "--steps", "5,1"), "expected ascending percentages"),
        (("x",), "is not a version"),
        (("5", "--comparison", "none.json"), "is not a comparison.json"),
    ],
)
def test_a_mistake_is_answered_before_anything_changes(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "models.config"
    if "none.json" in arguments:
        config.write_text(
            'model_config_list { config { name: "dogs" base_path: "/models/dogs" model_platform: "tensorflow" '
            'version_labels { key: "stable" value: 4 } } }'
        )
    command = ["rollout", "dogs", *arguments, "--split", str(tmp_path / "split.json"), "--config", str(config)]
    with pytest.raises(SystemExit) if "--steps" in arguments else nullcontext():
        assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "split.json").exists()


def test_the_command_moves_the_labels_of_the_model_server(
    start: Callable[..., httpx.Client],
    config: Path,
    server: tuple[PollingServer, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        put(tmp_path / "models", "colours")
    places = ["--models-dir", str(tmp_path / "models"), "--config", str(config), "--server", server[1]]
    assert main(["promote", "colours", "1", *places]) == 0
    gateway = start()
    steps = ["--steps", "40,100", "--answers", "5", "--seconds", "0", "--split", str(tmp_path / "split.json")]
    with Callers(gateway, None).sending():
        status = main(["rollout", "colours", "2", *steps, "--metrics", url(gateway), *places])
    assert status == 0, capsys.readouterr().err
    assert labels(config, "colours") == {"stable": 2, "stable-previous": 1, "canary": 2}
    records = [json.loads(line) for line in (config.parent / "models.history.jsonl").read_text().splitlines()]
    assert [(one["event"], one.get("share")) for one in records] == [
        ("promote", None), ("rollout", 40), ("rollout", 100),
    ]  # fmt: skip
    assert records[-1]["evidence"]["errors"]["answers"] >= 5
