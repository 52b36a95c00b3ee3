"""What a run writes for TensorBoard: its settings and metrics, which people compare there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from trainer.config import make
from trainer.model_card import Card
from trainer.training.tracking import log_to_tensorboard


def test_tensorboard_shows_settings_and_metrics_of_a_run(make_card: Callable[..., Card], tmp_path: Path) -> None:
    card = make_card(metrics={"validation": {"photos": 120, "accuracy": 0.975, "accuracy_interval": [0.9, 0.99]}})
    log_to_tensorboard(tmp_path, make({"data": "photos", "name": "dogs", "views": 4, "strength": 0.1}), card)
    [path] = tmp_path.glob("events.out.tfevents.*")
    values = {value.tag: value for event in EventFileLoader(str(path)).Load() for value in event.summary.value}
    scalars = {tag: float(make_ndarray(one.tensor)) for tag, one in values.items() if tag.startswith("validation.")}
    assert scalars == pytest.approx({"validation.photos": 120, "validation.accuracy": 0.975})
    content = values["_hparams_/session_start_info"].metadata.plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["views"].number_value == 4
    assert settings["strength"].number_value == 0.1
    assert settings["backbone"].string_value == "efficientnet_lite2"
