"""Speed of feature extraction compared with the backbone alone, to see whether the backbone waits for photos.

python -m bench.features PHOTOS [--weights FILE] [--backbone NAME] [--views N]
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from trainer.config import make
from trainer.console import say
from trainer.data.data_set import open_folder
from trainer.data.splits import SPLITS
from trainer.data.views import VIEWS, view
from trainer.model_card import InputSpec
from trainer.network import assemble as network
from trainer.training.bottleneck_features import BATCH_SIZE, Extractor


def main() -> None:
    """Runs both in turns, so that other load affects both, and prints photos per second."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--count", type=int, default=64, help="photos in a round")
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    config = make({"data": "x", "name": "x", "backbone": args.backbone, "weights": args.weights})
    features = network.build(config, 2).features
    spec = InputSpec(*features.input_shape[1:3])
    workers = os.cpu_count() or 1
    views = VIEWS[: args.views]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        data = open_folder(args.photos, cache, valid_share=0.1, test_share=0.0, seed=0, workers=workers)
        photos = [photo for split in SPLITS for photo in data.photos[split]]
        with (extractor := Extractor(features, spec, cache, workers)).store:
            batch = np.stack([view(photo.path.read_bytes(), spec, "plain") for photo in photos[:BATCH_SIZE]])
            extractor.run(batch)
            seconds = {"bare backbone": 0.0, "feature extraction": 0.0}
            for number in range(args.rounds):
                some = photos[number * args.count :][: args.count]
                started = time.perf_counter()
                for _ in range(len(some) * len(views) // BATCH_SIZE):
                    extractor.run(batch)
                between = time.perf_counter()
                extractor.extract(some, views)
                seconds["bare backbone"] += between - started
                seconds["feature extraction"] += time.perf_counter() - between
    images = args.rounds * args.count * len(views)
    for what, took in seconds.items():
        say(f"{what}: {images / took:.1f} images/s")
    say(f"ratio: {seconds['bare backbone'] / seconds['feature extraction']:.3f}")


if __name__ == "__main__":
    main()
