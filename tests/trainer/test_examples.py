"""The examples in the help of each command."""

import shlex

import pytest

from trainer.cli import COMMANDS, main, parser_of
from trainer.examples import EXAMPLES


def test_every_command_has_three() -> None:
    assert {command: len(uses) for command, uses in EXAMPLES.items()} == dict.fromkeys(COMMANDS, 3)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_begins_with_them_and_they_are_accepted(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"], "breed")
    output = capsys.readouterr().out
    for arguments, text in EXAMPLES[command]:
        line = f"breed {command} {arguments}".rstrip()
        assert output.index(line) < output.index("options:")
        assert text in output
        parser_of([command], "breed").parse_args([command, *shlex.split(arguments)])


def test_an_error_without_a_way_out_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/nowhere/at/all"], "breed") == 1
    assert capsys.readouterr().err.rstrip().endswith("breed check --help shows what it takes")
