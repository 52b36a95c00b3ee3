"""``breed COMMAND``: run the gateway, the model server, a trainer command, or create an API key."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from gateway import __version__
from trainer.cli import COMMANDS as TRAINER_COMMANDS

PROGRAMS = {
    "gateway": ("gateway.__main__", "", "serve models over HTTP and gRPC"),
    "modelserver": ("modelserver.__main__", "modelserver", "serve SavedModels over gRPC, like tensorflow_model_server"),
    "api-key": ("gateway.security.api_keys", "", "create an API key and its hash"),
}
"""Programs: module with a function ``main(arguments, prog)``, required extra and help text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        if command in PROGRAMS:
            module, extra, _ = PROGRAMS[command]
            status = importlib.import_module(module).main(rest, prog=f"breed {command}")
        elif command in TRAINER_COMMANDS:
            extra = "trainer"
            status = importlib.import_module("trainer.cli").main(arguments, prog="breed")
        else:
            _parser().parse_args(arguments)
            raise AssertionError("argparse accepted an unknown command")
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if not extra or name in ("breed", "gateway", "modelserver", "trainer"):
            raise
        sys.stderr.write(
            f"breed {command}: the package {name} is not installed; run: pip install 'breed-gateway[{extra}]'\n"
        )
        return 1
    return int(status or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="breed",
        description="Serve, train and publish image classifiers.",
        epilog="`breed COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for name, (_, _, text) in (PROGRAMS | TRAINER_COMMANDS).items():
        commands.add_parser(name, help=text)
    return parser


if __name__ == "__main__":
    sys.exit(main())
