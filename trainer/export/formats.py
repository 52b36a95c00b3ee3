"""The formats that `breed export` writes, and what a module that writes one has to do."""

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError
from trainer.export.precision import Limits, Precision
from trainer.model_card import Card

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

Runner = Callable[[Pixels], Mapping[str, Floats]]
"""uint8 (n, height, width, 3) -> `probabilities` float32 (n, labels + other labels), `embedding` float32 (n, d)."""

CARD_FILE: Final = "card.json"


@dataclass(frozen=True)
class Reference:
    """What a file must give.

    Attributes:
        photos: uint8 (n, height, width, 3).
        probabilities: float32 (n, labels + other labels), of the published version.
        truth: Index of the label of each photo, int64 (n); None if it is not known.
        calibration: Photos to quantize with, uint8 (m, height, width, 3); None in float32.
        limits: What float16 and int8 may lose.
    """

    photos: Pixels
    probabilities: Floats
    truth: NDArray[np.int64] | None = None
    calibration: Pixels | None = None
    limits: Limits = dataclasses.field(default_factory=Limits)


class Module(Protocol):
    """A module that writes one format."""

    def write(self, model: object, card: Card, path: Path, precision: Precision, reference: Reference) -> str | None:
        """Writes the file, without its card; returns how it was quantized."""

    def runner(self, path: Path) -> Runner:
        """Loads a file into its runtime."""

    def add_card(self, path: Path, text: str) -> None:
        """Puts the card, as JSON, into a file."""

    def read_card(self, path: Path) -> str:
        """Returns the card in a file."""


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        title: Its name.
        module: The module that writes it.
        file: Name of the file.
        precisions: Precisions that it can have.
        packages: Python packages that write and run it, with their requirements.
        extra: The extra of this project that installs them.
    """

    title: str
    module: str
    file: str
    precisions: Sequence[Precision] = ("float32",)
    packages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    extra: str = ""

    def load(self) -> Module:
        """Imports the module."""
        return import_module(self.module)

    def check_precision(self, precision: Precision) -> None:
        """Checks that the format has this precision.

        Raises:
            TrainerError: It does not.
        """
        if precision not in self.precisions:
            raise TrainerError(f"{self.title} is available in {', '.join(self.precisions)}, not in {precision}")

    def check_packages(self) -> None:
        """Checks that the packages of the format are installed.

        Raises:
            TrainerError: One is missing.
        """
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            requirements = " ".join(f"'{self.packages[name]}'" for name in missing)
            raise TrainerError(
                f"{self.title} needs {' and '.join(missing)}: {sys.executable} -m pip install {requirements}"
            )


FORMATS: Final = {
    "onnx": Format(
        "ONNX",
        "trainer.export.onnx_file",
        "model.onnx",
        packages={"tf2onnx": "tf2onnx>=1.17", "onnx": "onnx>=1.20", "onnxruntime": "onnxruntime>=1.24"},
        extra="onnx",
    ),
    "litert": Format(
        "LiteRT",
        "trainer.export.litert_file",
        "model.tflite",
        ("float32", "float16", "int8"),
        {"ai_edge_litert": "ai-edge-litert>=2.1"},
        extra="litert",
    ),
    "openvino": Format(
        "OpenVINO",
        "trainer.export.openvino_file",
        "model.xml",
        ("float32", "int8"),
        {"openvino": "openvino==2026.4.*"},
        extra="openvino",
    ),
    "keras": Format("Keras", "trainer.export.keras_file", "model.keras"),
}
"""By the value of `--format`. The SavedModel, which follows the whole contract, is none of them."""


def one_by_one(call: Callable[[Pixels], Mapping[str, object]]) -> Runner:
    """Returns a runner of any number of images for a function of one, uint8 (1, height, width, 3)."""

    def run(images: Pixels) -> dict[str, Floats]:
        outputs = [call(images[at : at + 1]) for at in range(len(images))]
        return {name: np.concatenate([np.asarray(one[name], np.float32) for one in outputs]) for name in outputs[0]}

    return run
