"""Files for other runtimes: each gives the answers of the published version, holds its card, or is refused."""

import functools
import io
import json
import re
import shutil
import textwrap
import zipfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from testing import ROOT
from trainer.cli import main
from trainer.export.formats import FORMATS, Format
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.saved_model import export_model
from trainer.model_card import Card

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of; packages use what others deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:nncf"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tf2onnx"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx"),
]

Build = Callable[..., keras.Model]
MakeCard = Callable[..., Card]
Trainer = Callable[..., tuple[int, str, str]]

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory, small_model: Build, make_card: MakeCard) -> Path:
    """A published version of a small network."""
    directory = tmp_path_factory.mktemp("models") / "small" / "3"
    directory.mkdir(parents=True)
    card = make_card(temperature=2.0, other_labels=("x", None), unknown_threshold=0.4)
    export_model(small_model(5), card, directory, batch_sizes=(1,))
    return directory


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, version: Path) -> Path:
    """Photos in folders of the labels that the version gives them, and one that is damaged."""
    folder = tmp_path_factory.mktemp("photos")
    images = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 3), np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in images]
    scores = SavedClassifier(version).probabilities(np.stack(large))[:, :3]
    for number, (image, best) in enumerate(zip(large, scores.argmax(axis=1), strict=True)):
        (folder / "abc"[best]).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / "abc"[best] / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, version: Path, photos: Path
) -> Callable[[str], tuple[Path, str]]:
    """Exports the version to a format, once; returns the folder and what the command printed."""

    @functools.cache
    def export(name: str) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp("exports") / name
        with redirect_stdout(io.StringIO()) as out:
            assert main(["export", str(version), str(photos), "--format", name, "--output", str(folder)]) == 0
        return folder, out.getvalue()

    return export


def available(name: str) -> Format:
    for package in FORMATS[name].packages:
        pytest.importorskip(package, reason=f"{package} is not installed")
    return FORMATS[name]


@pytest.fixture(params=[*FORMATS])
def name(request: pytest.FixtureRequest) -> str:
    available(request.param)
    return str(request.param)


def test_a_file_gives_the_answers_of_the_version_and_holds_its_card(
    name: str, version: Path, exported: Callable[[str], tuple[Path, str]]
) -> None:
    folder, out = exported(name)
    assert f"{name} in float32: " in out
    assert "on 40 photos largest difference" in out
    module, path = FORMATS[name].load(), folder / FORMATS[name].file
    outputs = module.runner(path)(IMAGES)
    served = SavedClassifier(version)
    assert outputs["probabilities"] == pytest.approx(served.probabilities(IMAGES), abs=1e-5)
    assert outputs["embedding"] == pytest.approx(served.embeddings(IMAGES), abs=1e-5)
    text = module.read_card(path)
    assert text == (folder / "card.json").read_text()
    card = Card.from_json(text)
    assert (card.labels, card.temperature, card.unknown_threshold) == (("a", "b", "c"), 2.0, 0.4)
    assert card.export is not None
    assert (card.export["format"], card.export["photos"], card.export["same_top1"]) == (name, 40, 1.0)
    assert 0 <= float(str(card.export["largest_difference"])) < 1e-4
    assert float(str(card.export["milliseconds"])) > 0
    assert [one.name for one in folder.parent.iterdir()] == [name]


