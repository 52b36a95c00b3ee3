"""The settings of a training run."""

# ruff: noqa: RUF009 - _option is dataclasses.field with a shorter metadata

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import tomli_w

from gateway.images import FitMode, Interpolation
from trainer.data.class_names import Numbers
from trainer.data.duplicates import Duplicates
from trainer.errors import TrainerError
from trainer.export.precision import HELP, INT8_HELP, LOSS_HELP, TOP1_HELP, Limits, ServedPrecision
from trainer.network.backbone_names import without_folder

DEFAULT_BACKBONE: Final = "efficientnet_lite2"
"""The most accurate backbone whose weights come with a package; docs/training.md compares them."""

Value = str | int | float | bool | tuple[str, ...]
Default = TypeVar("Default", bound=Value)


def _option(default: Default, group: str, text: str) -> Default:
    return dataclasses.field(default=default, metadata={"group": group, "help": text})


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a run. Each is an option of `train` and a key of the TOML file."""

    data: str = ""
    add: tuple[str, ...] = ()
    name: str = ""

    description: str = _option("", "data", "description of the model for its card")
    noun: str = _option(
        "",
        "data",
        "what a label is, in the singular and in lower case, such as dog breed; the page uses it in its question",
    )
    valid_share: float = _option(0.15, "data", "share of photos for validation, if DATA has no valid folder")
    test_share: float = _option(0.0, "data", "share of photos for testing, if DATA has no train folder")
    limit: int = _option(0, "data", "maximum number of photos of each class folder, for experiments; 0: no limit")
    multi_label: bool = _option(
        False,
        "data",
        "photos can have several labels or none: rows such as file,label,label in a CSV file, or the same photo in "
        "several class folders",
    )
    class_numbers: Numbers = _option(
        "auto", "data", "numbers in front of the names of class folders; auto: remove them if they count the folders"
    )
    duplicates: Duplicates = _option(
        "near",
        "data",
        "photos to leave out of validation and test because training has them; near: also those that look the same",
    )
    seed: int = _option(0, "data", "seed of the split, the order of photos and the initial weights")

    backbone: str = _option(
        DEFAULT_BACKBONE,
        "network",
        "efficientnet_lite0 to _lite2, a network of keras.applications: vgg16, ..., kerashub:PRESET, or a .keras file",
    )
    weights: str = _option(
        "imagenet",
        "network",
        "imagenet (downloaded, except for EfficientNet-Lite; those of a KerasHub preset or in a .keras file), a file, "
        "or none: random weights, for experiments",
    )
    size: int = _option(0, "network", "height and width of the input in pixels; 0: the size of the pretraining")
    alpha: float = _option(1.0, "network", "width multiplier of a MobileNet")
    fit: FitMode = _option("crop", "network", "how to fit a photo to that size")
    interpolation: Interpolation = _option("bilinear", "network", "resampling filter")
    pooling: Literal["avg", "flatten"] = _option("avg", "network", "how to reduce the last feature map for the head")
    hidden: int = _option(0, "network", "units of an additional dense layer before the last one; 0: none")
    dropout: float = _option(0.2, "network", "dropout rate before the last layer of a dense head")
    output: Literal["softmax", "sigmoid"] = _option(
        "softmax", "network", "softmax: one score for each class; sigmoid: one score for two classes"
    )

    head: Literal["auto", "logistic", "dense"] = _option(
        "auto",
        "training of the head",
        "logistic: a regularised logistic regression; dense: layers trained by gradient descent; auto: dense with "
        "--hidden, otherwise logistic",
    )
    folds: int = _option(5, "training of the head", "folds of the cross-validation of a logistic head")
    strength: float = _option(
        0.0,
        "training of the head",
        "inverse regularisation strength of a logistic head; 0: cross-validation chooses it",
    )
    tune: int = _option(
        0, "training of the head", "seconds to search for views and strength of a logistic head; 0: no search"
    )
    set_coverage: float = _option(
        0.95,
        "training of the head",
        "probability with which the label set of a photo contains its true label",
    )
    epochs: int = _option(
        20, "training of the head", "maximum number of epochs of a dense head; 0: no head is trained before fine-tuning"
    )
    views: int = _option(
        2, "training of the head", "number of views of each photo; 1: the photo, 2: also its mirror image, ..."
    )
    patience: int = _option(10, "training of the head", "epochs without improvement until training stops")
    batch_size: int = _option(128, "training of the head", "photos (or views) in a step")
    optimizer: Literal["adamw", "sgd", "rmsprop"] = _option("adamw", "training of the head", "optimizer of both stages")
    learning_rate: float = _option(1e-3, "training of the head", "maximum learning rate")
    schedule: Literal["cosine", "constant"] = _option("cosine", "training of the head", "schedule of the learning rate")
    weight_decay: float = _option(1e-2, "training of the head", "decoupled weight decay, for adamw and sgd")
    label_smoothing: float = _option(
        0.0, "training of the head", "label smoothing: share of the target that is spread over all classes"
    )
    class_weights: Literal["auto", "balanced", "none"] = _option(
        "auto",
        "training of the head",
        "give rare classes more weight; auto: if a class has over 1.5 times the photos of another",
    )

    fine_tune: int = _option(0, "fine-tuning", "number of last layers of the backbone to train after the head")
    fine_tune_epochs: int = _option(20, "fine-tuning", "maximum number of epochs, after those of --epochs")
    fine_tune_learning_rate: float = _option(1e-5, "fine-tuning", "maximum learning rate")
    fine_tune_batch_size: int = _option(32, "fine-tuning", "photos in a step")
    rotation: float = _option(15.0, "fine-tuning", "augmentation: maximum rotation, in degrees")
    shift: float = _option(0.1, "fine-tuning", "augmentation: maximum shift, as a share of the size")
    shear: float = _option(0.0, "fine-tuning", "augmentation: maximum shear, in radians")
    zoom: float = _option(0.15, "fine-tuning", "augmentation: maximum zoom in or out, as a share of the size")
    flip: bool = _option(True, "fine-tuning", "augmentation: mirror half of the photos")

    tta: Literal["none", "flip"] = _option(
        "none",
        "export",
        "test-time augmentation of a logistic head; flip: the mean of the logits of the photo and its mirror image, at "
        "twice the cost of each answer",
    )
    precision: ServedPrecision = _option("float32", "export", f"{HELP}; {INT8_HELP}")
    max_accuracy_loss: float = _option(Limits.max_accuracy_loss, "export", f"int8: {LOSS_HELP}")
    min_same_top1: float = _option(Limits.min_same_top1, "export", f"int8: {TOP1_HELP}")

    @property
    def logistic(self) -> bool:
        """Whether the head is a logistic regression; otherwise it is trained by gradient descent."""
        return bool(self.epochs) and (self.head == "logistic" or (self.head == "auto" and not self.hidden))

    def to_toml(self) -> str:
        """Returns the TOML file with which `train --config` repeats the run."""
        return tomli_w.dumps(dataclasses.asdict(self))

    def without_places(self) -> "Config":
        """Returns the configuration with names instead of paths, for what is published."""
        weights = self.weights if self.weights in {"imagenet", "none"} else Path(self.weights).name
        backbone = without_folder(self.backbone)
        added = tuple(Path(folder).resolve().name for folder in self.add)
        data = Path(self.data).resolve().name
        return dataclasses.replace(self, data=data, add=added, backbone=backbone, weights=weights)


OF_DENSE_HEADS: Final = ("dropout", "patience", "batch_size", "optimizer", "learning_rate", "schedule", "weight_decay")
"""What a logistic head makes no use of. Fine-tuning does, except for the batch size and learning rate."""


def make(values: Mapping[str, Value]) -> Config:
    """Returns the configuration with these values.

    Raises:
        TrainerError: A value is out of range, or two values are incompatible.
    """
    config = Config(**values)  # type: ignore[arg-type]
    limits = {
        "valid_share": (0, 0.9), "test_share": (0, 0.9), "dropout": (0, 0.95), "label_smoothing": (0, 0.9),
        "size": (0, 2048), "alpha": (0.01, 4), "hidden": (0, 65536), "epochs": (0, 100_000), "views": (1, 8),
        "patience": (1, 100_000), "batch_size": (1, 65536), "learning_rate": (1e-9, 10), "weight_decay": (0, 10),
        "fine_tune": (0, 10_000), "fine_tune_epochs": (1, 100_000), "fine_tune_learning_rate": (1e-9, 10),
        "fine_tune_batch_size": (1, 65536), "rotation": (0, 180), "shift": (0, 1), "shear": (0, 1.5), "zoom": (0, 0.9),
        "seed": (0, 2**31 - 1), "limit": (0, 10**9), "folds": (2, 100),
        "set_coverage": (0.5, 0.999), "strength": (0, 1e6), "tune": (0, 10**6),
        "max_accuracy_loss": (0, 100), "min_same_top1": (0, 100),
    }  # fmt: skip
    for key, (low, high) in limits.items():
        if not low <= getattr(config, key) <= high:
            raise TrainerError(
                f"{key.replace('_', '-')} must be from {low:g} to {high:g}, not {getattr(config, key):g}"
            )
    if config.valid_share + config.test_share > 0.9:
        raise TrainerError("valid-share and test-share leave too few photos for training")
    if not config.epochs and not config.fine_tune:
        raise TrainerError("nothing to train: epochs is 0 and fine-tune is 0")
    if config.head == "logistic" and config.hidden:
        raise TrainerError("a logistic head has no hidden layer: leave out --hidden, or use --head dense")
    if config.tta == "flip":
        _check_tta(config)
    if config.multi_label:
        _check_multi_label(config)
    if not config.data:
        raise TrainerError("no data set; use train DATA, or data in the --config file")
    if not config.name:
        raise TrainerError("no model name; use --name, or name in the --config file")
    return config


def _check_tta(config: Config) -> None:
    """Refuses settings with which the mean of two views cannot be calibrated."""
    if not config.logistic or config.fine_tune:
        raise TrainerError(
            "--tta flip needs a logistic head and no fine-tuning: leave out --tta, or --hidden, --head dense and "
            "--fine-tune"
        )
    if config.views < 2 or config.tune:
        raise TrainerError("--tta flip needs the features of mirror images: use it with --views 2 or more, not --tune")


def _check_multi_label(config: Config) -> None:
    """Refuses settings that a multi-label model cannot have yet."""
    unsuitable = {
        "--add": bool(config.add),
        "a sigmoid (--output sigmoid, --recipe cats-dogs)": config.output == "sigmoid",
        "--fine-tune": config.fine_tune > 0,
        "a dense head (--head dense, --hidden, --recipe dog-breeds)": not config.logistic,
        "--class-weights balanced": config.class_weights == "balanced",
        "--precision int8": config.precision == "int8",
    }
    for name, used in unsuitable.items():
        if used:
            raise TrainerError(f"--multi-label does not work with {name} yet; leave one of the two out")


def without_effect(config: Config, options: Mapping[str, Value]) -> list[str]:
    """Returns a warning that names the options without effect; an empty list if all of them have one."""
    useless = [f"--{name.replace('_', '-')}" for name in OF_DENSE_HEADS if name in options]
    if not useless or not config.logistic or config.fine_tune:
        return []
    return [f"{', '.join(useless)} changes nothing in a logistic head; --head dense trains one by gradient descent"]
