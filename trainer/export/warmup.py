"""Warm-up records: the requests a model server replays before it offers a version, so that no caller waits for it."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog

from trainer.model_card import Card

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"""What `pixels` is warmed up with: up to the most that the gateway sends in one request.

A record larger than a server's max_batch_size would fail the load, and 32 is what servers have had from the start; one
larger than its max_execution_batch_size is split.
"""

FEW = 4
"""The largest batch that other signatures are warmed up with: max_execution_batch_size of serving/batching.config.

On a GPU, where larger ones are joined too, the first of each size is slow: of `serving_default` and `explain` those
from 8 up, of `pixels` that of 64.
"""

RECORDS = "assets.extra/tf_serving_warmup_requests"
"""Where TensorFlow Serving looks for a TFRecord file of PredictionLog."""


def write_warmup(directory: Path, card: Card, signatures: Sequence[str], batch_sizes: Sequence[int]) -> None:
    """Writes one warm-up record per signature and batch size into a SavedModel's directory; see `FEW`."""
    path = directory / RECORDS
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in _logs(card, signatures, batch_sizes):
            writer.write(log.SerializeToString())


def _logs(card: Card, signatures: Sequence[str], batch_sizes: Sequence[int]) -> Iterator[PredictionLog]:
    for signature in signatures:
        for size in batch_sizes if signature == "pixels" else [one for one in batch_sizes if one <= FEW]:
            name, tensor = _input(card, signature, size)
            request = PredictRequest(
                model_spec=ModelSpec(name=card.name, signature_name=signature), inputs={name: tensor}
            )
            yield PredictionLog(predict_log=PredictLog(request=request))


def _input(card: Card, signature: str, size: int) -> tuple[str, TensorProto]:
    # A TensorProto with one value fills its whole shape with it: 32 photos take a few bytes instead of 5 MB.
    height, width = card.input.height, card.input.width
    if signature == "describe":
        return "request", TensorProto(dtype=tf.int32.as_datatype_enum, tensor_shape=_shape(size), int_val=[0])
    if signature == "serving_default":
        photo = BytesIO()
        Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(photo, "JPEG")
        dtype = tf.string.as_datatype_enum
        return "image_bytes", TensorProto(dtype=dtype, tensor_shape=_shape(size), string_val=[photo.getvalue()])
    shape = _shape(size, height, width, 3)
    return "images", TensorProto(dtype=tf.uint8.as_datatype_enum, tensor_shape=shape, int_val=[128])


def _shape(*sizes: int) -> TensorShapeProto:
    return tf.TensorShape(sizes).as_proto()
