"""The labels of a model server that polls its configuration."""

import argparse
import os
import shutil
from pathlib import Path

import pytest

from testing.polling import DEADLINE_SECONDS
from testing.polling_server import PollingServer, labels, served
from tests.trainer.registry.drafts import hidden, put
from trainer.cli import main
from trainer.errors import TrainerError
from trainer.options import add_models_dir
from trainer.registry import promote, server_config, versions
from trainer.registry.publish import DRAFT_PREFIX, published_versions


def move(
    server: str, config: Path, models: Path, version: int, label: str = "stable", seconds: float = DEADLINE_SECONDS
) -> None:
    promote.promote("dogs", version, label, config=config, models_dir=models, server=server, timeout_seconds=seconds)


def test_a_label_moves_once_the_server_has_the_version(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    move(target, config, models, 2)
    assert labels(config) == {"stable": 2, "stable-previous": 1}
    assert served(config) == [1, 2]
    assert ("stable", 2) in servicer.loaded_before_label
    entry = server_config.find(server_config.read(config), "dogs")
    assert entry is not None
    assert entry.base_path == "/models/dogs"


def test_no_label_moves_to_a_version_that_loads_and_fails_every_call(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    servicer.failing[2] = "Could not find variable dense/kernel\n\t [[{{node x}}]]"
    with pytest.raises(TrainerError, match=r"no label was moved: .* Could not find variable dense/kernel \(signature"):
        move(target, config, models, 2)
    assert labels(config) == {"stable": 1}
    assert served(config) == [1]
    del servicer.failing[2]
    servicer.scores = 4
    with pytest.raises(TrainerError, match="returns 4 scores, but its model card has 3 labels"):
        move(target, config, models, 2)
    assert labels(config) == {"stable": 1}


def test_labels_and_models_stand_side_by_side(server: tuple[PollingServer, str], config: Path, models: Path) -> None:
    put(models, "cats")
    move(server[1], config, models, 1)
    move(server[1], config, models, 3, "canary")
    promote.promote(
        "cats", 1, "stable", config=config, models_dir=models, server=server[1], timeout_seconds=DEADLINE_SECONDS
    )
    assert labels(config) == {"stable": 1, "canary": 3}
    assert labels(config, "cats") == {"stable": 1}
    assert served(config) == [1, 3]


def test_a_version_that_does_not_load_moves_no_label(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    servicer, target = server
    move(target, config, models, 1)
    before = config.read_text()
    servicer.broken[2] = "Op type not registered"
    with pytest.raises(TrainerError, match="Op type not registered"):
        move(target, config, models, 2)
    assert config.read_text() == before


def test_a_first_promotion_that_fails_leaves_no_entry(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    server[0].broken[1] = "no"
    with pytest.raises(TrainerError):
        move(server[1], config, models, 1)
    assert server_config.find(server_config.read(config), "dogs") is None


def test_a_server_that_is_not_there_is_named_and_nothing_changes(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match=r"no answer from a model server at 127\.0\.0\.1:1:"):
        move("127.0.0.1:1", config, models, 1, seconds=0.5)
    assert not config.exists()


def test_a_version_that_is_not_published_is_refused(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match="has no version 7; versions: 1, 2, 3"):
        move("127.0.0.1:1", config, models, 7)


def test_rollback_goes_back_once_and_drops_the_bad_version(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    move(server[1], config, models, 1)
    move(server[1], config, models, 2)
    assert promote.rollback("dogs", "stable", config=config, server=server[1], timeout_seconds=DEADLINE_SECONDS) == 1
    assert labels(config) == {"stable": 1}
    assert served(config) == [1]
    with pytest.raises(TrainerError, match="has no previous version of label"):
        promote.rollback("dogs", "stable", config=config, server=server[1], timeout_seconds=DEADLINE_SECONDS)


def test_promoting_the_version_that_a_label_names_keeps_the_way_back(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    for version in (1, 2, 2):
        move(server[1], config, models, version)
    assert labels(config) == {"stable": 2, "stable-previous": 1}


def test_prune_keeps_the_newest_and_every_version_that_a_label_names(
    server: tuple[PollingServer, str], config: Path, models: Path
) -> None:
    for _ in range(4):
        put(models)
    for version in (2, 3):
        move(server[1], config, models, version)
    assert versions.prune(models, "dogs", keep=2, config=config) == [1, 4, 5]
    assert published_versions(models, "dogs") == [2, 3, 6, 7]
    assert hidden(models / "dogs") == []


def test_prune_goes_on_when_a_draft_is_gone_before_it_looks_at_it(
    config: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.parent.mkdir()
    config.touch()
    drafts = [models / "dogs" / f"{DRAFT_PREFIX}{number}" for number in range(2)]
    for draft in drafts:
        draft.mkdir()
        os.utime(draft, (0, 0))

    def remove_all(*_: object, **__: object) -> None:
        for draft in drafts:
            draft.rmdir()

    monkeypatch.setattr("trainer.registry.versions.shutil.rmtree", remove_all)
    assert versions.prune(models, "dogs", keep=3, config=config) == []
    assert hidden(models / "dogs") == []


def test_prune_without_the_file_that_holds_the_labels_removes_nothing(config: Path, models: Path) -> None:
    with pytest.raises(TrainerError, match="the labelled versions are unknown"):
        versions.prune(models, "dogs", keep=1, config=config)
    assert published_versions(models, "dogs") == [1, 2, 3]


def test_editing_keeps_the_comment_at_the_top_and_a_policy_of_all(config: Path) -> None:
    config.parent.mkdir()
    config.write_text(
        "# What the server loads.\n\nmodel_config_list { config { name: 'dogs' base_path: '/elsewhere' "
        "model_platform: 'tensorflow' model_version_policy { all {} } } }\n"
    )
    with server_config.edit(config) as edited:
        server_config.move_label(server_config.find_or_add(edited, "dogs"), "stable", 4)
    assert config.read_text().startswith("# What the server loads.\n")
    entry = server_config.find(server_config.read(config), "dogs")
    assert entry is not None
    assert entry.model_version_policy.HasField("all")
    assert entry.base_path == "/elsewhere"
    assert labels(config) == {"stable": 4}


def test_a_damaged_configuration_is_said_to_be_damaged_and_not_replaced(config: Path, models: Path) -> None:
    config.parent.mkdir()
    config.write_text("model_config_list {")
    with pytest.raises(TrainerError, match="not a model server configuration"):
        move("127.0.0.1:1", config, models, 1, seconds=0.5)
    assert config.read_text() == "model_config_list {"


def test_list_shows_versions_and_what_labels_name_them(
    server: tuple[PollingServer, str], config: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move(server[1], config, models, 2)
    parser = argparse.ArgumentParser()
    versions.add_list_arguments(parser)
    assert versions.run_list(parser.parse_args(["--models-dir", str(models), "--config", str(config)])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert [line.endswith("stable") for line in lines] == [False, True, False]


def test_list_leaves_out_a_version_that_is_deleted_meanwhile(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deleted_meanwhile(models_dir: Path, name: str) -> list[int]:
        found = published_versions(models_dir, name)
        shutil.rmtree(models_dir / name / "1")
        return found

    monkeypatch.setattr(versions, "published_versions", deleted_meanwhile)
    assert main(["list", "--models-dir", str(models)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("dogs  ")] == ["2", "3"]


def test_promote_and_rollback_say_who_gets_the_version(
    server: tuple[PollingServer, str], config: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move(server[1], config, models, 2)
    places = ("--models-dir", str(models), "--config", str(config), "--server", server[1])
    for command, last in (("promote", ("dogs", "1")), ("rollback", ("dogs",))):
        assert main([command, *last, *places]) == 0
        [_, who] = capsys.readouterr().out.splitlines()
        assert who.startswith("requests without a label get the newest loaded version")
        assert who.endswith("GATEWAY_TRAFFIC_SPLIT='" + '{"dogs": "stable=1"}' + "'")


@pytest.mark.parametrize("label", ["stable-previous", "", "a b", "../x"])
def test_a_label_that_cannot_be_set_is_refused(label: str) -> None:
    with pytest.raises(TrainerError):
        promote.check_label(label)


def test_labels_are_looked_for_where_scripts_run_keeps_them(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_models_dir(parser)
    server_config.add_config(parser)
    args = parser.parse_args(["--models-dir", str(tmp_path)])
    assert server_config.config_path(args) == Path("serving/models.config")
    own = tmp_path / "models.config"
    own.touch()
    assert server_config.config_path(args) == own
    assert server_config.config_path(parser.parse_args(["--config", "other"])) == Path("other")
