"""The sample model: its drawings, and what is published from them."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.images import Target, decode_image
from trainer import sample
from trainer.breeds import BREEDS, Breed
from trainer.drawings import draw_dog
from trainer.errors import TrainerError
from trainer.evaluate import evaluate
from trainer.saved import SavedClassifier
from trainer.scenery import draw_other

# Keras 3.15 reads TensorFlow variables in a way that NumPy 2.4 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = sample.Size(drawings=3, others=4, validation=2, epochs=1)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(np.int32)


@pytest.mark.parametrize("breed", BREEDS, ids=lambda breed: breed.label)
def test_the_same_seed_draws_the_same_dog_and_another_seed_another(breed: Breed) -> None:
    first, again, other = (pixels(draw_dog(breed, 64, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 3)
    assert (first == again).all()
    assert np.abs(first - other).mean() > 10


def test_a_dog_is_the_same_at_every_size() -> None:
    large, small = (draw_dog(BREEDS[0], size, np.random.default_rng(3)) for size in (384, 96))
    difference = pixels(large.resize((96, 96), Image.Resampling.BOX)) - pixels(small)
    assert np.abs(difference).mean() < 8


def test_breeds_with_one_seed_differ_from_each_other() -> None:
    drawn = [pixels(draw_dog(breed, 64, np.random.default_rng(5))) for breed in BREEDS]
    for at, one in enumerate(drawn):
        assert all(np.abs(one - other).mean() > 5 for other in drawn[at + 1 :])


def test_labels_are_in_order_and_differ() -> None:
    assert list(sample.LABELS) == sorted(set(sample.LABELS))


def test_other_things_come_in_every_kind() -> None:
    drawn = [pixels(draw_other(48, np.random.default_rng(seed))) for seed in range(40)]
    assert {image.shape for image in drawn} == {(48, 48, 3)}
    assert len({image.tobytes() for image in drawn}) == 40


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sample")
    return sample.build_sample(folder / "models", folder / "samples", size=TINY), folder / "samples"


def test_it_is_published_with_a_card_that_says_what_it_is(published: tuple[Path, Path]) -> None:
    path, _ = published
    assert path.parts[-2:] == ("dog_breed", "1")
    card = SavedClassifier(path).card
    assert card.sample
    assert "drawings" in card.description
    assert "no photo of a real dog" in card.description
    assert tuple(card.labels) == sample.LABELS
    assert card.unknown_threshold is not None
    assert 0 < card.unknown_threshold < 1
    assert float(str(card.parity["pixels"])) < 1e-4
    assert card.metrics["validation"]["photos"] == TINY.validation * len(BREEDS)


def test_a_drawing_of_each_breed_is_written_under_its_name(published: tuple[Path, Path]) -> None:
    _, samples = published
    assert sorted(file.stem for file in samples.iterdir()) == [
        "carpet_terrier",
        "freckled_runner",
        "masked_pudge",
        "pompom_waterdog",
        "ring_tailed_spitz",
        "saddleback_shepherd",
        "sausage_hound",
    ]
    for file in samples.iterdir():
        assert decode_image(file.read_bytes(), Target(96, 96)).std() > 20


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    sample.add_arguments(parser)
    return sample.run(parser.parse_args(arguments))


def test_nothing_is_done_when_a_version_is_there_and_that_is_asked_for(
    published: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = published[0].parents[1]
    assert run("--if-missing", "--models-dir", str(models), "--samples-dir", str(tmp_path / "samples")) == 0
    assert "is there" in capsys.readouterr().out
    assert sorted(entry.name for entry in (models / "dog_breed").iterdir()) == ["1"]
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize("arguments", [["--name", "../up"], ["--seed", "-1"]])
def test_what_cannot_work_is_refused_before_anything_is_drawn(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(TrainerError):
        run("--models-dir", str(tmp_path / "models"), "--samples-dir", str(tmp_path / "samples"), *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_sample_of_half_the_size_knows_fresh_drawings_and_not_other_things(tmp_path: Path) -> None:
    size = sample.Size(drawings=150, others=300, validation=20, epochs=10)
    path = sample.build_sample(tmp_path / "models", tmp_path / "samples", size=size)
    for breed in BREEDS:
        (tmp_path / "fresh" / breed.label).mkdir(parents=True)
        for index in range(15):
            drawing = draw_dog(breed, 150 + 20 * index, np.random.default_rng([9, index]))
            drawing.save(tmp_path / "fresh" / breed.label / f"{index}.jpg", quality=75)
    (tmp_path / "others").mkdir()
    for index in range(40):
        draw_other(150, np.random.default_rng([9, index])).save(tmp_path / "others" / f"{index}.png")
    found = evaluate(path, tmp_path / "fresh", unknown=tmp_path / "others", output=tmp_path / "out")
    assert found.accuracy >= 0.9
    assert found.unknown is not None
    assert found.unknown.auroc >= 0.95
