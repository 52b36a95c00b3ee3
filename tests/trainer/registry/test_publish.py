"""`publish`: a SavedModel from elsewhere, checked and copied in."""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from trainer.errors import TrainerError
from trainer.registry import publish_command as publish


def run_publish(directory: Path, models: Path, *more: str) -> int:
    parser = argparse.ArgumentParser()
    publish.add_arguments(parser)
    return publish.run(parser.parse_args([str(directory), "--name", "dogs", "--models-dir", str(models), *more]))


def saved_model(directory: Path, *, tag: str = "serve", signatures: tuple[str, ...] = ("serving_default",)) -> Path:
    message = SavedModel()
    graph = message.meta_graphs.add()
    graph.meta_info_def.tags.append(tag)
    for name in signatures:
        graph.signature_def[name].method_name = "tensorflow/serving/predict"
    (directory / "variables").mkdir(parents=True)
    (directory / "variables" / "variables.index").write_text("weights")
    (directory / "saved_model.pb").write_bytes(message.SerializeToString())
    return directory


def test_publish_copies_a_saved_model_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_publish(saved_model(tmp_path / "made"), tmp_path / "models", "--untried") == 0
    assert (tmp_path / "models/dogs/1/variables/variables.index").read_text() == "weights"
    assert capsys.readouterr().out.startswith("dogs version 1:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: (made / "saved_model.pb").unlink(), "cannot be read"),
        (lambda made: (made / "saved_model.pb").write_bytes(b"\xff\xff\xff"), "corrupt"),
    ],
)
def test_publish_refuses_what_is_no_saved_model(tmp_path: Path, change: object, message: str) -> None:
    made = saved_model(tmp_path / "made")
    assert callable(change)
    change(made)
    with pytest.raises(TrainerError, match=message):
        run_publish(made, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_publish_names_the_folder_that_was_meant_and_how_to_get_one(tmp_path: Path) -> None:
    made = saved_model(tmp_path / "flowers" / "1")
    with pytest.raises(TrainerError, match=rf"Did you mean {made}\?"):
        run_publish(made.parent, tmp_path / "models")
    keras = tmp_path / "keras" / "own.keras"
    keras.parent.mkdir()
    keras.write_bytes(b"PK")
    with pytest.raises(TrainerError, match=rf"Did you mean {keras}\?"):
        run_publish(keras.parent, tmp_path / "models")
    (tmp_path / "model.h5").write_bytes(b"HDF")
    for path in (tmp_path / "model.h5", tmp_path / "models"):
        with pytest.raises(TrainerError, match=r"Keras writes one with model\.export\(FOLDER\)"):
            run_publish(path, tmp_path / "models")


def test_publish_refuses_a_model_that_a_server_could_not_answer_with(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="tag 'serve'"):
        run_publish(saved_model(tmp_path / "a", tag="train"), tmp_path / "models")
    with pytest.raises(TrainerError, match="no signature"):
        run_publish(saved_model(tmp_path / "b", signatures=("__saved_model_init_op",)), tmp_path / "models")


class Classifier(tf.Module):  # type: ignore[misc]
    """A classifier of one layer."""

    def __init__(self, scores: int) -> None:
        super().__init__()
        self.weights = tf.Variable(tf.ones((3, scores)))

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def classify(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.softmax(tf.reduce_mean(x, axis=[1, 2]) @ self.weights)}

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.uint8, name="images")])  # type: ignore[untyped-decorator]
    def pixels(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": self.classify(tf.cast(images, tf.float32))["y"]}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32, name="request")])  # type: ignore[untyped-decorator]
    def describe(self, request: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(request), json.dumps({"labels": ["a", "b", "c"]}))}


def test_publish_runs_an_image_through_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Classifier(3)
    tf.saved_model.save(model, str(tmp_path / "made"), signatures={"predict": model.classify})
    assert run_publish(tmp_path / "made", tmp_path / "models") == 0
    assert capsys.readouterr().out.endswith("(predict); answered an image with 3 scores\n")


def test_publish_sends_no_image_to_a_model_of_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Numbers(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="inputs")])  # type: ignore[untyped-decorator]
        def read(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.strings.to_number(inputs)}

    model = Numbers()
    tf.saved_model.save(model, str(tmp_path / "made"), signatures={"serving_default": model.read})
    assert run_publish(tmp_path / "made", tmp_path / "models") == 0
    assert capsys.readouterr().out.endswith("not tested: no signature takes only an image\n")


def test_publish_says_how_a_labels_file_in_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Classifier(3)
    tf.saved_model.save(model, str(tmp_path / "made"), signatures={"predict": model.classify})
    (tmp_path / "made" / "assets").mkdir(exist_ok=True)
    (tmp_path / "made" / "assets" / "labels.txt").write_text("a\nb\nc\n")
    assert run_publish(tmp_path / "made", tmp_path / "models") == 0
    out = capsys.readouterr().out.splitlines()[-1]
    options = json.loads(out.split("GATEWAY_MODEL_OPTIONS='")[1].removesuffix("'"))
    [model_options] = options.values()
    assert Path(model_options["labels"]).read_text() == "a\nb\nc\n"
    assert out.startswith("to use labels.txt, set")


def test_publish_refuses_a_model_that_loads_and_fails_every_call(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    tf.saved_model.save(model, str(tmp_path / "made"))  # model.export() is what Keras 3 wants
    with pytest.raises(TrainerError, match=r"fails when it is called: Could not find variable .* --untried skips"):
        run_publish(tmp_path / "made", tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_publish_compares_the_scores_with_the_labels_of_the_model_card(tmp_path: Path) -> None:
    model = Classifier(4)
    signatures = {"pixels": model.pixels, "describe": model.describe}
    tf.saved_model.save(model, str(tmp_path / "made"), signatures=signatures)
    with pytest.raises(TrainerError, match="returns 4 scores, but its model card has 3 labels"):
        run_publish(tmp_path / "made", tmp_path / "models")


def link_out(made: Path) -> None:
    (made.parent / "secret").write_text("secret")
    (made / "assets").mkdir()
    (made / "assets" / "labels.txt").symlink_to(made.parent / "secret")


def link_folder(made: Path) -> None:
    (made / "assets").symlink_to(made)


def hang(made: Path) -> None:
    os.mkfifo(made / "pipe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (link_out, r"link assets/labels.txt, which leads out of it"),
        (lambda made: (made / "assets").symlink_to("/etc"), "link assets, which leads out"),
        (lambda made: (made / "gone").symlink_to("nowhere"), "link gone,"),
        (link_folder, "link assets,"),
        (hang, "pipe, which is neither a file nor a folder"),
        (lambda made: (made / "variables" / "variables.index").chmod(0o600), "which not every user can read"),
        (lambda made: (made / "variables").chmod(0o700), "which not every user can read"),
    ],
)
def test_publish_refuses_links_that_lead_out_and_files_that_are_private(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    made = saved_model(tmp_path / "made")
    change(made)
    with pytest.raises(TrainerError, match=message):
        run_publish(made, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_publish_takes_links_to_files_in_the_folder_and_a_folder_that_is_private_itself(tmp_path: Path) -> None:
    made = saved_model(tmp_path / "made")
    (made / "variables" / "again").symlink_to("variables.index")
    made.chmod(0o700)
    assert run_publish(made, tmp_path / "models", "--untried") == 0
    version = tmp_path / "models/dogs/1"
    assert (version / "variables/again").read_text() == "weights"
    assert not (version / "variables/again").is_symlink()
    assert version.stat().st_mode & 0o055 == 0o055
