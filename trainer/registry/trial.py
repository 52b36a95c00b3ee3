"""One image through a model before people get it: a SavedModel may load and then fail every call."""

import io
import json
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
"""Runs the signature of a key; raises `TrialError`."""

BOOKKEEPING_PREFIX = "__saved_model_"
"""Of signatures that TensorFlow lists for its own use."""

SIDE = 224
"""Pixels of the image where a signature leaves them open."""

MAX_REASON_CHARACTERS = 300

SCORE_TYPES = (tf.float32, tf.float16, tf.bfloat16, tf.float64)


class TrialError(TrainerError):
    """A model failed the trial; the message goes on after its name."""


def try_saved_model(directory: Path) -> str:
    """Runs one image through a SavedModel as a model server would; returns what came of it, for people.

    Raises:
        TrialError: It cannot be loaded, fails, or gives another number of scores than it has labels.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        try:
            signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(directory)).signature_def
        except Exception as error:  # whatever a SavedModel does, it is a reason not to publish it
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
        signatures: Of one version.
        call: Calls one of them.

    Returns:
        What came of it, for people.

    Raises:
        TrialError: It failed, or gave another number of scores than the model has labels.
    """
    keys = sorted(key for key in signatures if not key.startswith(BOOKKEEPING_PREFIX))
    described = {"pixels", "describe"} <= set(keys)
    chosen = ["pixels"] if described else ["serving_default"] if "serving_default" in keys else keys
    failed: TrialError | None = None
    for key in chosen:
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
    return "not tried: no signature takes an image"


def _image_inputs(signature: SignatureDef) -> dict[str, NDArray[np.generic]] | None:
    """Inputs that hold one grey image; None where the signature does not take one."""
    inputs = {name: _image(name, info) for name, info in signature.inputs.items()}
    if not inputs or any(array is None for array in inputs.values()):
        return None
    return {name: array for name, array in inputs.items() if array is not None}


def _image(name: str, info: TensorInfo) -> NDArray[np.generic] | None:
    sizes = None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
    if info.dtype == tf.string.as_datatype_enum:
        if sizes is not None and (len(sizes) > 2 or any(size not in (-1, 1) for size in sizes)):
            return None
        value = b"0" if name.lower() in ("key", "keys") else _file()
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
    """The number of scores in an answer: the most that an output of fractions has; 0 where there is none."""
    found = 0
    for name, info in signature.outputs.items():
        if tf.as_dtype(info.dtype) in SCORE_TYPES and name in outputs:
            values = np.asarray(outputs[name], np.float32)
            if not np.isfinite(values).all():
                raise TrialError(f"gives values that are not numbers in its output {name!r}")
            if name != "heatmap" and values.ndim:
                found = max(found, values.shape[-1])
    return found


def _labels(call: Call) -> int:
    [card] = np.asarray(call("describe", {"request": np.zeros(1, np.int32)})["card"]).ravel().tolist()
    try:
        fields = json.loads(card)
        return len(fields["labels"]) + len(fields.get("other_labels") or ())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrialError("has a model card that cannot be read; see docs/model-contract.md") from error


def _check_labels(labels: int, scores: int) -> None:
    if labels != scores:
        raise TrialError(f"gives {scores} scores for the {labels} labels of its model card")


def reason(text: str) -> str:
    """The line of an error of TensorFlow that says what is wrong."""
    lines = (line.strip() for line in text.splitlines())
    said = (line for line in lines if line and not line.startswith(("Graph execution error", "Detected at node")))
    return next(said, "no reason was given")[:MAX_REASON_CHARACTERS]
