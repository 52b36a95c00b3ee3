"""Export a Keras model as a SavedModel: frozen, with its card and warm-up records, and compared with the model."""

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainer.errors import TrainerError
from trainer.export import openvino_network, parity, signatures
from trainer.export.graph_functions import freeze, with_constants, with_variables
from trainer.export.keras_copies import save_keras
from trainer.export.keras_runner import keras_runner
from trainer.export.precision import Precision
from trainer.export.quantization import Int8, Quantization, quantize_network
from trainer.export.saved_classifier import SavedClassifier
from trainer.export.signature_parity import answers, best_of_encoded, check_written, with_openvino
from trainer.export.tf_logging import quiet
from trainer.export.warmup import BATCH_SIZES, write_warmup
from trainer.memory import free
from trainer.model_card import Card

GRAPH_LIMIT = 1_900_000_000
"""Maximum size of weights as constants, in bytes. Protobuf refuses a graph file over 2 GiB."""

EXTRA = "assets.extra"
"""Folder of a SavedModel for additional files. Servers read only the warm-up records in it."""


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        card: The card as it was written, with `parity`.
        parity: How the exports differ from the Keras model.
        frozen: Whether the weights are constants.
        written: The SavedModel, read back from its directory, which may have moved since.
        without_openvino: Why there is no network for OpenVINO; None if there is one.
        quantization: What that network lost in int8.
    """

    card: Card
    parity: parity.Parity
    frozen: bool
    written: SavedClassifier
    without_openvino: str | None
    quantization: Quantization | None = None

    def summary(self) -> str:
        """Returns the result as lines of text."""
        differences = self.parity
        line = (
            f"{self.card.precision}; largest difference of a probability from Keras on {differences.photos} "
            f"{'drawn patterns' if differences.drawn else 'photos'}: "
            f"pixels {differences.pixels:.1g} (same top-1 on {differences.pixels_same_top1:.1%}), "
            f"serving_default {differences.serving_default:.1g} "
            f"(same top-1 on {differences.serving_default_same_top1:.1%})"
        )
        lines = [line]
        if self.card.precision == "bfloat16":
            lines.append("a server on a processor without AVX-512 cannot load this model")
        if differences.openvino is not None:
            lines.append(f"OpenVINO: largest difference of a probability from Keras {differences.openvino:.1g}")
        if self.quantization is not None:
            lines.append(self.quantization.summary())
        if self.without_openvino is not None:
            lines.append(f"without a network for OpenVINO: {self.without_openvino}")
        if differences.h5 is None:
            lines.append("model.h5 is left out: Keras cannot read this network back from HDF5")
        if not self.frozen:
            lines.append("the weights are too large for constants and were saved as variables: serving is slower")
        if differences.serving_default_same_top1 < min(parity.SAME_TOP1, differences.pixels_same_top1):
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

    Its folder `assets.extra/` gets `model.keras` and `model.h5` (the same model, with temperature and softmax or
    sigmoid), `card.json`, the warm-up records and, if OpenVINO is installed, its network in `openvino/`.

    Args:
        model: Functional Keras model in float32: pixel values 0 to 255, RGB, float32 (n, height, width, 3) -> logits
            float32 (n, classes) in the order of `card.labels` and then `card.other_labels`; or (n, 1) with two labels,
            the logit of the second (a sigmoid). Normalisation is inside; softmax, sigmoid and temperature are not: the
            export adds them.
        card: The card; `parity`, `precision` and `quantization` are filled in here.
        directory: An existing directory to write to, such as the draft of `publish.new_version`.
        photos: Encoded photos for the comparison; at most `parity.PHOTOS` are used. Without any, patterns are used.
        batch_sizes: Batch sizes to warm up each signature with.
        graph_limit: Weights of more bytes are saved as variables instead of constants.
        precision: Precision of the computations. Differences of bfloat16 from Keras are measured, but not limited.
            int8 is only for the network for OpenVINO; the SavedModel stays in float32.
        int8: Photos and limits for int8.

    Raises:
        TrainerError: The model does not match the card; the export differs from the Keras model; bfloat16 is not
            available on this processor or for weights over `graph_limit`; or int8 exceeds its limits.
        ValueError: The precision is int8, and `int8` is None.
    """
    _check(model, card)
    free()  # what training has left, such as the function that computed features
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

    h5 = save_keras(model, card, extra)
    expected = keras_runner(model, card)(pixels)
    free()
    one_output = model.output_shape[-1] == 1
    endpoints = signatures.build(core, heatmap, card, one_output=one_output)
    exact = exported = answers(endpoints, pixels)
    free()
    differences = parity.measure(
        expected,
        exported["pixels probabilities"],
        best_of_encoded(endpoints["serving_default"], encoded, card),
        len(card.labels),
        drawn=drawn,
    )
    differences = dataclasses.replace(differences, h5=0.0 if h5 else None)
    if served == "float32":
        parity.check(differences.pixels, "`pixels`")
        parity.check(float(np.abs(expected - exported["explain probabilities"]).max()), "`explain`")
    free()

    without_openvino: str | None = "its weights are too large for constants"
    if frozen:
        with quiet():
            if served != "float32":
                core, heatmap = freeze(split, tail, card, "float32")
                exact = answers(signatures.build(core, heatmap, card, one_output=one_output), pixels)
            # The heat map as a part of the graph, not as a function that it calls, because it may need changes.
            outputs = signatures.in_one_pass(core, signatures.saliency(with_constants(tail)), card)
            without_openvino = openvino_network.write_network(outputs, extra)
            del outputs
    if without_openvino is None:
        differences = with_openvino(differences, expected, exact, extra, pixels, len(card.labels))
    free()
    quantization: Quantization | None = None
    if precision == "int8":
        if without_openvino is not None:
            raise TrainerError(f"int8 needs a network for OpenVINO, and there is none: {without_openvino}")
        assert int8 is not None
        quantization = quantize_network(extra, int8, len(card.labels))

    quantization_json = quantization.to_json() if quantization else None
    card = dataclasses.replace(card, parity=differences.to_json(), precision=served, quantization=quantization_json)
    endpoints["describe"] = signatures.describe(card)
    with quiet():
        _save(endpoints, [] if frozen else [one.value for one in model.variables], directory)
    write_warmup(directory, card, list(endpoints), batch_sizes)
    del core, heatmap, endpoints
    free()
    (extra / "card.json").write_text(card.to_json(), encoding="utf-8")
    written = check_written(directory, card, exported["pixels probabilities"], pixels)
    free()
    return Exported(card, differences, frozen, written, without_openvino, quantization)


def try_export(model: keras.Model, card: Card) -> None:
    """Writes the graph of a model to a temporary folder, to find out before training whether the export works.

    Raises:
        TrainerError: The network cannot be exported; the message has TensorFlow's reason.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            _check(model, card)
            split, tail = signatures.split_at_features(model)
            frozen = 4 * model.count_params() <= GRAPH_LIMIT
            core, heatmap = freeze(split, tail, card, "float32") if frozen else with_variables(split, tail)
            endpoints = signatures.build(core, heatmap, card, one_output=model.output_shape[-1] == 1)
            _save(endpoints, [] if frozen else [one.value for one in model.variables], Path(folder))
        except (ValueError, TypeError, RuntimeError, AssertionError, tf.errors.OpError) as error:
            reason = str(error).strip().split("\n")[0]
            raise TrainerError(
                f"{card.backbone.name} cannot be exported ({reason}), so it was not trained; choose another --backbone"
            ) from error


def _check(model: keras.Model, card: Card) -> None:
    input_shape = (None, card.input.height, card.input.width, 3)
    if model.input_shape != input_shape:
        raise TrainerError(f"the model takes {model.input_shape}, its card says {input_shape}")
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
