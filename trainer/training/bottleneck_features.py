"""Bottleneck features: the output of the backbone for each view of a photo, cached on disk."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from trainer.console import progress
from trainer.data.photos import Photo, content_key
from trainer.data.record_store import RecordStore
from trainer.data.views import CORNER_ZOOM, Pixels, decode_ahead, view_key
from trainer.export.graph_functions import with_constants
from trainer.export.tf_logging import quiet
from trainer.model_card import InputSpec
from trainer.network.backbones import fingerprint

BATCH_SIZE = 8
"""Photos in one call.

Measured with EfficientNet-Lite2 on a CPU: batches of 8 take 270 MB, and 42 ms of CPU time for a photo; batches of 32
take 570 MB and 49 ms.
"""

Floats = NDArray[np.float32]


class Extractor:
    """Computes the features of photos and caches them.

    The name of the cache file depends on everything but the photo and the view: weights, input size and fit.

    Args:
        model: Pixels float32 (n, height, width, 3) -> features float32 (n, ...): normalisation, backbone, pooling.
        spec: Input size and fit.
        cache: Folder of the cache file.
        workers: Number of threads that decode.
    """

    def __init__(self, model: keras.Model, spec: InputSpec, cache: Path, workers: int) -> None:
        self._model, self._spec, self._workers = model, spec, workers
        name = f"{model.name} {model.compute_dtype} {fingerprint(model)} {spec} {CORNER_ZOOM}"
        shape = model.output_shape[1:]
        self.store = RecordStore[np.float32](cache / f"features-{content_key(name.encode()).hex()}", np.float32, shape)

    @cached_property
    def run(self) -> Callable[[Pixels], Floats]:
        """The model as a function. Created on first use, because it takes seconds and may not be needed."""
        return frozen(self._model, self._spec)

    def extract(self, photos: Sequence[Photo], views: Sequence[str]) -> None:
        """Computes the features that are not in the store yet. An interrupted call can be repeated to continue."""
        todo = [
            (photo, missing)
            for photo in photos
            if (missing := [view for view in views if view_key(photo, view) not in self.store])
        ]
        if not todo:
            return
        keys: list[bytes] = []
        rows: list[Pixels] = []
        with progress("Computing features", sum(len(views) for _, views in todo)) as advance:
            for photo, names, pixels in decode_ahead(todo, self._spec, self._workers):
                keys += [view_key(photo, view) for view in names]
                rows += pixels
                while len(keys) >= BATCH_SIZE:
                    self.store.add(keys[:BATCH_SIZE], self.run(np.stack(rows[:BATCH_SIZE])))
                    del keys[:BATCH_SIZE], rows[:BATCH_SIZE]
                    advance(BATCH_SIZE)
            if keys:
                self.store.add(keys, self.run(np.stack(rows)))
                advance(len(keys))


def frozen(model: keras.Model, spec: InputSpec) -> Callable[[Pixels], Floats]:
    """Returns a model as a function of uint8 pixels with its weights as constants, as in the export.

    It is 1.5 times as fast as the Keras model on a CPU, because batch normalisation is folded into the convolutions.
    """
    run = with_constants(model)
    function = tf.function(lambda images: run(tf.cast(images, tf.float32)), autograph=False, jit_compile=False)
    images = tf.TensorSpec((None, spec.height, spec.width, 3), tf.uint8)
    with quiet():
        constant = function.get_concrete_function(images)
    return lambda batch: np.asarray(constant(tf.constant(batch)), np.float32)
