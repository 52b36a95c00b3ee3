"""A Keras model to a SavedModel that serves exactly what was trained: frozen, with its card, proved and warmed up."""

import dataclasses
import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.export import openvino_network, parity, signatures
from trainer.export.graph_functions import freeze, with_variables
from trainer.export.keras_copies import save_keras
from trainer.export.keras_runner import BATCH, keras_runner, probabilities_runner
from trainer.export.precision import Precision
from trainer.export.quantization import Int8, Quantization, quantize_network
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.signature_parity import check_written, runners_of, with_openvino
from trainer.export.tf_logging import quiet
from trainer.export.warmup import BATCH_SIZES, write_warmup
from trainer.model_card import Card

GRAPH_LIMIT = 1_900_000_000
"""Bytes of weights that may become constants: protobuf refuses a graph file over 2 GiB, which also holds the rest."""

EXTRA = "assets.extra"
"""The part of a SavedModel that is left to its maker; servers read the warm-up records there and nothing else."""


@dataclass(frozen=True)
class Exported:
    """What an export came to: the card as written (with its parity), whether the weights are constants, the file read.

    `written`: the SavedModel as it was read back from the directory, which may have moved since. `without_openvino`:
    why there is no network for OpenVINO, None where there is one. `quantization`: what that network lost in int8.
    """

    card: Card
    parity: parity.Parity
    frozen: bool
    written: SavedClassifier
    without_openvino: str | None
    quantization: Quantization | None = None

    def summary(self) -> str:
        """Returns what the export came to as lines of text."""
        found = self.parity
        line = (
            f"{self.card.precision}; largest difference of a probability from Keras on {found.photos} "
            f"{'drawn patterns' if found.drawn else 'photos'}: "
            f"pixels {found.pixels:.1g} (same top-1 on {found.pixels_same_top1:.1%}), "
            f"serving_default {found.serving_default:.1g} (same top-1 on {found.serving_default_same_top1:.1%})"
        )
        lines = [line]
        if self.card.precision == "bfloat16":
            lines.append("a server on a processor without AVX-512 cannot load this model")
        if found.openvino is not None:
            lines.append(f"OpenVINO: largest difference of a probability from Keras {found.openvino:.1g}")
        if self.quantization is not None:
            lines.append(self.quantization.summary())
        if self.without_openvino is not None:
            lines.append(f"without a network for OpenVINO: {self.without_openvino}")
        if found.h5 is None:
            lines.append("model.h5 is left out: Keras cannot read this network back from HDF5")
        if not self.frozen:
            lines.append("the weights are too large for constants and were saved as variables: serving is slower")
        if found.serving_default_same_top1 < min(parity.SAME_TOP1, found.pixels_same_top1):
            lines.append("warning: TensorFlow's own decoding changes answers; prefer the pixels signature")
        return "\n".join(lines)


