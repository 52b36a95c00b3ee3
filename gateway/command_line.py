"""The command line: every setting as an option, ``--config`` and ``--version``; and the environment that it sets.

Options become environment variables, because the processes that uvicorn starts read their settings from the
environment. So options and variables have the same syntax, and options take precedence.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
import typing
from collections.abc import Mapping, MutableMapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from gateway import __version__
from gateway.model_options import ModelOptions, ShadowOptions
from gateway.settings import CONFIG, PREFIX, Settings

REMOVED = {
    "GATEWAY_ROUTES": "GATEWAY_TRAFFIC_SPLIT",
    "GATEWAY_DECODE_THREADS": "GATEWAY_DECODE_WORKERS",
    "GATEWAY_MAX_JOINED_PHOTOS": "GATEWAY_MAX_CROSS_REQUEST_BATCH_SIZE",
}
"""Variables that 0.2.0 still accepted, and those that replace them."""

EPILOG = (
    "Each option can also be set by an environment variable: GATEWAY_ and its name in upper case, for example "
    "GATEWAY_LOG_LEVEL for --log-level. Options take precedence over environment variables, and environment variables "
    "over the configuration file."
)


class SettingsError(Exception):
    """The settings are not valid; the message has one line for each mistake."""


def parse_options(prog: str, arguments: Sequence[str] | None, environment: MutableMapping[str, str]) -> None:
    """Parse the command line into variables of `environment`; exits for ``--help``, ``--version`` and mistakes."""
    parser = argparse.ArgumentParser(
        prog=prog,
        usage="%(prog)s [OPTION ...]",
        description="Serve image classifiers over HTTP and gRPC, on TensorFlow Serving or breed modelserver.",
        epilog=EPILOG,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings. Its keys are the names of settings.")
    for name, field in Settings.model_fields.items():
        _add_option(parser, name, field)
    for name, value in vars(parser.parse_args(arguments)).items():
        environment[PREFIX + name.upper()] = str(value).lower() if isinstance(value, bool) else value


def load_settings() -> Settings:
    """Read the settings from the environment and the configuration file.

    Raises:
        SettingsError: They are not valid, or the file cannot be read.
    """
    file = os.environ.get(CONFIG)
    if file:
        try:
            tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"cannot read {file}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsError(f"{file} is not valid TOML: {error}") from error
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(one, file) for one in error.errors())) from error


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with the prefix that are not settings, each with the setting that was probably meant."""
    variables = [CONFIG, *(PREFIX + name.upper() for name in Settings.model_fields)]
    unknown = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in variables:
            matches = get_close_matches(name.upper(), variables, n=1, cutoff=0.85)
            if name.upper() in REMOVED:
                unknown.append(f"{name} (use {REMOVED[name.upper()]} instead)")
            else:
                unknown.append(f"{name} (did you mean {matches[0]}?)" if matches else name)
    return unknown


def _add_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    option = _option(name)
    text = (field.description or "").replace("%", "%%")
    default = field.get_default(call_default_factory=True)
    if field.annotation is bool:
        text += f" Default: {'on' if default else 'off'}."
        parser.add_argument(option, action=argparse.BooleanOptionalAction, help=text)
        return
    if default not in (None, "", (), {}):
        text += f" Default: {default}."
    choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else None
    parser.add_argument(option, choices=choices, metavar=None if choices else _metavar(name, field), help=text)


def _metavar(name: str, field: FieldInfo) -> str:
    if field.annotation in (int, float, int | None):
        return "N"
    return "FILE" if field.annotation == Path | None else name.rpartition("_")[2].upper()


def _line(error: ErrorDetails, file: str | None) -> str:
    setting, *inside = map(str, error["loc"] or ("",))
    message = error["msg"].removeprefix("Value error, ")
    if setting and setting not in Settings.model_fields:
        return f"{setting!r} in {file} is not a setting"
    if error["type"] == "extra_forbidden" and inside:
        options = ShadowOptions if setting == "shadows" else ModelOptions
        near = get_close_matches(inside[-1], options.model_fields, 1)
        message = "there is no such option" + "".join(f"; did you mean {one}?" for one in near)
    where = f"{PREFIX}{setting.upper()} ({_option(setting)})" if setting else "settings"
    return ": ".join([where, *inside, message])


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def fail(prog: str, error: SettingsError) -> int:
    """Print what is wrong with the settings, one line each; returns the exit status."""
    for line in str(error).splitlines():
        print(f"{prog}: {line}", file=sys.stderr)  # noqa: T201
    return 2
