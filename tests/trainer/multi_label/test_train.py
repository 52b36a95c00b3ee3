"""A multi-label model from photos to answers: train, evaluate, predict, export."""

import base64
import csv
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gateway.settings import Settings
from testing.gateway import running_gateway
from testing.modelserver import Server
from tests.trainer import tiny
from tests.trainer.multi_label.squares import COLOURS, draw, write_links, write_table
from trainer.cli import main
from trainer.evaluation.report.multi_label import HISTOGRAMS
from trainer.export.saved_classifier import SavedClassifier
from trainer.model_card import Card
from trainer.prediction import local

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = tuple(COLOURS)

Trainer = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of three colours that was trained on 120 photos in a table."""
    folder = tmp_path_factory.mktemp("trained")
    write_table(folder / "photos", 120)
    with pytest.MonkeyPatch.context() as patch:
        tiny.add(patch)
        arguments = ["train", folder / "photos", "--name", "colours", "--multi-label", "--strength", "10"]
        places = ["--models-dir", folder / "models", "--runs-dir", folder / "runs"]
        assert main([str(one) for one in (*arguments, *places, *tiny.OPTIONS)]) == 0
    return folder


@pytest.fixture
def model(trained: Path) -> Path:
    return trained / "models" / "colours" / "1"


@pytest.fixture
def card(model: Path) -> Card:
    return Card.from_json((model / "assets.extra/card.json").read_text())


def test_the_card_has_the_task_thresholds_and_figures(card: Card) -> None:
    assert card.multi_label
    assert card.labels == LABELS
    assert len(card.thresholds) == 3
    assert all(0 < one < 1 for one in card.thresholds)
    assert card.unknown_threshold is None
    assert not card.other_labels
    assert not card.label_sets
    for split in ("validation", "cross-validation"):
        figures = card.metrics[split]
        assert isinstance(figures["mean_average_precision"], float)
        assert figures["mean_average_precision"] > 0.9
        assert set(figures["average_precision"]) == set(LABELS)  # type: ignore[arg-type]
    assert card.training["photos"]["train"]["red"] > 40  # type: ignore[index, call-overload, operator]
    assert card.baseline is not None
    assert sum(card.baseline["labels"].values()) + card.baseline["unknown"] == pytest.approx(1, abs=1e-5)  # type: ignore[union-attr, operator, arg-type]


def test_the_report_has_every_label_and_the_files_agree_with_the_card(trained: Path, card: Card) -> None:
    [run] = (trained / "runs" / "colours").iterdir()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["task"] == "multi-label"
    assert evaluation["mean_average_precision"] == pytest.approx(
        card.metrics["validation"]["mean_average_precision"], abs=0.01
    )
    assert [one["label"] for one in evaluation["labels"]] == list(LABELS)
    report = (run / "report.html").read_text()
    assert "mean average precision" in report
    assert report.count("photos with the label") >= min(HISTOGRAMS, len(LABELS))
    first = json.loads((run / "predictions.jsonl").read_text().splitlines()[0])
    assert isinstance(first["true"], list)
    assert set(first["scores"]) == set(LABELS)


def test_photos_get_their_labels_and_a_photo_without_squares_gets_none(model: Path, tmp_path: Path) -> None:
    expected = {"none.png": (), "red.png": ("red",), "two.png": ("blue", "green"), "all.png": LABELS}
    for seed, (name, labels) in enumerate(expected.items(), 900):
        draw(tmp_path / "new" / name, labels, seed)
    for output in (tmp_path / "answers.jsonl", tmp_path / "answers.csv"):
        assert main(["predict", str(model), str(tmp_path / "new"), "--output", str(output)]) == 0
        assert main(["predict", str(model), str(tmp_path / "new"), "--output", str(output)]) == 0  # nothing is left
    records = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    labels_of_file = {Path(one["file"]).name: set(one["labels"]) for one in records}
    assert labels_of_file == {name: set(labels) for name, labels in expected.items()}
    for one in records:
        assert one["state"] == ("named" if one["labels"] else "unknown")
        assert one["label"] == (one["labels"][0] if one["labels"] else None)
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    assert set(rows["two.png"]["labels"].split("|")) == {"blue", "green"}
    assert rows["none.png"]["labels"] == ""


def test_the_confidence_is_that_of_the_label_also_where_another_label_has_a_higher_score(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strict(SavedClassifier):
        """All labels but the one with a square reach their thresholds."""

        def __init__(self, directory: Path) -> None:
            super().__init__(directory)
            self.card = dataclasses.replace(self.card, thresholds=[float(one == "blue") for one in LABELS])

    monkeypatch.setattr(local, "SavedClassifier", Strict)
    draw(tmp_path / "new" / "blue.png", ("blue",), 960)
    records_by_top_k = {}
    for top_k in ("1", "3"):
        output = tmp_path / f"{top_k}.jsonl"
        assert main(["predict", str(model), str(tmp_path / "new"), "--top-k", top_k, "--output", str(output)]) == 0
        [records_by_top_k[top_k]] = [json.loads(line) for line in output.read_text().splitlines()]
    assert [one["label"] for one in records_by_top_k["1"]["predictions"]] == ["blue"]
    second = records_by_top_k["3"]["predictions"][1]
    for one in records_by_top_k.values():
        assert (one["label"], one["labels"][0]) == (second["label"], second["label"])
        assert one["confidence"] == pytest.approx(second["score"], abs=1e-5)


def test_a_gateway_answers_what_predict_computes(trained: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    expected = {"none.png": (), "red.png": ("red",), "two.png": ("blue", "green")}
    for seed, (name, labels) in enumerate(expected.items(), 970):
        draw(tmp_path / "new" / name, labels, seed)
    server = Server("--engine=openvino", "--model_name=colours", f"--model_base_path={trained / 'models' / 'colours'}")
    try:
        settings = Settings(serving_target=server.address, default_model="colours", request_timeout_seconds=60)
        with running_gateway(settings) as client:
            photo = {"image": (tmp_path / "new" / "two.png").read_bytes()}
            answer = client.post("/api/v1/predict_breed", files=photo).json()
            assert set(answer["labels"]) == {"blue", "green"}
            assert answer["breed"] == answer["labels"][0] == answer["predictions"][0]["label"]
            encoded = base64.b64encode(photo["image"]).decode()
            body = {"instances": [{"b64": encoded}]}
            [best] = client.post("/v1/models/colours:predict", json=body).json()["predictions"]
            over = [label for label, has in zip(best["classes"], best["over_threshold"], strict=True) if has]
            assert set(over) == {"blue", "green"}
            sources = {"there": ["colours", "--url", str(client.base_url)], "here": [str(trained / "models/colours")]}
            records_by_source = {}
            for name, [model, *options] in sources.items():
                output = tmp_path / f"{name}.jsonl"
                assert main(["predict", model, str(tmp_path / "new"), "--output", str(output), *options]) == 0
                records_by_source[name] = [json.loads(line) for line in output.read_text().splitlines()]
    finally:
        server.close()
    for one, other in zip(records_by_source["here"], records_by_source["there"], strict=True):
        assert one["labels"] == other["labels"]
        assert set(one["labels"]) == set(expected[Path(one["file"]).name])
        assert one["confidence"] == pytest.approx(other["confidence"], abs=1e-3)


def test_evaluate_counts_missing_and_wrong_labels(model: Path, tmp_path: Path, trainer: Trainer) -> None:
    photos = write_links(tmp_path / "photos", 24, first=500)
    wrong = draw(tmp_path / "photos" / "red" / "wrong.png", ("green",), 700)
    for number in range(3):
        draw(tmp_path / "others" / f"{number}.png", (), 800 + number)
    status, out, _ = trainer("evaluate", model, photos, "--unknown", tmp_path / "others", "--output", tmp_path / "out")
    assert status == 0
    assert "mean average precision" in out
    others = re.search(r"3 photos of other things: (\S+) of them get a label", out)
    assert others
    assert float(others[1]) < 0.5
    evaluation = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert evaluation["photos"] == 22  # 21 with labels, and the wrong one
    assert evaluation["exact_labels"] == pytest.approx(21 / 22)
    [mistake] = evaluation["worst"]
    assert mistake["path"] == str(wrong)
    assert mistake["true"] == ["red"]
    assert [label for label, _ in mistake["wrong"]] == ["green"]
    assert [label for label, _ in mistake["missing"]] == ["red"]
    red = next(one for one in evaluation["labels"] if one["label"] == "red")
    assert red["recall"] == pytest.approx((red["photos"] - 1) / red["photos"])


def test_every_signature_gives_the_same_independent_scores(model: Path, card: Card, tmp_path: Path) -> None:
    photo = draw(tmp_path / "two.png", ("blue", "red"), 950).read_bytes()
    signatures = tf.saved_model.load(str(model)).signatures
    best = signatures["serving_default"](image_bytes=tf.constant([photo]))
    over = best["over_threshold"].numpy()[0]
    classes = np.array([name.decode() for name in best["classes"].numpy()[0]])
    assert set(classes[over]) == {"blue", "red"}
    assert best["scores"].numpy().sum() > 1.2
    images = np.zeros((1, 32, 32, 3), np.uint8)
    pixels, explained = (signatures[name](images=tf.constant(images)) for name in ("pixels", "explain"))
    np.testing.assert_allclose(pixels["probabilities"], explained["probabilities"], atol=1e-6)
    restored = tf.keras.models.load_model(model / "assets.extra/model.keras", compile=False)
    np.testing.assert_allclose(restored(images.astype(np.float32)), pixels["probabilities"], atol=1e-5)
    assert SavedClassifier(model).card == card


def test_a_keras_file_is_exported_and_a_quantised_one_is_refused(
    model: Path, trained: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = trained / "exported"
    status, out, problem = trainer("export", model, trained / "photos", "--format", "keras", "--output", output)
    assert status == 0, problem
    assert "same labels 100.0%" in out
    monkeypatch.setattr("trainer.export.precision.PACKAGES", {"no_such": "no-such==1"})
    for form in ("saved_model", "openvino"):
        status, _, out = trainer("export", model, trained / "photos", "--format", form, "--precision", "int8")
        assert status == 1
        assert "multi-label models cannot be exported in int8 yet" in out


def test_what_does_not_work_yet_is_said_in_one_sentence(
    model: Path, trained: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.add(monkeypatch)
    photos = trained / "photos"
    for option, named in (
        (["--fine-tune", "2"], "--fine-tune"),
        (["--hidden", "8"], "a dense head ("),
        (["--recipe", "dog-breeds"], "a dense head (--head dense, --hidden, --recipe dog-breeds)"),
        (["--recipe", "cats-dogs"], "a sigmoid (--output sigmoid, --recipe cats-dogs)"),
        (["--add", str(photos)], "--add"),
    ):
        status, _, error_text = trainer("train", photos, "--name", "x", "--multi-label", *option, *tiny.OPTIONS)
        assert status == 1
        assert f"--multi-label does not work with {named}" in error_text
        assert "yet; leave one of the two out" in error_text
    status, _, error_text = trainer("compare", model, model, photos, "--output", photos.parent / "compared")
    assert status == 1
    assert "multi-label models cannot be compared yet" in error_text
    status, _, error_text = trainer("check", photos)
    assert status == 1
    assert "only train --multi-label takes photos without labels" in error_text


def test_a_model_that_learned_nothing_is_not_published(
    tmp_path: Path, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.add(monkeypatch)
    rows = ["file,label"]
    for number in range(40):
        draw(tmp_path / "photos" / f"{number}.png", (), number)
        rows.append(f"{number}.png,{'red' if number % 3 else ''},{'blue' if number % 2 else ''}")
    (tmp_path / "photos" / "labels.csv").write_text("\n".join(rows))
    status, _, error_text = trainer("train", tmp_path / "photos", "--name", "x", "--multi-label", *tiny.OPTIONS)
    assert status == 1
    assert "the model was not published: its mean average precision on" in error_text