def export_model(
    model: keras.Model,
    card: Card,
    directory: Path,
    *,
    photos: Sequence[bytes] = (),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    graph_limit: int = GRAPH_LIMIT,
    precision: Precision = "float32",
    int8: Int8 | None = None,
) -> Exported:
    """Writes a complete SavedModel with the signatures of docs/model-contract.md.

    Beside it, in `assets.extra/`: `model.keras` and `model.h5` (the same model, with temperature and softmax or
    sigmoid), `card.json`, the warm-up records, and where OpenVINO is installed, `openvino/`: the network for it.

    Args:
        model: Functional Keras model in float32: pixel values 0 to 255, RGB, float32 (n, height, width, 3) -> logits
            float32 (n, classes) in the order of `card.labels` and then `card.other_labels`; or (n, 1) with two labels,
            the logit of the second (a sigmoid). Normalisation is inside; softmax, sigmoid and temperature are not: the
            export adds them.
        card: The card; `parity`, `precision` and `quantization` are filled in here.
        directory: An existing directory to write to, such as the draft of `publish.new_version`.
        photos: Encoded photos to prove parity on; at most `parity.PHOTOS` are used. Without any, patterns are drawn.
        batch_sizes: Batch sizes to warm up each signature with.
        graph_limit: Above this many bytes of weights they are saved as variables instead of constants.
        precision: What the export computes in. How far bfloat16 is from Keras is measured and stated, not limited.
            With int8, that is the network for OpenVINO alone: the SavedModel stays in float32.
        int8: What that needs: photos to quantise with and to measure on, and what may be lost.

    Raises:
        TrainerError: The model and the card disagree; the export computes something else than the Keras model;
            bfloat16 cannot be had, on this processor or for weights over `graph_limit`; or int8 loses more than
            it may.
        ValueError: The precision is int8, and `int8` is None.
    """
    _check(model, card)
    if precision == "int8" and int8 is None:
        raise ValueError("an export in int8 needs photos")
    extra = directory / EXTRA
    extra.mkdir()
    split, tail = signatures.split_at_features(model)
    frozen = 4 * model.count_params() <= graph_limit
    served: Precision = "float32" if precision == "int8" else precision
    if precision != "float32" and not frozen:
        raise TrainerError(f"{precision} needs weights that become constants, and these are too large for that")
    with quiet():
        core, heatmap = freeze(split, tail, card, served) if frozen else with_variables(split, tail)
    encoded, pixels, drawn = parity.decodable(photos, card.input)

    restored = save_keras(model, card, extra)
    expected = keras_runner(model, card)(pixels)
    h5 = probabilities_runner(restored) if restored else None
    endpoints = signatures.build(core, heatmap, card)
    runners = runners_of(endpoints, card, lambda _: expected, h5)
    found = parity.measure(runners, encoded, pixels, len(card.labels), drawn=drawn)
    if served == "float32":
        parity.check(found.pixels, "`pixels`")
    if found.h5 is not None:
        parity.check(found.h5, "model.h5")
    exported = runners.pixels(pixels[:BATCH])
    del restored, h5, runners
    gc.collect()  # each of them holds the weights, and more of its own

    without_openvino: str | None = "its weights are too large for constants"
    exact = endpoints
    if frozen:
        with quiet():
            if served != "float32":
                core, heatmap = freeze(split, tail, card, "float32")
                exact = signatures.build(core, heatmap, card)
            outputs = signatures.in_one_pass(core, heatmap, card)
            without_openvino = openvino_network.write_network({"outputs": outputs}, extra)
            del outputs
    if without_openvino is None:
        found = with_openvino(found, expected, exact, extra, pixels, len(card.labels))
    quantization: Quantization | None = None
    if precision == "int8":
        if without_openvino is not None:
            raise TrainerError(f"int8 needs a network for OpenVINO, and there is none: {without_openvino}")
        assert int8 is not None
        quantization = quantize_network(extra, int8, len(card.labels))

    noted = quantization.to_json() if quantization else None
    card = dataclasses.replace(card, parity=found.to_json(), precision=served, quantization=noted)
    endpoints["describe"] = signatures.describe(card)
    with quiet():
        _save(endpoints, [] if frozen else [one.value for one in model.variables], directory)
    write_warmup(directory, card, list(endpoints), batch_sizes)
    del core, heatmap, endpoints, exact
    gc.collect()  # before the file is read back, which takes as much memory
    (extra / "card.json").write_text(card.to_json(), encoding="utf-8")
    written = check_written(directory, card, exported, pixels[:BATCH])
    return Exported(card, found, frozen, written, without_openvino, quantization)


def try_export(model: keras.Model, card: Card) -> None:
    """Writes the graph of a model to a temporary folder, so that an export that cannot work is known before training.

    Raises:
        TrainerError: The network cannot be exported; the message has TensorFlow's reason.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            _check(model, card)
            split, tail = signatures.split_at_features(model)
            frozen = 4 * model.count_params() <= GRAPH_LIMIT
            core, heatmap = freeze(split, tail, card, "float32") if frozen else with_variables(split, tail)
            endpoints = signatures.build(core, heatmap, card)
            _save(endpoints, [] if frozen else [one.value for one in model.variables], Path(folder))
        except (ValueError, TypeError, RuntimeError, AssertionError, tf.errors.OpError) as error:
            reason = str(error).strip().split("\n")[0]
            raise TrainerError(
                f"{card.backbone.name} cannot be exported ({reason}), so training it would be for nothing; choose "
                "another --backbone"
            ) from error


def _check(model: keras.Model, card: Card) -> None:
    wanted = (None, card.input.height, card.input.width, 3)
    if model.input_shape != wanted:
        raise TrainerError(f"the model takes {model.input_shape}, its card says {wanted}")
    outputs, classes = model.output_shape[-1], len(card.labels) + len(card.other_labels)
    if len(model.output_shape) != 2 or outputs != (1 if outputs == 1 and classes == 2 else classes):
        raise TrainerError(f"the model gives {model.output_shape}, its card has {classes} labels")
    if card.multi_label and (card.other_labels or len(card.thresholds) != len(card.labels)):
        raise TrainerError("the card of a multi-label model has a threshold for each label, and no other labels")
    if len(set(card.labels)) != len(card.labels):
        raise TrainerError("the labels of a model must differ from each other")


def _save(
    endpoints: dict[str, tf.types.experimental.GenericFunction], variables: Sequence[tf.Variable], directory: Path
) -> None:
    module = tf.Module()
    # TensorFlow's own variables, named here. A Keras 3 model must not be tracked: by tf.Module its variables are left
    # out and every Predict fails, and keras.export.ExportArchive writes each twice, as Keras's and as TensorFlow's.
    module.weights = list(variables)
    tf.saved_model.save(
        module,
        str(directory),
        signatures={name: one.get_concrete_function() for name, one in endpoints.items()},
        # Nobody trains what is served, and the gradients of swish in frozen functions cannot be written.
        options=tf.saved_model.SaveOptions(experimental_custom_gradients=False),
    )
