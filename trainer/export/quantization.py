"""An 8-bit network for OpenVINO: quantised after training, measured on validation photos, refused beyond limits.

NNCF quantises convolutions and products of the network that `openvino_network` wrote. The range of each activation
comes from calibration photos. If that loses too much, NNCF puts up to a quarter of the operations back to float32,
those that lose most first, until the limits are kept: its accuracy-aware mode. The SavedModel stays in float32.
"""

import contextlib
import dataclasses
import io
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.data_set import DataSet
from trainer.data.photos import Photo, evenly
from trainer.data.views import decode_ahead
from trainer.errors import TrainerError
from trainer.export.openvino_network import NETWORK, runner
from trainer.export.precision import Limits
from trainer.model_card import JSON, InputSpec

if TYPE_CHECKING:
    from trainer.export.openvino_runtime import ov

CALIBRATION_PHOTOS: Final = 300
"""What NNCF takes by default; more change little."""

VALIDATION_PHOTOS: Final = 2000
"""At most so many are measured on: all are in memory, 150 KB each at 224 pixels."""

RANKING_PHOTOS: Final = 100
"""Operations are ranked by what giving back each alone changes on so many photos."""

FLOAT32_SHARE: Final = 0.25
"""Accuracy-aware mode may put back so many of the operations; with more of them in float32, int8 gains little."""

QUANTIZABLE: Final = frozenset({"Convolution", "GroupConvolution", "MatMul"})

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Int8:
    """What an export in int8 needs: photos to quantise with, which training may have seen, and others to measure with.

    Attributes:
        calibration: uint8 (n, height, width, 3).
        validation: uint8 (m, height, width, 3).
        truth: Index of the label of each photo of `validation`, int64 (m).
        limits: What may be lost.
    """

    calibration: Pixels
    validation: Pixels
    truth: NDArray[np.int64]
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, data: DataSet, labels: Sequence[int], spec: InputSpec, limits: Limits, workers: int) -> "Int8":
        """Decodes photos of a data set, evenly chosen: those to train on to calibrate, those to validate on to measure.

        Args:
            data: The data set.
            labels: For each label of the data set the index of the model's.
            spec: What a photo is made into.
            limits: What may be lost.
            workers: Threads that decode.
        """
        calibration = evenly(data.photos["train"], CALIBRATION_PHOTOS)
        validation = evenly(data.photos["valid"], VALIDATION_PHOTOS)
        truth = np.array([labels[photo.label] for photo in validation], np.int64)
        return cls(_decoded(calibration, spec, workers), _decoded(validation, spec, workers), truth, limits)


def _decoded(photos: Sequence[Photo], spec: InputSpec, workers: int) -> Pixels:
    decoded = decode_ahead([(photo, ["plain"]) for photo in photos], spec, workers)
    return np.stack([pixels for _, _, [pixels] in decoded])


@dataclass(frozen=True)
class Quantization:
    """How a network was quantised, and what it lost: `quantization` of the model card.

    Attributes:
        precision: Always `int8`.
        method: What quantised it.
        calibration_photos: Number of photos that the ranges of activations come from.
        validation_photos: Number of photos that the rest was measured on.
        float32_accuracy: Share of them that the network got right before, 0 to 1.
        accuracy: The same, after.
        same_top1: Share of them whose best label is the same before and after.
        quantized_operations: Convolutions and products in 8 bits ...
        operations: ... of so many.
        max_accuracy_loss: The limit, in points of percent.
        min_same_top1: The limit, in percent.
    """

    method: str
    calibration_photos: int
    validation_photos: int
    float32_accuracy: float
    accuracy: float
    same_top1: float
    quantized_operations: int
    operations: int
    max_accuracy_loss: float
    min_same_top1: float
    precision: str = "int8"

    def to_json(self) -> dict[str, JSON]:
        """Returns the `quantization` of a model card."""
        return dataclasses.asdict(self)

    def summary(self) -> str:
        """Returns a line for people."""
        return (
            f"OpenVINO in int8: {self.quantized_operations} of {self.operations} operations; on "
            f"{self.validation_photos} photos accuracy {self.accuracy:.3f} (float32: {self.float32_accuracy:.3f}), "
            f"same top-1 on {self.same_top1:.1%}"
        )


def quantize_network(extra: Path, given: Int8, labels: int) -> Quantization:
    """Replaces the network for OpenVINO by an 8-bit one.

    Args:
        extra: The folder `assets.extra` of the export, which holds `openvino_network.NETWORK` in float32.
        given: The photos, and what may be lost.
        labels: Number of labels; what else the model scores comes after them, and is no answer.

    Raises:
        TrainerError: It loses more than that, or NNCF cannot quantise it.
    """
    from trainer.export.openvino_runtime import ov

    network = ov.Core().read_model(extra / NETWORK)
    before = _probabilities(runner(extra / NETWORK), given.validation)[:, :labels]
    measure = _Measure(before, given.truth, given.limits)
    quantized = _quantize(network, given, measure)
    del network  # its file is replaced
    folder = extra / f"{NETWORK.parent}.int8"
    folder.mkdir()
    ov.save_model(quantized, folder / NETWORK.name, compress_to_fp16=False)
    weights = [_weights_type(one) for one in _operations(quantized)]
    del quantized
    shutil.rmtree((extra / NETWORK).parent)
    folder.rename((extra / NETWORK).parent)
    after, limits = _probabilities(runner(extra / NETWORK), given.validation)[:, :labels], given.limits
    accuracy, same = measure.accuracy(after), measure.same_top1(after)
    if not measure.keeps_limits(after):
        lost = 100 * (measure.accuracy(before) - accuracy)
        raise TrainerError(
            f"the export in int8 is refused: on {len(after)} validation photos it loses {lost:.2f} points of accuracy "
            f"({limits.max_accuracy_loss:g} are allowed) and gives the same best label for {same:.2%} "
            f"({limits.min_same_top1:g} % is wanted). --max-accuracy-loss and --min-same-top1 set these limits; "
            "--precision float32 exports without int8"
        )
    return Quantization(
        method=f"post-training quantization, NNCF {version('nncf')}",
        calibration_photos=len(given.calibration),
        validation_photos=len(given.validation),
        float32_accuracy=round(measure.accuracy(before), 4),
        accuracy=round(accuracy, 4),
        same_top1=round(same, 4),
        quantized_operations=weights.count("i8"),
        operations=len(weights),
        max_accuracy_loss=limits.max_accuracy_loss,
        min_same_top1=limits.min_same_top1,
    )


