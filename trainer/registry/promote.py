"""The commands `promote` and `rollback`: move a label after the server has loaded the version."""

import argparse
import copy
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import grpc

from trainer.console import say
from trainer.errors import TrainerError
from trainer.model_card import JSON
from trainer.options import add_models_dir, add_untried
from trainer.registry import server_config
from trainer.registry.gate import pass_gate
from trainer.registry.history import add_record
from trainer.registry.model_server import CALL_SECONDS, ModelServer
from trainer.registry.publish import check_name, is_version, published_versions
from trainer.registry.trial import TrialError

POLL_SECONDS = 0.2

_Answer = TypeVar("_Answer")


def promote(
    name: str,
    version: int,
    label: str,
    *,
    config: Path,
    models_dir: Path,
    server: str,
    timeout_seconds: float,
    untried: bool = False,
) -> int | None:
    """Moves a label to a version, after the server has loaded the version and answered a test image.

    If the server cannot load the version, or the test fails, the configuration is restored.

    Returns:
        The previous version of the label, or None.

    Raises:
        TrainerError: The version does not exist, the server did not load it in time, or did not accept the label.
    """
    check_published(models_dir, name, version)
    entry = server_config.find(server_config.read(config), name)
    before = entry.version_labels.get(label) if entry else None
    with closing(ModelServer(server)) as client:
        trial = not untried
        _move(client, name, version, label, config=config, timeout_seconds=timeout_seconds, back=False, trial=trial)
    return before


def check_published(models_dir: Path, name: str, version: int) -> None:
    """Checks that a version is published.

    Raises:
        TrainerError: It is not; the message lists those that are.
    """
    if version not in published_versions(models_dir, name):
        present = ", ".join(map(str, published_versions(models_dir, name))) or "none"
        raise TrainerError(f"{models_dir / name} has no version {version}; versions: {present}")


def rollback(name: str, label: str, *, config: Path, server: str, timeout_seconds: float) -> int:
    """Moves a label back to the version before its last promotion, and returns that version.

    Raises:
        TrainerError: The label has no previous version, or the server did not load it or accept the label.
    """
    entry = server_config.find(server_config.read(config), check_name(name))
    previous = entry.version_labels.get(label + server_config.PREVIOUS_SUFFIX) if entry else None
    if previous is None:
        raise TrainerError(f"{config} has no previous version of label {label!r} of {name}")
    with closing(ModelServer(server)) as client:
        _move(client, name, previous, label, config=config, timeout_seconds=timeout_seconds, back=True)
    return int(previous)


def _move(
    client: ModelServer,
    name: str,
    version: int,
    label: str,
    *,
    config: Path,
    timeout_seconds: float,
    back: bool,
    trial: bool = False,
) -> None:
    deadline = time.monotonic() + timeout_seconds
    ended_before = _ask(client, lambda: client.version_status(name, version), deadline)[0] == "END"
    with server_config.edit(config) as edited:
        before = server_config.find(edited, name)
        if before is not None:
            before = copy.deepcopy(before)
        server_config.serve_version(server_config.find_or_add(edited, name), version)
    try:
        _wait_until_available(client, name, version, deadline, ended_before=ended_before)
        if trial:
            _try_out(client, name, version, deadline)
    except BaseException:
        with server_config.edit(config) as edited:
            server_config.withdraw(edited, name, before)
        raise
    with server_config.edit(config) as edited:
        entry = server_config.find_or_add(edited, name)
        if back:
            server_config.move_label_back(entry, label)
        else:
            server_config.move_label(entry, label, version)
    _wait_for_label(client, name, version, label, deadline)


def _wait_until_available(client: ModelServer, name: str, version: int, deadline: float, *, ended_before: bool) -> None:
    state, message = "UNKNOWN", ""
    while time.monotonic() < deadline:
        state, message = _ask(client, lambda: client.version_status(name, version), deadline)
        if state == "AVAILABLE":
            return
        # The server lists versions that ended earlier as well. Ignore an END from before this attempt.
        ended_before = ended_before and state == "END"
        if state == "END" and not ended_before:
            raise TrainerError(
                f"{client.target} could not load {name} version {version}: {message or 'it was unloaded'}"
            )
        time.sleep(POLL_SECONDS)
    hint = "does it poll its configuration (--model_config_file_poll_wait_seconds), and can it read the models?"
    raise TrainerError(
        f"timed out: {name} version {version} on {client.target} is in state {state} instead of AVAILABLE; no label "
        f"was moved ({message or hint})"
    )


def _try_out(client: ModelServer, name: str, version: int, deadline: float) -> None:
    try:
        _ask(client, lambda: client.try_out(name, version), deadline)
    except TrialError as error:
        raise TrainerError(
            f"no label was moved: {name} version {version} on {client.target} {error}; --untried skips the test"
        ) from error


