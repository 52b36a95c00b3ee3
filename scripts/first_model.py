"""Publishes a model of the 118 dog breeds of ImageNet where there is no model, so that there is something to serve."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from scripts.supervise import Program, ProgramEnded, supervise
from trainer.errors import TrainerError
from trainer.registry import server_config
from trainer.registry.versions import model_names


def _has_model(models_dir: Path) -> bool:
    return models_dir.is_dir() and bool(model_names(models_dir))


async def make_first_model(models_dir: Path) -> bool:
    """Has the trainer publish a first model, unless there is one.

    Returns:
        Whether there is a model now; not, when a stop signal came first.

    Raises:
        ProgramEnded: The trainer failed, and has said why.
    """
    if _has_model(models_dir):
        return True
    trainer = Program(
        "trainer imagenet-dogs",
        [sys.executable, "-m", "trainer", "imagenet-dogs", "--models-dir", str(models_dir)],
        stop_signal=signal.SIGINT,  # on which it tidies up
    )
    try:
        await supervise([trainer])
    except ProgramEnded as ended:
        if ended.status:
            raise
        return True
    return False


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


if __name__ == "__main__":
    folder = Path(os.environ.get("MODELS_DIR", "models"))
    try:
        if not asyncio.run(make_first_model(folder)):
            sys.exit(1)
        check_served(folder)
    except (ProgramEnded, TrainerError) as error:
        sys.exit(str(error))
