"""The command line: options, environment and configuration file."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import __version__
from gateway.command_line import REMOVED, SettingsError, load_settings, parse_options, unknown_variables
from gateway.settings import PREFIX, Settings
from testing import ROOT
from testing.polling import DEADLINE_SECONDS
from trainer.cli import COMMANDS

MODULES = {
    "gateway": "gateway.__main__",
    "modelserver": "modelserver.__main__",
    "trainer": "trainer.cli",
    "breed": "breed.__main__",
}
PROGRAMS = [
    ["gateway"],
    ["modelserver"],
    ["trainer"],
    ["breed"],
    ["breed", "gateway"],
    ["breed", "modelserver"],
    ["breed", "api-key"],
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a program in this process; returns its exit status, stdout and stderr."""

    def run(program: str, *arguments: str) -> tuple[int, str, str]:
        try:
            status = importlib.import_module(MODULES[program]).main(arguments)
        except SystemExit as ended:
            status = ended.code
        return int(status or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_every_program_has_help_and_a_version(program: list[str], run: Run) -> None:
    status, text, errors = run(*program, "--help")
    assert (status, errors) == (0, "")
    assert text.startswith("usage: breed")
    status, text, errors = run(*program, "--version")
    assert (status, errors) == (0, "")
    assert text.endswith(f" {__version__}\n")


@pytest.mark.parametrize("program", ["trainer", "breed"])  # tests of their packages run the others
def test_every_program_is_a_module_that_can_be_run(program: str) -> None:
    command = [sys.executable, "-m", program, "--version"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True)
    assert done.stdout.endswith(f" {__version__}\n")


def test_the_help_lists_every_setting_as_an_option(run: Run) -> None:
    _, text, _ = run("gateway", "--help")
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in text


def test_breed_offers_every_command_of_the_trainer(run: Run) -> None:
    _, text, _ = run("breed", "--help")
    assert all(f"\n    {name}" in text for name in (*COMMANDS, "gateway", "modelserver", "api-key"))
    assert run("breed", "train", "--help")[1].startswith("usage: breed train")
    assert run("breed", "no-such-command")[0] == 2


def test_an_api_key_is_printed_with_its_entry(run: Run) -> None:
    _, printed, _ = run("breed", "api-key", "--name", "mobile")
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
        ("[model_options.m]\nlabel = ['a', 'b']", "m: label: there is no such option; did you mean labels\\?$"),
        ("[model_options.m]\nversion = 1", "m: version: there is no such option$"),
        ("[shadows.m]\nprecent = 1", "m: precent: there is no such option; did you mean percent\\?$"),
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


def test_a_removed_variable_is_reported_with_the_setting_that_replaces_it() -> None:
    environment = {"GATEWAY_ROUTES": "{}", "GATEWAY_PORT": "0", "GATEWAY_COLOUR": "red"}
    assert unknown_variables(environment) == ["GATEWAY_COLOUR", "GATEWAY_ROUTES (use GATEWAY_TRAFFIC_SPLIT instead)"]
    assert all(new.removeprefix(PREFIX).lower() in Settings.model_fields for new in REMOVED.values())
