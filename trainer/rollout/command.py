"""The command line of `rollout`."""

import argparse
import dataclasses
import json
import signal
from pathlib import Path
from types import FrameType

from trainer.console import say
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.registry import history, server_config
from trainer.registry.promote import add_server_arguments, check_label, promote
from trainer.registry.publish import check_name, is_version
from trainer.rollout.guard import ALPHA, Tolerances
from trainer.rollout.metrics import Gateways, Prometheus, Source
from trainer.rollout.rollout import FIRST_ANSWERS_SECONDS, STABLE_ANSWERS, Plan, Rollout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `rollout`."""
    parser.add_argument("name", metavar="NAME", help="name of the model, for example dog_breed")
    parser.add_argument("version", metavar="VERSION", help="version to roll out")
    parser.add_argument(
        "--steps",
        type=_steps,
        default=(1, 5, 25, 100),
        metavar="N,N,...",
        help="percentages of the traffic; 100 moves the stable label to the version (default: 1,5,25,100)",
    )
    parser.add_argument(
        "--split",
        type=Path,
        required=True,
        metavar="FILE",
        help="traffic split that the gateways read (GATEWAY_TRAFFIC_SPLIT_FILE)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--metrics",
        action="append",
        metavar="URL",
        help="address of a gateway; may be repeated (default: http://localhost:8000)",
    )
    source.add_argument(
        "--prometheus", metavar="URL", help="address of the Prometheus server that scrapes all gateways"
    )
    parser.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="file with an API key, if /metrics requires one"
    )
    parser.add_argument(
        "--answers",
        type=int,
        default=300,
        metavar="N",
        help="minimum number of answers of the new version in each step (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        metavar="N",
        help="minimum time of each step, in seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--first-answers-seconds",
        type=float,
        default=FIRST_ANSWERS_SECONDS,
        metavar="N",
        help=f"time within which the old version must give {STABLE_ANSWERS} answers to compare with "
        "(default: %(default)g)",
    )
    parser.add_argument(
        "--comparison",
        type=Path,
        metavar="FILE",
        help="comparison.json of `compare`: sets how often the two versions may give a shadowed photo different "
        "labels. Without it, disagreement is not watched",
    )
    for tolerance in dataclasses.fields(Tolerances):
        parser.add_argument(
            f"--tolerate-{tolerance.name}",
            type=float,
            default=tolerance.default,
            metavar="SHARE",
            help=f"accepted excess for the signal {tolerance.name}, as a share (default: %(default)g)",
        )
    parser.add_argument(
        "--stable", default="stable", metavar="LABEL", help="label of the old version (default: %(default)s)"
    )
    parser.add_argument(
        "--canary", default="canary", metavar="LABEL", help="label for the new version (default: %(default)s)"
    )
    add_server_arguments(parser)


def _steps(text: str) -> tuple[float, ...]:
    try:
        steps = tuple(float(part) for part in text.split(","))
    except ValueError:
        steps = ()
    if not steps or list(steps) != sorted(set(steps)) or not 0 < steps[0] <= steps[-1] <= 100:
        raise argparse.ArgumentTypeError(f"expected ascending percentages, separated by commas, not {text!r}")
    return steps


def run(args: argparse.Namespace) -> int:
    """Rolls a version out; returns 0, or 4 if it was taken back."""
    name, stable, canary = check_name(args.name), check_label(args.stable), check_label(args.canary)
    if not is_version(args.version):
        raise TrainerError(f"{args.version!r} is not a version; use a positive integer without leading zeros")
    version, config = int(args.version), server_config.config_path(args)
    old = server_config.version_labels(config, name).get(stable)
    if old is None:
        raise TrainerError(f"{config} has no label {stable!r} of {name}; `promote {name} VERSION {stable}` sets it")
    if old == version:
        raise TrainerError(f"version {version} of {name} is {stable!r} already")
    plan = Plan(
        name,
        int(old),
        version,
        args.split,
        labels=(stable, canary),
        steps=args.steps,
        answers=args.answers,
        seconds=args.seconds,
        tolerances=Tolerances(
            **{one.name: getattr(args, f"tolerate_{one.name}") for one in dataclasses.fields(Tolerances)}
        ),
        expected_disagreement=read_disagreement(args.comparison, int(old), version) if args.comparison else None,
        first_answers_seconds=args.first_answers_seconds,
    )
    key = args.api_key_file.read_text(encoding="utf-8").strip() if args.api_key_file else None
    source: Source
    source = (
        Prometheus(args.prometheus) if args.prometheus else Gateways(args.metrics or ["http://localhost:8000"], key)
    )
    source.read(name)  # before anything is changed
    places = {"config": config, "models_dir": args.models_dir, "server": args.server}

    def move(label: str) -> None:
        promote(name, version, label, **places, timeout_seconds=args.timeout_seconds)

    def record(details: dict[str, JSON]) -> None:
        history.add_record(config, "rollout", {"name": name, "version": version, "stable": int(old), **details})

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    say(f"an equal version is taken back in at most {ALPHA:.0%} of rollouts")
    before = signal.signal(signal.SIGTERM, stop)  # how systemd and Kubernetes end a program
    try:
        Rollout(plan, source, lambda: move(canary), lambda: move(stable), record).run()
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def read_disagreement(path: Path, stable: int, canary: int) -> float:
    """Reads the expected disagreement from `comparison.json`: the upper end of its 95 % interval.

    Raises:
        TrainerError: The file cannot be read, or compares other versions.
    """
    try:
        comparison = json.loads(path.read_text(encoding="utf-8"))
        versions = [Path(comparison[one]["path"]).name for one in ("a", "b")]
        expected = float(comparison["disagreement"]["interval"][1])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise TrainerError(f"{path} is not a comparison.json of `compare`: {error!r}") from error
    if sorted(versions) != sorted((str(stable), str(canary))):
        raise TrainerError(f"{path} compares versions {' and '.join(versions)}, not {stable} and {canary}")
    return expected
