"""Presets of KerasHub that are refused, and what is known of the others without building them."""

import importlib.util
import json
import re
import shutil
import socket
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

from trainer.model_card import InputSpec  # isort: skip - sets what TensorFlow reads when it is imported

import pytest

from tests.trainer.network.hub_presets import SIDE, built, needs_keras_hub
from trainer.config import make
from trainer.errors import TrainerError
from trainer.export.keras_copies import load_keras
from trainer.export.saved_model import try_export
from trainer.network import assemble, backbone_names, backbones
from trainer.network.origin import origin
from trainer.network.weights import WeightsUnavailable
from trainer.training import export_trial

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Trainer = Callable[..., tuple[int, str, str]]


@needs_keras_hub
@pytest.mark.parametrize("size", ["48", "50"])
def test_another_size_than_that_of_a_vit_is_refused_before_photos_are_read(
    size: str, trainer: Trainer, photos: Path, vit: str, tmp_path: Path
) -> None:
    status, _, error = trainer("train", photos, "--name", "x", "--backbone", vit, "--size", size)
    assert status == 1
    line = error.strip().splitlines()[-1]
    assert f"cannot take {size}x{size} pixels" in line
    assert re.search(rf"leave out --size: it was trained on {SIDE}x{SIDE} \(.+\)$", line)
    assert not (tmp_path / "runs").exists()


@needs_keras_hub
def test_the_size_is_not_blamed_for_a_preset_that_cannot_be_built(cnn: str, tmp_path: Path) -> None:
    folder = shutil.copytree(backbone_names.preset_of(cnn), tmp_path / "preset")
    facts = json.loads((folder / "config.json").read_text())
    facts["config"]["stackwise_num_filters"] = 64
    (folder / "config.json").write_text(json.dumps(facts))
    with pytest.raises(TrainerError, match=r"is not a whole preset of KerasHub: .*could not be deserialized"):
        built(f"kerashub:{folder}", size=96)


@needs_keras_hub
def test_the_trial_of_an_export_is_made_again_for_another_preset_in_the_folder(
    cnn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Mock(wraps=try_export)
    monkeypatch.setattr(export_trial, "try_export", trial)
    folder = shutil.copytree(backbone_names.preset_of(cnn), tmp_path / "preset")
    config = make({"data": "x", "name": "x", "backbone": f"kerashub:{folder}"})
    network, cache = assemble.build(config, 2), tmp_path / "cache"
    for _ in range(2):
        export_trial.check_exportable(network.model, config, InputSpec(SIDE, SIDE), cache)
        assert trial.call_count == 1
    facts = json.loads((folder / "config.json").read_text())
    facts["config"]["stackwise_num_blocks"] = [2, 1]
    (folder / "config.json").write_text(json.dumps(facts))
    export_trial.check_exportable(network.model, config, InputSpec(SIDE, SIDE), cache)
    assert trial.call_count == 2


@needs_keras_hub
@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("", "name a preset after kerashub:: a folder, or one of csp_darknet_53_ra_imagenet"),
        ("vit_base_patch16_224", "no preset 'vit_base_patch16_224' for photos.*similar ones are vit_base_patch16_224_"),
        ("bert_base_en", "kerashub:bert_base_en is not a backbone for photos alone; `--backbone kerashub:` lists"),
        ("siglip_base_patch16_224", "not a backbone for photos alone"),
    ],
)
def test_presets_that_are_none_for_photos_are_refused(preset: str, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        backbones.architecture(f"kerashub:{preset}")


@needs_keras_hub
def test_a_preset_has_no_classifier_for_breeds_without_training(vit: str) -> None:
    with pytest.raises(TrainerError, match=r"tiny_vit has no classifier of the 1,000 classes of ImageNet"):
        backbones.load(backbones.architecture(vit), "imagenet", SIDE, top=True)


@needs_keras_hub
def test_a_preset_without_the_scaling_of_pixels_is_refused(vit: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.weights.h5"):
        source = Path(backbone_names.preset_of(vit)) / name
        (tmp_path / name).write_bytes(source.read_bytes())
    with pytest.raises(TrainerError, match=r"is not a whole preset of KerasHub: `image_converter\.json` doesn't exist"):
        backbones.architecture(f"kerashub:{tmp_path}")


@needs_keras_hub
def test_a_preset_that_cannot_be_downloaded_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as bound:  # and nobody listens to it
        bound.bind(("127.0.0.1", 0))
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(
            WeightsUnavailable, match=r"kerashub:dinov2_small cannot be loaded \(.*kerashub:FOLDER"
        ) as caught:
            backbones.architecture("kerashub:dinov2_small")
    assert "\n" not in str(caught.value)


@needs_keras_hub
def test_weights_of_a_preset_have_a_source_and_a_licence_if_one_is_stated(tmp_path: Path) -> None:
    weights_origin = origin("kerashub:resnet_50_imagenet", "imagenet")
    assert weights_origin.source is not None
    assert weights_origin.source.startswith("KerasHub, kaggle://keras/resnetv1/keras/resnet_50_imagenet/")
    assert weights_origin.licence == "Apache-2.0"
    assert origin("kerashub:vit_base_patch16_224_imagenet", "imagenet").licence is None
    (tmp_path / "README.md").write_text("---\nlibrary_name: keras-hub\nlicense: mit\n---\nlicense: other\n")
    assert origin(f"kerashub:{tmp_path}", "imagenet").licence == "mit"
    assert origin("kerashub:hf://keras/x", "imagenet").source == "KerasHub, hf://keras/x"


@pytest.fixture
def without_keras_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keras_hub", raising=False)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "keras_hub" else find(name))


@pytest.mark.usefixtures("without_keras_hub")
def test_without_the_extra_one_sentence_says_what_installs_it(trainer: Trainer, data: Path) -> None:
    for command in (("train", data, "--name", "x"), ("check", data), ("imagenet-dogs",)):
        status, _, error = trainer(*command, "--backbone", "kerashub:vit_base_patch16_224_imagenet")
        assert status == 1
        assert "pip install 'keras-hub==0.32.*' 'tensorflow-text==2.20.*'" in error.splitlines()[-1]


@pytest.mark.usefixtures("without_keras_hub")
def test_a_file_with_a_network_of_kerashub_names_the_package_that_it_needs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", '{"module": "keras_hub.src.models.vit.vit_backbone"}')
    with pytest.raises(TrainerError, match=r"model\.keras needs the Python package keras-hub"):
        load_keras(tmp_path / "model.keras")
    assert backbone_names.needs_kerashub(str(tmp_path / "model.keras"))


def test_only_presets_and_files_with_layers_of_kerashub_need_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", '{"module": "keras.src.models.functional"}')
    needed = {name: backbone_names.needs_kerashub(name) for name in ("vgg16", "kerashub:x", f"{tmp_path}/model.keras")}
    assert list(needed.values()) == [False, True, False]


def test_the_folder_of_a_preset_is_not_published() -> None:
    assert backbone_names.without_folder("kerashub:/home/me/tiny/") == "kerashub:tiny"
    assert backbone_names.without_folder("kerashub:hf://keras/x") == "kerashub:hf://keras/x"
    assert backbone_names.without_folder("vgg16") == "vgg16"
    assert make({"data": "x", "name": "x", "backbone": "kerashub:a/b"}).without_places().backbone == "kerashub:b"
