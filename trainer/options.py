"""Options that several commands share, each declared once."""

import argparse
import os
from pathlib import Path

KEY_VARIABLE = "BREED_API_KEY"
"""The environment variable with the API key for `--url`."""

PATIENCE_SECONDS = 300.0

Parser = argparse._ActionsContainer
"""A parser, or a group of its options."""


def add_directory(parser: Parser, flag: str, default: str | None, text: str) -> None:
    """Adds an option for a directory. The text should name the default if it is None."""
    help_text = f"{text} (default: %(default)s)" if default is not None else text
    parser.add_argument(flag, type=Path, default=default and Path(default), metavar="DIR", help=help_text)


def add_models_dir(parser: Parser) -> None:
    """Adds `--models-dir`."""
    add_directory(parser, "--models-dir", "models", "directory of the published models")


def add_runs_dir(parser: Parser) -> None:
    """Adds `--runs-dir`."""
    add_directory(parser, "--runs-dir", "runs", "directory of results, reports and the state of stopped runs")


def add_cache_dir(parser: Parser) -> None:
    """Adds `--cache-dir` of commands without `--runs-dir`."""
    add_directory(parser, "--cache-dir", "runs/cache", "features and decoded photos, by content; may be deleted")


def add_workers(parser: Parser) -> None:
    """Adds `--workers`."""
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="number of threads that decode photos (default: %(default)s)",
    )


def add_network(parser: Parser, backbone: str, weights: str) -> None:
    """Adds `--backbone` with its default, `--weights` with a description of the file that it takes, and `--size`."""
    parser.add_argument(
        "--backbone",
        metavar="NETWORK",
        default=backbone,
        help="EfficientNet-Lite, a network of keras.applications, kerashub:PRESET, or a .keras file "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--weights", metavar="FILE", default="imagenet", help=f"imagenet, or {weights} (default: %(default)s)"
    )
    parser.add_argument(
        "--size",
        type=int,
        default=0,
        metavar="PIXELS",
        help="height and width of the input; 0: the size of the pretraining (default: %(default)s)",
    )


def add_unknown(parser: Parser) -> None:
    """Adds `--unknown`."""
    parser.add_argument("--unknown", type=Path, metavar="DIR", help="photos of other things than the classes")


def add_map(parser: Parser) -> None:
    """Adds `--map`."""
    parser.add_argument("--map", type=Path, metavar="FILE", help="TOML or JSON file that maps folder names to labels")


def add_model_dir(parser: Parser) -> None:
    """Adds the argument `MODEL_DIR`."""
    parser.add_argument(
        "model_dir", type=Path, metavar="MODEL_DIR", help="models/NAME/VERSION, or models/NAME for the newest version"
    )


def add_url(parser: Parser) -> None:
    """Adds `--url` and `--patience`."""
    parser.add_argument(
        "--url", metavar="URL", help=f"use a running gateway; an API key is read from the variable {KEY_VARIABLE}"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE_SECONDS,
        metavar="SECONDS",
        help="with --url: how long to retry a failing request, in seconds (default: %(default)g)",
    )


def add_untried(parser: Parser) -> None:
    """Adds the option `--untried`, for models that cannot be tested with a generated image."""
    parser.add_argument("--untried", action="store_true", help="do not test the model with an image first")