class _Measure:
    """Holds probabilities to those in float32, of all validation photos or some."""

    def __init__(self, before: Floats, truth: NDArray[np.int64], limits: Limits) -> None:
        self.before = before
        self._truth = truth
        self._limits = limits

    def accuracy(self, found: Floats, rows: Any = slice(None)) -> float:
        return float(np.mean(found.argmax(axis=1) == self._truth[rows]))

    def same_top1(self, found: Floats, rows: Any = slice(None)) -> float:
        return float(np.mean(found.argmax(axis=1) == self.before[rows].argmax(axis=1)))

    def keeps_limits(self, found: Floats, rows: Any = slice(None)) -> bool:
        lost = self.accuracy(self.before[rows], rows) - self.accuracy(found, rows)
        allowed, wanted = self._limits.max_accuracy_loss / 100, self._limits.min_same_top1 / 100
        return lost <= allowed + 1e-9 and self.same_top1(found, rows) >= wanted - 1e-9


def _quantize(network: "ov.Model", given: Int8, measure: _Measure) -> "ov.Model":
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level would silence every handler of the process
    labels = measure.before.shape[1]
    advanced = nncf.AdvancedQuantizationParameters(
        # Half the range for weights. With all of it, sums saturate on processors without VNNI: EfficientNet-Lite0 was
        # off by twice as much there, while with half it answers the same on all.
        overflow_fix=nncf.OverflowFix.ENABLE
    )

    def validate(compiled: "ov.CompiledModel", rows: Iterable[int]) -> tuple[float, list[float]]:
        """Gives what NNCF maximises: 1 where the limits are kept, else less by how far probabilities are off."""
        numbers = list(rows)
        port = next(output for output in compiled.outputs if "probabilities" in output.names)
        found = np.concatenate([compiled(given.validation[[row]])[port] for row in numbers])[:, :labels]
        off = np.abs(found - measure.before[numbers]).max(axis=1)
        # Not 0 at best: NNCF divides by what float32 gets.
        return 1.0 if measure.keeps_limits(found, numbers) else 1.0 - float(off.mean()), (1.0 - off).tolist()

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            return nncf.quantize_with_accuracy_control(
                network,
                nncf.Dataset(range(len(given.calibration)), lambda row: given.calibration[[row]]),
                nncf.Dataset(range(len(given.validation)), lambda row: given.validation[[row]]),
                validate,
                max_drop=0.0,
                subset_size=len(given.calibration),
                # The heat map is computed from what the network saw, by operations that stay as they are.
                ignored_scope=nncf.IgnoredScope(names=_beside_probabilities(network), validate=False),
                advanced_quantization_parameters=advanced,
                advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                    max_num_iterations=max(1, int(FLOAT32_SHARE * len(_operations(network)))),
                    ranking_subset_size=RANKING_PHOTOS,
                    num_ranking_workers=1,
                ),
            )
    except (nncf.ValidationError, nncf.InternalError, nncf.UnsupportedModelError) as error:
        raise TrainerError(f"NNCF cannot quantise this network: {error}") from error


def _beside_probabilities(network: "ov.Model") -> list[str]:
    """Names of the operations that the probabilities do not depend on: those of the heat map."""
    from trainer.export.openvino_runtime import ov

    [output] = [one for one in network.outputs if one.any_name == "probabilities"]
    needed = {one.get_friendly_name() for one in ov.Model([output], network.get_parameters(), "").get_ops()}
    return [name for one in network.get_ops() if (name := one.get_friendly_name()) not in needed]


def _operations(network: "ov.Model") -> list["ov.Node"]:
    """The convolutions and products that the probabilities come from."""
    beside = set(_beside_probabilities(network))
    found = [one for one in network.get_ops() if one.get_type_name() in QUANTIZABLE]
    return [one for one in found if one.get_friendly_name() not in beside]


def _weights_type(operation: "ov.Node") -> str:
    """The type that an operation's weights are stored in; what a processor multiplies follows from it."""
    source = operation.input_value(1).get_node()
    while source.get_type_name() in {"Convert", "Multiply", "Subtract", "Reshape", "Transpose", "FakeQuantize"}:
        source = source.input_value(0).get_node()
    return source.get_element_type().get_type_name() if source.get_type_name() == "Constant" else ""


def _probabilities(run: Callable[[Pixels], dict[str, Floats]], images: Pixels) -> Floats:
    return np.concatenate([run(image[np.newaxis])["probabilities"] for image in images])
