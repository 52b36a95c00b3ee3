"""The drawings that the page offers to try with the sample model."""

import json

from PIL import Image

from scripts.draw_samples import SAMPLES
from trainer.breeds import BREEDS


def test_there_is_a_small_drawing_of_each_breed_that_the_sample_model_knows() -> None:
    listed = json.loads((SAMPLES / "samples.json").read_text("utf-8"))
    assert [one["label"] for one in listed] == [breed.label for breed in BREEDS]
    for one in listed:
        with Image.open(SAMPLES / one["file"]) as drawing:
            assert drawing.size == (320, 320)
        assert (SAMPLES / one["file"]).stat().st_size < 10_000
