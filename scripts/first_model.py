"""Publishes a model where there is none, so that there is something to serve: real breeds if it can, else drawings."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from scripts.supervise import Program, ProgramEnded, supervise
from trainer import server_config
from trainer.errors import TrainerError
from trainer.versions import model_names

WEIGHTS_UNAVAILABLE = 3
"""What `python -m trainer imagenet-dogs` ends with when no weights can be had, after it said so in one line."""

QUICKLY = ("--connect-seconds", "5")
"""Nobody asked for the download, and a sample can be had at once."""

SAMPLES = "samples"
"""Folder in the models' folder with drawings to try; servers ignore it, for it holds no version."""


def has_model(models_dir: Path) -> bool:
    """Whether anything is published."""
    return models_dir.is_dir() and bool(model_names(models_dir))


async def make_first_model(models_dir: Path) -> bool:
    """Has the trainer publish a first model, unless there is one.

    An ImageNet classifier's dog breeds come first, from the file that `WEIGHTS` names, with Keras's class index beside
    it or fetched, or else from a download. Where nothing can be downloaded it is the sample model, which knows drawings
    only.

    Returns:
        Whether there is a model now; not, when a stop signal came first.

    Raises:
        ProgramEnded: The trainer failed, and has said why.
    """
    if has_model(models_dir):
        return True
    weights = os.environ.get("WEIGHTS")
    try:
        return await _train("imagenet-dogs", models_dir, *(_given(Path(weights)) if weights else QUICKLY))
    except ProgramEnded as ended:
        if weights or ended.status != WEIGHTS_UNAVAILABLE:
            raise
    return await _train("sample", models_dir, "--samples-dir", str(models_dir / SAMPLES))


def _given(weights: Path) -> list[str]:
    names = weights.with_name("imagenet_class_index.json")
    return ["--weights", str(weights), *(["--class-index", str(names)] if names.is_file() else [])]


def check_served(models_dir: Path) -> None:
    """Checks that every model that the containers are configured to serve is there.

    Raises:
        TrainerError: One is not, and the model server would wait for it for ever.
    """
    config = server_config.read(server_config.SHARED_CONFIG)
    folders = [Path(entry.base_path) for entry in config.model_config_list.config]
    here = [folder.name for folder in folders if str(folder.parent) == server_config.CONTAINER_MODELS_DIR]
    # A server takes any number for a version, and any name for a model: more than the trainer would publish.
    missing = [name for name in here if not any(path.name.isdecimal() for path in (models_dir / name).glob("*/"))]
    if missing:
        published = model_names(models_dir)
        raise TrainerError(
            f"{server_config.SHARED_CONFIG} names {', '.join(missing)}, and the model server would wait for that for "
            f"ever: the models that are published are {', '.join(published)}; name these there instead"
        )


async def _train(command: str, models_dir: Path, *arguments: str) -> bool:
    trainer = Program(
        f"trainer {command}",
        [sys.executable, "-m", "trainer", command, "--models-dir", str(models_dir), *arguments],
        stop_signal=signal.SIGINT,  # on which it tidies up
    )
    try:
        await supervise([trainer])
    except ProgramEnded as ended:
        if ended.status:
            raise
        return True
    return False


if __name__ == "__main__":
    folder = Path(os.environ.get("MODELS_DIR", "models"))
    try:
        if not asyncio.run(make_first_model(folder)):
            sys.exit(1)
        check_served(folder)
    except (ProgramEnded, TrainerError) as error:
        sys.exit(str(error))