def test_a_file_with_another_normalisation_than_the_version_is_refused(
    version: Path, photos: Path, tmp_path: Path, trainer: Trainer
) -> None:
    broken = tmp_path / "small" / "3"
    shutil.copytree(version, broken)
    kept = broken / "assets.extra" / "model.keras"
    with zipfile.ZipFile(kept) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    config = json.loads(members["config.json"])
    [rescaling] = [one for one in config["config"]["layers"] if one["config"].get("offset") == -1]
    rescaling["config"].update(scale=1 / 255, offset=0)  # 0 to 1 instead of -1 to 1
    with zipfile.ZipFile(kept, "w") as archive:
        for part, content in (members | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(part, content)
    folder = tmp_path / "out"
    status, _, error = trainer("export", broken, photos, "--format", "keras", "--output", folder)
    assert status == 1
    assert "the export is refused: on 40 photos, its probabilities differ from those of the published version" in error
    assert not folder.exists()


def test_the_examples_of_the_guide_name_the_label_of_a_photo(
    version: Path,
    photos: Path,
    tmp_path: Path,
    exported: Callable[[str], tuple[Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "docs" / "export.md").read_text()
    examples = re.findall(r'=== "([^"]+)"\n\n    ```python\n(.*?)    ```\n', text, re.DOTALL)
    titles = {"ONNX Runtime": "onnx", "LiteRT": "litert", "OpenVINO": "openvino", "Keras": "keras", "SavedModel": None}
    assert [title for title, _ in examples] == [*titles]
    for title, code in examples:
        folder, name = tmp_path, titles[title]
        if name is None:
            (folder / "models" / "dog_breed").mkdir(parents=True)
            (folder / "models" / "dog_breed" / "1").symlink_to(version)
        else:
            available(name)
            folder, _ = exported(name)
        [photo, *_] = sorted((photos / "b").iterdir())
        Image.open(photo).save(folder / "photo.jpg", "PNG")
        monkeypatch.chdir(folder)
        capsys.readouterr()
        lines = textwrap.dedent(code)
        exec(compile(lines, title, "exec"), {})  # noqa: S102, the text is ours
        assert capsys.readouterr().out.splitlines()[-1] == "b"
        assert len(lines.splitlines()) <= 14


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), [("litert", "float16"), ("litert", "int8"), ("openvino", "int8")])
def test_what_a_smaller_file_loses_is_measured_and_limited(
    name: str, precision: str, version: Path, photos: Path, tmp_path: Path, trainer: Trainer
) -> None:
    available(name)
    if name == "openvino":
        pytest.importorskip("nncf", reason="NNCF is not installed")
    arguments = ("export", version, photos, "--format", name, "--precision", precision, "--cache-dir", tmp_path / "c")
    folder = tmp_path / "out"
    status, out, error = trainer(*arguments, "--output", folder, "--max-accuracy-loss", "100", "--min-same-top1", "0")
    assert status == 0, error
    assert f"{name} in {precision}: " in out
    export = json.loads((folder / "card.json").read_text())["export"]
    assert (export["precision"], export["reference_accuracy"]) == (precision, 1.0)
    assert export["accuracy"] == export["same_top1"] > 0.5
    assert export["method"]
    assert 0 < export["largest_difference"] < 0.2
    if precision == "float16":
        assert export["same_top1"] == 1.0
        # One format is enough here: what is refused is decided by figures.
        status, _, error = trainer(*arguments, "--output", tmp_path / "strict", "--min-same-top1", "100.1")
        assert status == 1
        assert f"the export in {precision} is refused: on " in error
        assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "keras"), "give DATA"),
        (("--format", "keras", "--precision", "int8"), "Keras is available in float32, not in int8"),
        (("--format", "litert", "--precision", "bfloat16"), "not in bfloat16"),
        (("--precision", "float16"), "not in float16"),
    ],
)
def test_what_cannot_be_exported_is_refused_at_once(
    version: Path, trainer: Trainer, arguments: tuple[str, ...], message: str
) -> None:
    status, _, error = trainer("export", version, *arguments)
    assert status == 1
    assert message in error


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, version: Path, trainer: Trainer) -> None:
    monkeypatch.setitem(FORMATS, "keras", Format("Keras", "x", "x", packages={"no_such": "no-such==1"}))
    status, _, error = trainer("export", version, version, "--format", "keras")
    assert status == 1
    assert "Keras needs no_such: " in error
    assert "pip install 'no-such==1'" in error
