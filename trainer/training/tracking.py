"""Log runs for TensorBoard and MLflow, in which people compare them."""

import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trainer.config import Config
from trainer.errors import TrainerError
from trainer.model_card import JSON, Card

History = Mapping[str, Sequence[Mapping[str, float]]]


def check_mlflow() -> None:
    """Checks that MLflow is installed, before any slow work.

    Raises:
        TrainerError: It is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise TrainerError("--mlflow needs the package mlflow-skinny; run: pip install 'breed-gateway[mlflow]'")


def log_to_tensorboard(folder: Path, config: Config, card: Card) -> None:
    """Writes the settings and final metrics of a run for the HParams view of TensorBoard."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    settings = {
        name: value for name, value in dataclasses.asdict(config).items() if isinstance(value, str | int | float)
    }
    with tf.summary.create_file_writer(str(folder)).as_default():
        hparams.hparams(settings)
        for name, value in _figures(card.metrics):
            tf.summary.scalar(name, value, step=0)


def log_to_mlflow(config: Config, card: Card, history: History, run_folder: Path, version: Path) -> str:
    """Logs parameters, metrics, the report and the model to the MLflow server of MLFLOW_TRACKING_URI.

    Args:
        config: The settings; the experiment is called as the model.
        card: The card, with the final metrics.
        history: The metrics of each epoch, by stage.
        run_folder: Folder with `report.html`, `evaluation.json` and `config.toml`.
        version: The published version.

    Returns:
        The ID of the run in MLflow.

    Raises:
        TrainerError: The server refused it or cannot be reached.
    """
    import mlflow

    try:
        mlflow.set_experiment(config.name)
        with mlflow.start_run(run_name=run_folder.name) as run:
            mlflow.log_params(dataclasses.asdict(config.without_places()))
            mlflow.log_metrics(dict(_figures(card.metrics)))
            for stage, epochs in history.items():
                for step, epoch in enumerate(epochs, 1):
                    mlflow.log_metrics({f"{stage}.{name}": value for name, value in epoch.items()}, step=step)
            for name in ("report.html", "evaluation.json", "config.toml"):
                mlflow.log_artifact(str(run_folder / name))
            mlflow.log_artifacts(str(version), f"model/{version.name}")
            return str(run.info.run_id)
    except mlflow.exceptions.MlflowException as error:
        reason = str(error).splitlines()[0]
        raise TrainerError(
            f"the version is published, but not logged to MLflow: {reason}; set MLFLOW_TRACKING_URI to the address of "
            "a server"
        ) from error


def _figures(metrics: Mapping[str, Mapping[str, JSON]]) -> Iterator[tuple[str, float]]:
    """The numbers among the metrics of a card, such as (`validation.accuracy`, 0.99)."""
    for split, split_metrics in metrics.items():
        for name, value in split_metrics.items():
            if isinstance(value, int | float):
                yield f"{split}.{name}", float(value)
