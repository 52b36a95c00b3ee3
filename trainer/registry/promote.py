"""`promote` and `rollback`: a label moves to another version only once the server has that version loaded."""

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
from trainer.registry import server_config
from trainer.registry.model_server import CALL_SECONDS, ModelServer
from trainer.registry.publish import add_models_dir, add_untried, check_name, is_version, published_versions
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
    """Points a label at a version in three steps: the server loads the version, answers an image, the label moves.

    When the server does not get the version loaded, or it does not answer, the file is put back as it was.

    Returns:
        The version that the label named before, or None.

    Raises:
        TrainerError: There is no such version, the server did not load it in time, or did not take the label.
    """
    if version not in published_versions(models_dir, name):
        present = ", ".join(map(str, published_versions(models_dir, name))) or "none"
        raise TrainerError(f"{models_dir / name} has no version {version}; there: {present}")
    entry = server_config.find(server_config.read(config), name)
    before = entry.version_labels.get(label) if entry else None
    with closing(ModelServer(server)) as client:
        trial = not untried
        _move(client, name, version, label, config=config, timeout_seconds=timeout_seconds, back=False, trial=trial)
    return before


def rollback(name: str, label: str, *, config: Path, server: str, timeout_seconds: float) -> int:
    """Points a label back at the version it named before its last promotion, and returns that version.

    Raises:
        TrainerError: The label has nothing to go back to, or the server could not load it or take the label.
    """
    entry = server_config.find(server_config.read(config), check_name(name))
    previous = entry.version_labels.get(label + server_config.PREVIOUS_SUFFIX) if entry else None
    if previous is None:
        raise TrainerError(
            f"{config} remembers no earlier version for label {label!r} of {name}: nothing to go back to"
        )
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
        # A version that ended stays in the server's list: an END from before this attempt says nothing about it.
        ended_before = ended_before and state == "END"
        if state == "END" and not ended_before:
            raise TrainerError(
                f"{client.target} could not load {name} version {version}: {message or 'it was unloaded'}"
            )
        time.sleep(POLL_SECONDS)
    hint = "is its configuration polled (--model_config_file_poll_wait_seconds), and does it see the models?"
    raise TrainerError(
        f"{client.target} has {name} version {version} in state {state}, not AVAILABLE, and the time is up; no label "
        f"was moved ({message or hint})"
    )


def _try_out(client: ModelServer, name: str, version: int, deadline: float) -> None:
    try:
        _ask(client, lambda: client.try_out(name, version), deadline)
    except TrialError as error:
        raise TrainerError(
            f"no label was moved: {name} version {version} on {client.target} {error}; --untried moves it all the same"
        ) from error


def _wait_for_label(client: ModelServer, name: str, version: int, label: str, deadline: float) -> None:
    # A server rejects a polled configuration silently, so look at what answers. At least one polling interval, even
    # when loading took the whole deadline.
    deadline = max(deadline, time.monotonic() + CALL_SECONDS)
    while time.monotonic() < deadline:
        if _ask(client, lambda: client.labelled_version(name, label), deadline) == version:
            return
        time.sleep(POLL_SECONDS)
    raise TrainerError(
        f"the file names {name} version {version} {label!r}, but {client.target} does not answer with it under that "
        "label: see the server's log"
    )


def _ask(client: ModelServer, question: Callable[[], _Answer], deadline: float) -> _Answer:
    """Asks until there is an answer or the deadline passes: a server that restarts is waited for."""
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
    parser.add_argument("name", metavar="NAME", help="the model, such as dog_breed")
    parser.add_argument("version", metavar="VERSION", help="the version that the label is to name")
    _add_label_argument(parser)
    _add_shared_arguments(parser)
    add_untried(parser)


def add_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `rollback`."""
    parser.add_argument("name", metavar="NAME", help="the model, such as dog_breed")
    _add_label_argument(parser)
    _add_shared_arguments(parser)


def _add_label_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("label", metavar="LABEL", nargs="?", default="stable", help="stable (the default), canary, ...")


def _add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    add_models_dir(parser)
    server_config.add_config(parser)
    parser.add_argument(
        "--server",
        default="localhost:8500",
        metavar="HOST:PORT",
        help="the model server's gRPC address (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout-seconds",
        type=float,
        default=300.0,
        metavar="N",
        help="how long the server may take to load the version (default: %(default)g)",
    )


def run_promote(args: argparse.Namespace) -> int:
    """Points a label at a version once the server has it."""
    if not is_version(args.version):
        raise TrainerError(f"{args.version!r} is not a version: a positive integer without leading zeros")
    before = promote(
        args.name,
        int(args.version),
        check_label(args.label),
        config=server_config.config_path(args),
        models_dir=args.models_dir,
        server=args.server,
        timeout_seconds=args.timeout_seconds,
        untried=args.untried,
    )
    was = "new" if before is None else f"was {before}"
    say(f"{args.name}: {args.label} is version {args.version} ({was}), and {args.server} answers with it")
    _say_who_gets_it(args.name)
    return 0


def run_rollback(args: argparse.Namespace) -> int:
    """Points a label back at the version it named before."""
    version = rollback(
        args.name,
        check_label(args.label),
        config=server_config.config_path(args),
        server=args.server,
        timeout_seconds=args.timeout_seconds,
    )
    say(f"{args.name}: {args.label} is version {version} again, and {args.server} answers with it")
    _say_who_gets_it(args.name)
    return 0


def _say_who_gets_it(name: str) -> None:
    routes = f'GATEWAY_TRAFFIC_SPLIT=\'{{"{name}": "stable=1"}}\''
    say(f"callers that name no label get the newest version that is loaded, unless the gateway has {routes}")


def check_label(label: str) -> str:
    """Returns a version label when it is one that people may set.

    Raises:
        TrainerError: It has other characters than a model's name, or is one that remembers an earlier version.
    """
    if label.endswith(server_config.PREVIOUS_SUFFIX):
        raise TrainerError(f"{label!r} remembers what a label named before and is not set by hand: use rollback")
    try:
        return check_name(label)
    except TrainerError as error:
        raise TrainerError(
            f"{label!r} is not a label: letters, digits, '_' and '-', such as stable or canary"
        ) from error
