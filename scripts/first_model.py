"""Publishes a model of the 118 dog breeds of ImageNet if there is no model yet."""

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
    """Runs the trainer to publish a first model, unless there is a model.

    Returns:
        Whether there is a model now; False if a stop signal interrupted the trainer.

    Raises:
        ProgramEnded: The trainer failed. It has printed the reason.
    """
    if _has_model(models_dir):
        return True
    trainer = Program(
        "breed imagenet-dogs",
        [sys.executable, "-m", "breed", "imagenet-dogs", "--models-dir", str(models_dir)],
        stop_signal=signal.SIGINT,  # the trainer removes its draft
    )
    try:
        await supervise([trainer])
    except ProgramEnded as ended:
        if ended.status:
            raise
        return True
    return False


def check_served(models_dir: Path) -> None:
    """Checks that every model in the configuration of the containers exists.

    Raises:
        TrainerError: A model is missing. The model server would wait for it forever.
    """
    config = server_config.read(server_config.SHARED_CONFIG)
    folders = [Path(entry.base_path) for entry in config.model_config_list.config]
    here = [folder.name for folder in folders if str(folder.parent) == server_config.CONTAINER_MODELS_DIR]
    # Model servers accept more names of models and versions than the trainer publishes.
    missing = [name for name in here if not any(path.name.isdecimal() for path in (models_dir / name).glob("*/"))]
    if missing:
        published = model_names(models_dir)
        raise TrainerError(
            f"{server_config.SHARED_CONFIG} lists {', '.join(missing)}, which does not exist; the model server would "
            f"wait forever. The published models are {', '.join(published)}"
        )


if __name__ == "__main__":
    folder = Path(os.environ.get("MODELS_DIR", "models"))
    try:
        if not asyncio.run(make_first_model(folder)):
            sys.exit(1)
        check_served(folder)
    except (ProgramEnded, TrainerError) as error:
        sys.exit(str(error))
