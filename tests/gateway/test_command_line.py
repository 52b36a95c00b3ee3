"""The command line: options, environment and configuration file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from gateway.command_line import SettingsError, load_settings, parse_options
from gateway.settings import Settings
from testing import ROOT
from testing.colour_server import ColourServer
from testing.gateway import gateway_process

PROGRAMS = [["gateway"], ["modelserver"], ["trainer"], ["breed"], ["breed", "gateway"], ["breed", "modelserver"]]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_every_program_has_help_and_a_version(program: list[str]) -> None:
    helped, versioned = run(*program, "--help"), run(*program, "--version")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith("usage: breed")
    assert versioned.stdout.endswith(f" {__version__}\n")


def test_the_help_lists_every_setting_as_an_option() -> None:
    text = run("gateway", "--help").stdout
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_breed_offers_every_command_of_the_trainer() -> None:
    from trainer.cli import COMMANDS

    text = run("breed", "--help").stdout
    assert all(f"\n    {name}" in text for name in (*COMMANDS, "gateway", "modelserver", "api-key"))
    assert run("breed", "train", "--help").stdout.startswith("usage: breed train")
    assert run("breed", "no-such-command").returncode == 2


def test_an_api_key_is_printed_with_its_entry() -> None:
    printed = run("breed", "api-key", "--name", "mobile").stdout
    key, entry = (line.split()[-1] for line in printed.splitlines())
    assert Settings(api_keys=(entry,)).known_keys.owner(key) == "mobile"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what the command line adds must not stay


@pytest.mark.usefixtures("environment")
def test_options_override_the_environment_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        'port = 1\nmax_top_k = 1\nlog_level = "error"\nmodels = ["a", "b"]\n[model_options.a]\nheight = 96\n'
    )
    os.environ |= {"GATEWAY_PORT": "2", "GATEWAY_MAX_TOP_K": "2"}
    parse_options("gateway", ["--config", str(file), "--port", "3", "--no-docs", "--tracing"], os.environ)
    settings = load_settings()
    assert (settings.port, settings.max_top_k, settings.log_level) == (3, 2, "error")
    assert settings.served_models == ("dog_breed", "a", "b")
    assert settings.model_options["a"].height == 96
    assert (settings.docs, settings.tracing) == (False, True)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "'prot' in .*gateway.toml is not a setting"),
        ("port =", "gateway.toml is not valid TOML"),
        ("port = 'x'", r"GATEWAY_PORT \(--port\): "),
        (None, "cannot read .*gateway.toml: No such file"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "gateway.toml"
    if text is not None:
        file.write_text(text)
    parse_options("gateway", [f"--config={file}"], os.environ)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_every_gateway_process_reads_the_configuration_file(model_server: ColourServer, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text("workers = 2\ndocs = false\n")
    with gateway_process(model_server.address, CONFIG=str(file)) as (client, _):
        assert {client.get("/docs").status_code for _ in range(20)} == {404}
