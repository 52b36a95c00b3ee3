"""Cache of photos at the size of the model, so that fine-tuning decodes each photo once instead of every epoch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.console import progress
from trainer.data.photos import Photo, content_key
from trainer.data.record_store import RecordStore
from trainer.data.views import CORNER_ZOOM, decode_ahead, view_key
from trainer.model_card import InputSpec


def cache_pixels(
    photos: Sequence[Photo], views: Sequence[str], store: RecordStore[np.uint8], spec: InputSpec, workers: int
) -> None:
    """Decodes the views that are not in the store yet: uint8 (height, width, 3) by `views.view_key`."""
    todo = [
        (photo, missing)
        for photo in photos
        if (missing := [view for view in views if view_key(photo, view) not in store])
    ]
    if todo:
        with progress("Decoding photos", len(todo)) as advance:
            for photo, names, pixels in decode_ahead(todo, spec, workers):
                store.add([view_key(photo, view) for view in names], np.stack(pixels))
                advance()


def pixel_store(spec: InputSpec, cache: Path) -> RecordStore[np.uint8]:
    """Opens the store for an input size and fit."""
    name = content_key(f"{spec} {CORNER_ZOOM}".encode()).hex()
    return RecordStore(cache / f"pixels-{name}", np.uint8, (spec.height, spec.width, 3))
