"""Write warm-up records: requests that a model server replays before it serves a version."""

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
"""Batch sizes for `pixels`, up to the largest request of the gateway.

Loading fails if a record is larger than the max_batch_size of the server, which has always been at least 32. Records
over max_execution_batch_size are split.
"""

FEW = 4
"""Largest batch size for other signatures: max_execution_batch_size in serving/batching.config.

A GPU also runs larger batches, and the first of each size is slow: from 8 for `serving_default` and `explain`, and 64
for `pixels`.
"""

RECORDS = "assets.extra/tf_serving_warmup_requests"
"""Path of the TFRecord file of PredictionLog for TensorFlow Serving."""


def write_warmup(directory: Path, card: Card, signatures: Sequence[str], batch_sizes: Sequence[int]) -> None:
    """Writes a warm-up record for each signature and batch size into a SavedModel; see `FEW`."""
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
    # A single value in a TensorProto fills the whole shape: 32 photos take a few bytes instead of 5 MB.
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
