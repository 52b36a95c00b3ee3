"""Measures how many labels choosing by uncertainty saves: `python -m scripts.label_efficiency POOL TEST [TEST ...]`.

POOL is a folder of photos by class, from which photos are labelled; TEST are folders of other photos of these classes.
Both ways begin with the same photo of each class. Then photos are labelled in rounds, at random or those with the
smallest margin between the two best scores, and a head is fitted on the features of all photos labelled so far. Writes
docs/images/label-efficiency.png and prints the curve. Needs matplotlib.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.config import make
from trainer.console import progress, say
from trainer.data.class_names import match_folders
from trainer.data.data_set import read_folder
from trainer.data.folders import list_classes
from trainer.data.photos import Photo, read_looks
from trainer.data.views import VIEWS, view_key
from trainer.evaluation.calibrate import softmax
from trainer.model_card import InputSpec
from trainer.network import assemble
from trainer.training.bottleneck_features import Extractor
from trainer.training.logistic_head import Training

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "label-efficiency.png"
ROUND = 6
"""Photos that are labelled in a round."""

MAX_LABELS = 240
"""Labels at which a run ends."""

STRENGTH = 0.1
"""Regularisation of the head, the middle one of those that `train` tries."""

LEVELS = (0.94, 0.95, 0.96, 0.97, 0.98)
"""Accuracies at which the numbers of labels are compared."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Choose = Callable[[Floats, np.random.Generator], Integers]
"""Probabilities (n, classes) of the photos without a label -> the order in which to label them."""


def at_random(probabilities: Floats, generator: np.random.Generator) -> Integers:
    """Any order."""
    return generator.permutation(len(probabilities))


def by_margin(probabilities: Floats, _: np.random.Generator) -> Integers:
    """Those first whose two best scores are closest."""
    best = np.sort(probabilities, axis=1)
    return np.argsort(best[:, -1] - best[:, -2], kind="stable")


def accuracies(pool: Training, tested: tuple[Floats, Integers], choose: Choose, seed: int) -> list[float]:
    """Returns the accuracy after each round."""
    generator = np.random.default_rng(seed)
    labelled = np.zeros(len(pool.labels), bool)
    for label in np.unique(pool.labels):
        labelled[generator.choice(np.flatnonzero(pool.labels == label))] = True
    scores = []
    while True:
        head = pool.fit(labelled, STRENGTH)
        scores.append(float((head.logits(tested[0]).argmax(axis=1) == tested[1]).mean()))
        left = np.flatnonzero(~labelled)
        if labelled.sum() >= MAX_LABELS or not len(left):
            return scores
        probabilities = softmax(head.logits(pool.features[left, 0])).astype(np.float32)
        labelled[left[choose(probabilities, generator)[:ROUND]]] = True


def labels_needed(curve: Floats, first: int, level: float) -> float:
    """Returns the number of labels at which a curve reaches an accuracy for good, between rounds by interpolation."""
    under = np.flatnonzero(curve < level)
    if not len(under):
        return float(first)
    last = int(under[-1])
    if last + 1 == len(curve):
        return float("nan")
    return float(first + ROUND * (last + (level - curve[last]) / (curve[last + 1] - curve[last])))


def features_of(photos: list[Photo], extractor: Extractor) -> Floats:
    """Returns the features of the photos, float32 (photos, features)."""
    extractor.extract(photos, VIEWS[:1])
    return extractor.store.rows([view_key(photo, VIEWS[0]) for photo in photos])


def draw(curves: dict[str, Floats], first: int, tests: int) -> None:
    """Draws the mean of the runs of each way, and between which accuracies 8 of 10 runs are."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for (name, runs), colour in zip(curves.items(), ("#9aa5b1", "#0b7285"), strict=True):
        labels = first + ROUND * np.arange(runs.shape[1])
        low, high = np.quantile(runs, (0.1, 0.9), axis=0)
        axes.fill_between(labels, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(labels, runs.mean(axis=0), color=colour, linewidth=2, label=name)
    runs_each = len(next(iter(curves.values())))
    axes.set_title(f"Accuracy on {tests} other photos, mean of {runs_each} runs", loc="left", fontweight="bold")
    axes.set_xlabel("labels")
    axes.set_ylabel("accuracy")
    axes.grid(color="#e3e7ed")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(PICTURE, dpi=110)
    plt.close(figure)


def main() -> None:
    """Measures, draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("pool", type=Path)
    parser.add_argument("tests", type=Path, nargs="+")
    parser.add_argument("--cache-dir", type=Path, default=Path("runs/cache"))
    parser.add_argument("--runs", type=int, default=10, help="random beginnings (default: %(default)s)")
    args = parser.parse_args()
    workers = os.cpu_count() or 1
    contents = read_folder(args.pool, args.cache_dir, workers=workers)
    pool = [photo for _, photo in contents.photos]
    tests: list[Photo] = []
    for folder in args.tests:
        classes = list_classes(folder)
        matched = match_folders(classes, contents.labels, {})
        files = [(matched[name], path) for name, paths in classes.items() for path in paths]
        for (label, path), look in zip(
            files, read_looks([path for _, path in files], args.cache_dir, workers), strict=True
        ):
            if not isinstance(look, str):
                tests.append(Photo(path, contents.labels[label], (label,), *look))
    network = assemble.build(make({"data": "x", "name": "x"}), len(contents.labels))
    spec = InputSpec(*network.model.input_shape[1:3])
    with (extractor := Extractor(network.features, spec, args.cache_dir, workers)).store:
        features, tested = features_of(pool, extractor), features_of(tests, extractor)
    labels = np.array([photo.label for photo in pool], np.int64)
    truth = np.array([photo.label for photo in tests], np.int64)
    training = Training(
        features[:, np.newaxis], labels, [photo.key for photo in pool], np.ones(len(contents.labels), np.float32)
    )
    curves: dict[str, Floats] = {}
    with progress("Labelling", 2 * args.runs) as advance:
        for name, choose in (("at random", at_random), ("by uncertainty (margin)", by_margin)):
            runs = []
            for seed in range(args.runs):
                runs.append(accuracies(training, (tested, truth), choose, seed))
                advance()
            curves[name] = np.array(runs, np.float32)
    first = len(contents.labels)
    draw(curves, first, len(tests))
    say(f"{len(pool)} photos to label, {len(tests)} other photos, {args.runs} runs")
    say("| accuracy | labels at random | labels by uncertainty | saved |\n|---|---|---|---|")
    for level in LEVELS:
        random, active = (labels_needed(runs.mean(axis=0), first, level) for runs in curves.values())
        saved = f"{1 - active / random:.0%}" if random == random else ""
        say(f"| {level:.2f} | {random:.0f} | {active:.0f} | {saved} |")
    say(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
