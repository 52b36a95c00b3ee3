"""Test a model with one image before it is published. A SavedModel may load and then fail every call."""

import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef, TensorInfo

from trainer.errors import TrainerError

Arrays = Mapping[str, NDArray[np.generic]]
Call = Callable[[str, Arrays], Arrays]
"""Calls the signature with a key. Raises `TrialError`."""

BOOKKEEPING_PREFIX = "__saved_model_"
"""Prefix of signatures that TensorFlow lists for its own use."""

NAMED_LIKE_IMAGES = re.compile(r"image|img|photo|picture|jpe?g|png", re.IGNORECASE)
NOT_NAMED_LIKE_IMAGES = re.compile(r"b64|base64|ur[il]|path|name", re.IGNORECASE)
"""Names of string inputs that take encoded images, and of those that do not although the former match."""

SIDE = 224
"""Height and width of the test image, if the signature does not fix them."""

MAX_REASON_CHARACTERS = 300

SCORE_TYPES = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


class TrialError(TrainerError):
    """A model failed the test. The message continues a sentence that begins with the model."""


def try_saved_model(directory: Path) -> str:
    """Tests a SavedModel as a model server would run it; returns a sentence about the result.

    Raises:
        TrialError: It cannot be loaded, the call fails, or the number of scores is not the number of labels.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        try:
            signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(directory)).signature_def
        except Exception as error:  # any error is a reason not to publish
            raise TrialError(f"cannot be loaded by a model server: {reason(str(error))}") from error

        def call(key: str, inputs: Arrays) -> Arrays:
            feeds = {signatures[key].inputs[name].name: array for name, array in inputs.items()}
            fetches = {name: info.name for name, info in signatures[key].outputs.items()}
            try:
                outputs: Arrays = session.run(fetches, feeds)
            except Exception as error:
                raise TrialError(f"loads, but fails when it is called: {reason(str(error))}") from error
            return outputs

        return try_signatures(signatures, call)


def try_signatures(signatures: Mapping[str, SignatureDef], call: Call) -> str:
    """Calls the signature that takes images with one image.

    Args:
        signatures: All signatures of a version, by key.
        call: Calls one of them.

    Returns:
        A sentence about the result.

    Raises:
        TrialError: The call failed, or the number of scores is not the number of labels.
    """
    keys = sorted(key for key in signatures if not key.startswith(BOOKKEEPING_PREFIX))
    described = {"pixels", "describe"} <= set(keys)
    candidates = ["pixels"] if described else ["serving_default"] if "serving_default" in keys else keys
    failed: TrialError | None = None
    for key in candidates:
        inputs = _image_inputs(signatures[key])
        if inputs is None:
            continue
        try:
            scores = _scores(signatures[key], call(key, inputs))
        except TrialError as error:
            failed = failed or TrialError(f"{error} (signature {key!r})")
            continue
        if described:
            _check_labels(_labels(call), scores)
        return f"answered an image with {scores} scores" if scores else "answered an image"
    if failed is not None:
        raise failed
    return "not tested: no signature takes only an image"


def _image_inputs(signature: SignatureDef) -> dict[str, NDArray[np.generic]] | None:
    """Inputs with one grey image; None if the signature takes no image."""
    inputs = {name: _image(name, info) for name, info in signature.inputs.items()}
    if not inputs or any(array is None for array in inputs.values()):
        return None
    return {name: array for name, array in inputs.items() if array is not None}


def _image(name: str, info: TensorInfo) -> NDArray[np.generic] | None:
    sizes = None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
    if info.dtype == tf.string.as_datatype_enum:
        if sizes is not None and (len(sizes) > 2 or any(size not in (-1, 1) for size in sizes)):
            return None
        is_key = name.lower() in ("key", "keys")
        if not is_key and (NOT_NAMED_LIKE_IMAGES.search(name) or not NAMED_LIKE_IMAGES.search(name)):
            return None  # text or tf.Example, which a photo would fail
        value = b"0" if is_key else _file()
        return np.full([1] if sizes is None else [1] * len(sizes), value, object)
    dtype = tf.as_dtype(info.dtype)
    if sizes is None or len(sizes) not in (3, 4) or not (dtype.is_floating or dtype.is_integer):
        return None
    batch = [] if len(sizes) == 3 and sizes[-1] == 3 else [max(sizes[0], 1)]
    row = sizes[len(batch) :]
    if len(row) == 3 and row[0] not in (1, 3) and row[-1] < 0:
        row[-1] = 3
    shape = batch + [SIDE if size < 0 else size for size in row]
    return np.full(shape, 0.5 if dtype.is_floating else 127, dtype.as_numpy_dtype)


def _file() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (128, 128, 128)).save(file, "JPEG")
    return file.getvalue()


def _scores(signature: SignatureDef, outputs: Arrays) -> int:
    """Number of scores in an answer: the size of the largest floating-point output, or 0."""
    classes = 0
    for name, info in signature.outputs.items():
        if tf.as_dtype(info.dtype) in SCORE_TYPES and name in outputs:
            values = np.asarray(outputs[name], np.float32)
            if not np.isfinite(values).all():
                raise TrialError(f"returns values that are not finite in the output {name!r}")
            if name != "heatmap" and values.ndim:
                classes = max(classes, values.shape[-1])
    return classes


def _labels(call: Call) -> int:
    [card] = np.asarray(call("describe", {"request": np.zeros(1, np.int32)})["card"]).ravel().tolist()
    try:
        fields = json.loads(card)
        return len(fields["labels"]) + len(fields.get("other_labels") or ())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrialError("has a model card that cannot be parsed; see docs/model-contract.md") from error


def _check_labels(labels: int, scores: int) -> None:
    if labels != scores:
        raise TrialError(f"returns {scores} scores, but its model card has {labels} labels")


def reason(text: str) -> str:
    """The line of a TensorFlow error message that states the problem."""
    lines = (line.strip() for line in text.splitlines())
    informative = (
        line for line in lines if line and not line.startswith(("Graph execution error", "Detected at node"))
    )
    return next(informative, "no reason was given")[:MAX_REASON_CHARACTERS]
