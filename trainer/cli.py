"""The command line of the trainer, with a module for each subcommand."""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Final

from trainer import __version__
from trainer.errors import TrainerError
from trainer.examples import described

COMMANDS: Final = {
    "train": ("trainer.training.train", "", "train a model on a folder of photos and publish it"),
    "check": ("trainer.check.check", "", "find wrong labels, copies and poor photos in a folder of photos"),
    "imagenet-dogs": (
        "trainer.training.imagenet_dogs",
        "",
        "publish a model of 118 dog breeds from ImageNet weights, without training",
    ),
    "evaluate": (
        "trainer.evaluation.evaluate",
        "",
        "evaluate a published model on a folder of photos and write a report",
    ),
    "compare": ("trainer.evaluation.compare", "", "compare two versions on the same photos and write a page"),
    "benchmark": (
        "trainer.evaluation.benchmark",
        "",
        "measure the speed of a published model by signature and batch size",
    ),
    "predict": ("trainer.prediction.predict", "", "classify photos without labels, and write the answers to a file"),
    "runs": ("trainer.evaluation.runs", "", "list training runs, and compare some of them"),
    "collect": ("trainer.data.collect", "", "collect photos with feedback from a prediction log, by class"),
    "export": ("trainer.export.reexport", "", "export a published version in another precision or for another runtime"),
    "publish": (
        "trainer.registry.publish_command",
        "",
        "publish a SavedModel or a .keras file as the next version of a model",
    ),
    "list": ("trainer.registry.versions", "list", "list models, versions and labels"),
    "promote": ("trainer.registry.promote", "promote", "move a version label to another version"),
    "rollback": ("trainer.registry.promote", "rollback", "move a version label back to its previous version"),
    "rollout": (
        "trainer.rollout.command",
        "",
        "raise the share of a version step by step, and take it back if it is worse",
    ),
    "prune": ("trainer.registry.versions", "prune", "delete old versions that have no label"),
}
"""Subcommands: module, infix of its functions and help text.

A module has the functions `add_arguments(parser)` and `run(args) -> exit status`; with the infix `list`, they are
`add_list_arguments` and `run_list`.
"""

EPILOG: Final = """\
examples:
  breed check photos
  breed train photos --name dog_breed --recipe dog-breeds
  breed train photos --name dog_breed --backbone mobilenet_v2 --weights mobilenet_v2.weights.h5
  breed train --config runs/dog_breed/3f9a2c1b07/config.toml --dropout 0.4
  breed train cats_and_dogs --name cats_dogs --recipe cats-dogs
  breed imagenet-dogs
  breed evaluate models/dog_breed photos/test --unknown photos_of_other_things
  breed predict models/dog_breed new_photos --output answers.csv
  breed compare dog_breed/4 dog_breed/5 photos/test
  breed export models/dog_breed photos --precision int8
  breed collect /var/lib/breed/log corrected
  breed promote dog_breed 3 stable

To resume `train` or `predict` after it was stopped, run the same command again.
Exit status: 0 success, 1 failure, 2 usage error, 3 weights or class names not available, 4 a rollout was taken back,
130 stopped."""


def main(arguments: Sequence[str] | None = None, prog: str = "breed-trainer") -> int:
    """Runs a command; returns the exit status. Messages use `prog` as the name of the program."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    interrupted = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # otherwise it is ignored, or another handler is installed
        signal.signal(signal.SIGINT, interrupt)
    try:
        return _run(arguments, prog)
    except BaseException as error:
        command = " ".join(arguments[:1])
        notes: list[str] = getattr(error, "__notes__", [])
        # An interrupted import may raise another error than KeyboardInterrupt.
        if interrupted or isinstance(error, KeyboardInterrupt):
            notes = notes or (["run the same command again to resume"] if command in ("train", "predict") else [])
            sys.stderr.write(f"{prog} {command}: {'; '.join(['stopped', *notes])}\n")
            return 130
        if isinstance(error, TrainerError | OSError):
            text = "; ".join([str(error), *notes])
            if not any(hint in text for hint in (f"{prog} ", "breed ", "--", "same command again")):
                text += f"; {prog} {command} --help shows what it takes"
            sys.stderr.write(f"{prog} {command}: {text}\n")
            return error.exit_status if isinstance(error, TrainerError) else TrainerError.exit_status
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _run(arguments: Sequence[str], prog: str) -> int:
    args = parser_of(arguments, prog).parse_args(arguments)
    # Its warnings, such as those of retracing, are about code that users of the trainer do not see.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    status: int = args.run(args)
    return status


def parser_of(arguments: Sequence[str], prog: str) -> argparse.ArgumentParser:
    """Returns the parser; it knows the arguments only of the command that `arguments` begins with."""
    # Import only the module of the command, so that `--help` is fast.
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Train, evaluate and publish image classifiers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module_name, infix, text) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=text,
            description=described(prog, name, text),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in arguments[:1]:
            module = importlib.import_module(module_name)
            getattr(module, f"add_{infix}_arguments" if infix else "add_arguments")(command)
            command.set_defaults(run=getattr(module, f"run_{infix}" if infix else "run"))
    return parser
