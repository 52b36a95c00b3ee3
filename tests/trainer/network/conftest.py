"""Tiny presets of KerasHub, and photos to train on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.network import hub_presets


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    return hub_presets.write(tmp_path_factory.mktemp("presets") / "tiny_vit", "ViTBackbone")


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("presets") / "tiny_resnet"
    return hub_presets.write(folder, "ResNetBackbone", scale=[0.1, 0.2, 0.3], offset=[-1.0, -2.0, -3.0])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"), {"red": 12, "green": 12})