def _wait_for_label(client: ModelServer, name: str, version: int, label: str, deadline: float) -> None:
    # A server rejects a polled configuration silently, so check which version answers. Wait for at least one polling
    # interval, even if loading took until the deadline.
    deadline = max(deadline, time.monotonic() + CALL_SECONDS)
    while time.monotonic() < deadline:
        if _ask(client, lambda: client.labelled_version(name, label), deadline) == version:
            return
        time.sleep(POLL_SECONDS)
    raise TrainerError(
        f"the configuration has label {label!r} on {name} version {version}, but {client.target} does not use it; see "
        "the log of the server"
    )


def _ask(client: ModelServer, question: Callable[[], _Answer], deadline: float) -> _Answer:
    """Repeats a call until there is an answer or the deadline passes, so that the server may restart meanwhile."""
    while True:
        try:
            return question()
        except grpc.RpcError as error:
            if time.monotonic() + POLL_SECONDS >= deadline:
                code, details = error.code().name, error.details()
                raise TrainerError(f"no answer from a model server at {client.target}: {code}: {details}") from error
            time.sleep(POLL_SECONDS)


def add_promote_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `promote`."""
    parser.add_argument("name", metavar="NAME", help="name of the model, for example dog_breed")
    parser.add_argument("version", metavar="VERSION", help="version to move the label to")
    _add_label_argument(parser)
    add_server_arguments(parser)
    add_untried(parser)
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="FILE",
        help="TOML file of conditions that are checked on photos; if one is not met, the label does not move",
    )
    parser.add_argument("--force", action="store_true", help="move the label even if the gate refuses, and record this")


def add_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `rollback`."""
    parser.add_argument("name", metavar="NAME", help="name of the model, for example dog_breed")
    _add_label_argument(parser)
    add_server_arguments(parser)


def _add_label_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "label",
        metavar="LABEL",
        nargs="?",
        default="stable",
        help="label, for example canary (default: stable)",
    )


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the models, the configuration and the model server, which several commands share."""
    add_models_dir(parser)
    server_config.add_config(parser)
    parser.add_argument(
        "--server",
        default="localhost:8500",
        metavar="HOST:PORT",
        help="gRPC address of the model server (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        default=300.0,
        metavar="N",
        help="time limit for loading the version, in seconds (default: %(default)g)",
    )


def run_promote(args: argparse.Namespace) -> int:
    """Moves a label to a version."""
    if not is_version(args.version):
        raise TrainerError(f"{args.version!r} is not a version; use a positive integer without leading zeros")
    label, config = check_label(args.label), server_config.config_path(args)
    if args.force and not args.gate:
        raise TrainerError("--force overrides a gate: it needs --gate FILE")
    check_published(args.models_dir, args.name, int(args.version))
    reasons = []
    if args.gate:
        labels = server_config.version_labels(config, check_name(args.name))
        reasons = pass_gate(args.gate, args.models_dir, args.name, int(args.version), label, labels, force=args.force)
    before = promote(
        args.name,
        int(args.version),
        label,
        config=config,
        models_dir=args.models_dir,
        server=args.server,
        timeout_seconds=args.timeout_seconds,
        untried=args.untried,
    )
    record: dict[str, JSON] = {"name": args.name, "version": int(args.version), "label": label, "before": before}
    if args.gate:
        record |= {"gate": str(args.gate), "forced_despite": reasons}
    add_record(config, "promote", record)
    was = "new" if before is None else f"was {before}"
    say(f"{args.name}: {args.label} is now version {args.version} ({was}) on {args.server}")
    _explain_default(args.name)
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Moves a label back to its previous version."""
    label, config = check_label(args.label), server_config.config_path(args)
    version = rollback(args.name, label, config=config, server=args.server, timeout_seconds=args.timeout_seconds)
    add_record(config, "rollback", {"name": args.name, "version": version, "label": label})
    say(f"{args.name}: {args.label} is version {version} again on {args.server}")
    _explain_default(args.name)
    return 0


def _explain_default(name: str) -> None:
    split = f'GATEWAY_TRAFFIC_SPLIT=\'{{"{name}": "stable=1"}}\''
    say(f"requests without a label get the newest loaded version, unless there is a traffic split, such as {split}")


def check_label(label: str) -> str:
    """Returns the label if it is valid.

    Raises:
        TrainerError: It has characters that a model name cannot have, or stands for a previous version.
    """
    if label.endswith(server_config.PREVIOUS_SUFFIX):
        raise TrainerError(f"{label!r} stands for the previous version of a label and cannot be set; use rollback")
    try:
        return check_name(label)
    except TrainerError as error:
        raise TrainerError(
            f"{label!r} is not a label; use letters, digits, '_' and '-', for example stable or canary"
        ) from error
