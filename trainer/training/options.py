"""The command line of `train`."""

import argparse
import textwrap
from pathlib import Path

from trainer import config_sources
from trainer.options import add_directory, add_models_dir, add_runs_dir, add_unknown, add_workers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `train`."""
    parser.usage = "%(prog)s DATA --name NAME [OPTION ...]"
    parser.epilog = textwrap.fill(
        "The defaults above apply without a recipe. A run publishes MODELS_DIR/NAME/VERSION and writes to "
        "RUNS_DIR/NAME/ID: report.html, evaluation.json, config.toml (for --config), history.json and data.json "
        "(photos that were left out, with reasons)."
    )
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="folder of photos: DATA/CLASS/ or DATA/{train,valid,test}/CLASS/"
    )
    parser.add_argument(
        "--add",
        action="append",
        metavar="OUT",
        help="folder of more training photos by class, as `collect` writes it; may be repeated. A label that DATA "
        "does not have becomes a new class",
    )
    parser.add_argument("--name", help="name of the model, for example dog_breed")
    parser.add_argument(
        "--recipe",
        choices=list(config_sources.RECIPES),
        help="preset of settings, which other options override; accurate: the default on larger photos; "
        "dog-breeds: a head on features of DenseNet-201; cats-dogs: VGG-16, whose last block is fine-tuned for 20 "
        "epochs",
    )
    parser.add_argument("--show", action="store_true", help="only print the settings as TOML")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="TOML file of settings, as every run writes it; options override it"
    )
    add_unknown(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="publish the model even if it is no better than guessing or worse than the previous version",
    )
    group = parser.add_argument_group("tracking")
    group.add_argument(
        "--tensorboard", action="store_true", help="write metrics for TensorBoard to RUNS_DIR/NAME/ID/tensorboard"
    )
    group.add_argument(
        "--mlflow",
        action="store_true",
        help="log parameters, metrics, report and model to the MLflow server of MLFLOW_TRACKING_URI",
    )
    add_places(parser)
    config_sources.add_arguments(parser)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Adds options for directories and for the machine. They do not change the results."""
    group = parser.add_argument_group("directories and machine")
    add_models_dir(group)
    add_runs_dir(group)
    add_directory(
        group, "--cache-dir", None, "features and decoded photos, by content; may be deleted (default: RUNS_DIR/cache)"
    )
    add_workers(group)
    group.add_argument(
        "--training-precision",
        choices=["auto", "float32", "mixed_float16"],
        default="auto",
        help="precision of the training; auto: mixed_float16 on a GPU, otherwise float32",
    )
