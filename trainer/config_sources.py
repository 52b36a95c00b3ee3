"""Where settings of a training run come from: a recipe, a TOML file and the command line, in this order."""

import argparse
import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from trainer.config import Config, Value
from trainer.errors import TrainerError

KINDS: Final[Mapping[type, str]] = {int: "an integer", float: "a number", str: "text", bool: "true or false"}

METAVARS: Final = {
    "backbone": "NETWORK",
    "weights": "FILE",
    "description": "TEXT",
    "noun": "TEXT",
    "fine_tune": "LAYERS",
}

RECIPES: Final[Mapping[str, Mapping[str, Value]]] = {
    "accurate": {"backbone": "efficientnet_lite2", "size": 288},
    "dog-breeds": {"backbone": "densenet201", "head": "dense", "dropout": 0.3, "views": 8},
    "cats-dogs": {
        "backbone": "vgg16",
        "size": 256,
        "pooling": "flatten",
        "hidden": 256,
        "dropout": 0.5,
        "output": "sigmoid",
        "epochs": 0,
        "fine_tune": 4,  # block5: three convolutions and their pooling
        "fine_tune_epochs": 20,
        "fine_tune_learning_rate": 1e-4,
        "fine_tune_batch_size": 8,
        "optimizer": "rmsprop",
        "schedule": "constant",
        "label_smoothing": 0.0,
        "rotation": 40.0,
        "shift": 0.2,
        "shear": 0.2,
        "zoom": 0.2,
        "flip": True,
    },
}
"""Presets: larger photos, bottleneck features for many breeds, and a fine-tuned last block for two classes."""


def read(path: Path) -> dict[str, Value]:
    """Reads and checks the settings of a TOML file.

    Raises:
        TrainerError: The file cannot be read, has an unknown key, or a value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainerError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainerError(f"{path} is not TOML: {error}") from error
    types = typing.get_type_hints(Config)
    values: dict[str, Value] = {}
    for key, value in table.items():
        if key not in types:
            raise TrainerError(f"{path}: unknown setting {key!r}; the settings are {', '.join(types)}")
        if key == "add":
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise TrainerError(f"{path}: add must be a list of folders, not {value!r}")
            values[key] = tuple(value)
            continue
        kind = _plain_type(types[key])
        if kind is float and type(value) is int:
            value = float(value)
        choices = _choices(types[key])
        if (
            not isinstance(value, str | int | float | bool)
            or type(value) is not kind
            or value not in (choices or [value])
        ):
            accepted = " or ".join(map(repr, choices)) or KINDS[kind]
            raise TrainerError(f"{path}: {key} must be {accepted}, not {value!r}")
        values[key] = value
    return values


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds an option for every setting. The namespace contains only options that were used."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    hints = typing.get_type_hints(Config)
    for field in dataclasses.fields(Config):
        if "help" not in field.metadata:
            continue
        name = field.metadata["group"]
        if name not in groups:
            groups[name] = parser.add_argument_group(name)
        group = groups[name]
        flag = "--" + field.name.replace("_", "-")
        text = f"{field.metadata['help']} (default: {str(field.default).lower() or 'none'})"
        kind = _plain_type(hints[field.name])
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        else:
            choices = _choices(hints[field.name])
            metavar = None if choices else METAVARS.get(field.name, "N" if kind is int else "X")
            group.add_argument(
                flag, type=kind, choices=choices or None, metavar=metavar, default=argparse.SUPPRESS, help=text
            )


def from_arguments(args: argparse.Namespace) -> dict[str, Value]:
    """Returns the settings of the command line."""
    options = {
        one.name: getattr(args, one.name)
        for one in dataclasses.fields(Config)
        if getattr(args, one.name, None) is not None
    }
    return options | ({"add": tuple(options["add"])} if "add" in options else {})


def _choices(hint: object) -> tuple[str, ...]:
    return typing.get_args(hint)


def _plain_type(hint: object) -> type:
    return str if _choices(hint) else typing.cast(type, hint)
