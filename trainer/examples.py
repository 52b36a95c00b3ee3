"""The three most common uses of each command, shown by its help."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "train": (
        ("photos --name dog_breed", "train on DATA/CLASS/*.jpg, and publish the model"),
        ("photos --name dog_breed --unknown other_things", "also measure how well other things are recognised"),
        ("--config runs/dog_breed/3f9a2c1b07/config.toml --views 8", "repeat a run with one change"),
    ),
    "check": (
        ("photos", "find problems, and write a page that shows them"),
        ("photos --output checked", "write check.html and check.json to another folder"),
        ("photos --limit 50", "look at only 50 photos of each class"),
    ),
    "imagenet-dogs": (
        ("", "publish a model of 118 breeds as dog_breed"),
        ("--name breeds", "publish it under another name"),
        ("--backbone mobilenet_v2 --weights mobilenet_v2.weights.h5", "use a network that needs half the CPU time"),
    ),
    "evaluate": (
        ("models/dog_breed photos/test", "evaluate the newest version on DATA/CLASS/*.jpg"),
        ("models/dog_breed photos/test --unknown other_things", "also measure how many photos are unknown"),
        ("models/dog_breed/3 photos --map names.toml", "evaluate version 3 on folders with other names"),
    ),
    "compare": (
        ("dog_breed/4 dog_breed/5 photos/test", "compare two versions, and write a page"),
        ("dog_breed/4 dog_breed/5 photos/test --output compared", "write the page to another folder"),
        ("dog_breed/4 dog_breed/5 photos --unknown other_things", "also compare how many photos are unknown"),
    ),
    "benchmark": (
        ("models/dog_breed", "measure the newest version"),
        ("models/dog_breed/3 --batch-sizes 1,8", "measure version 3 with one and eight images in a call"),
        ("models/dog_breed --json speed.json", "write the results to a file as well"),
    ),
    "predict": (
        ("models/dog_breed new_photos --output answers.csv", "classify a folder of photos"),
        ("models/dog_breed new_photos --output answers.jsonl", "write JSON instead of CSV"),
        ("dog_breed new_photos --url http://127.0.0.1:8000 --output answers.csv", "use a running gateway"),
    ),
    "runs": (
        ("", "list all runs"),
        ("dog_breed", "list the runs of one model"),
        ("dog_breed 3f9a 81cc", "compare two runs"),
    ),
    "collect": (
        ("/var/lib/breed/log corrected", "write photos with feedback to corrected/CLASS/"),
        ("/var/lib/breed/log corrected --model dog_breed", "only those of one model"),
        ("s3://bucket/log corrected", "from object storage"),
    ),
    "export": (
        ("models/dog_breed photos --precision int8", "quantize the network for OpenVINO"),
        ("models/dog_breed photos --precision float32", "go back to float32"),
        ("models/dog_breed/3 photos --format onnx", "write version 3 as a file for ONNX Runtime"),
    ),
    "publish": (
        ("exported --name dog_breed", "publish a SavedModel as the next version"),
        ("own.keras --name dog_breed --labels labels.txt", "publish a Keras model with a model card"),
        ("models/dog_breed/3 --name dog_breed", "publish an old version again, as the newest one"),
    ),
    "list": (
        ("", "list all models"),
        ("--models-dir /srv/models", "list the models of another folder"),
        ("--config serving/models.config", "read the labels from another file"),
    ),
    "promote": (
        ("dog_breed 3 stable", "point `stable` at version 3"),
        ("dog_breed 4 canary", "point `canary` at version 4"),
        ("dog_breed 4 stable --models-dir /srv/models", "use the models of another folder"),
    ),
    "rollout": (
        ("dog_breed 5 --split traffic/split.json", "raise the share of version 5 to 1, 5, 25 and 100 %"),
        (
            "dog_breed 5 --split traffic/split.json --steps 10,50,100 --seconds 600",
            "use other steps, of at least ten minutes each",
        ),
        (
            "dog_breed 5 --split traffic/split.json --prometheus http://prometheus:9090",
            "read the metrics of all gateways",
        ),
    ),
    "rollback": (
        ("dog_breed stable", "go back to the version that was `stable` before"),
        ("dog_breed canary", "go back to the version that was `canary` before"),
        ("dog_breed stable --models-dir /srv/models", "use the models of another folder"),
    ),
    "prune": (
        ("dog_breed", "delete versions without a label, except the three newest"),
        ("dog_breed --keep 5", "keep the five newest"),
        ("dog_breed --models-dir /srv/models", "use the models of another folder"),
    ),
}
"""Arguments of each use, and what it does."""


def described(prog: str, command: str, text: str) -> str:
    """Returns the description of a command: what it does, and its examples."""
    rows = [(f"{prog} {command} {arguments}".rstrip(), what) for arguments, what in EXAMPLES.get(command, ())]
    width = max((len(example) for example, _ in rows), default=0)
    lines = "\n".join(f"  {example:<{width}}  {what}" for example, what in rows)
    return f"{text[0].upper()}{text[1:]}.\n\n{lines}" if rows else f"{text[0].upper()}{text[1:]}."
