"""Quantize the network for OpenVINO to 8 bits after training, and measure the loss on validation photos.

NNCF quantizes the convolutions and matrix products of the network that `openvino_network` wrote. The range of each
activation comes from calibration photos. If the loss exceeds the limits, NNCF sets up to a quarter of the operations
back to float32, those that cost most first (its accuracy-aware mode). The SavedModel stays in float32.
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
"""The default of NNCF; more photos change little."""

VALIDATION_PHOTOS: Final = 2000
"""Maximum number of photos for the measurement. All are in memory, 150 KB each at 224 pixels."""

RANKING_PHOTOS: Final = 100
"""Number of photos on which NNCF ranks operations by their loss."""

FLOAT32_SHARE: Final = 0.25
"""Maximum share of operations that return to float32. With more of them, int8 gains little."""

QUANTIZABLE: Final = frozenset({"Convolution", "GroupConvolution", "MatMul"})

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Int8:
    """Photos to quantize with, which may be training photos, and other photos to measure the loss on.

    Attributes:
        calibration: uint8 (n, height, width, 3).
        validation: uint8 (m, height, width, 3).
        truth: Index of the label of each photo of `validation`, int64 (m).
        limits: Limits on the loss.
    """

    calibration: Pixels
    validation: Pixels
    truth: NDArray[np.int64]
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, data: DataSet, labels: Sequence[int], spec: InputSpec, limits: Limits, workers: int) -> "Int8":
        """Decodes evenly chosen photos of a data set: training photos to quantize, validation photos to measure.

        Args:
            data: The data set.
            labels: Index of each label of the data set among those of the model.
            spec: The input of the model.
            limits: Limits on the loss.
            workers: Number of threads that decode.
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
    """How a network was quantized, and what it lost: `quantization` of the model card.

    Attributes:
        precision: Always `int8`.
        method: Name of the method.
        calibration_photos: Number of photos for the ranges of activations.
        validation_photos: Number of photos for the measurement.
        float32_accuracy: Accuracy on them before the quantization, 0 to 1.
        accuracy: Accuracy on them afterwards.
        same_top1: Share of them that keep their best label.
        quantized_operations: Number of convolutions and matrix products in 8 bits.
        operations: Number of all convolutions and matrix products.
        max_accuracy_loss: The limit, in percentage points.
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


def quantize_network(extra: Path, int8: Int8, labels: int) -> Quantization:
    """Replaces the network for OpenVINO with an 8-bit one.

    Args:
        extra: The folder `assets.extra` of the export, with `openvino_network.NETWORK` in float32.
        int8: The photos and limits.
        labels: Number of labels. Other labels follow them, and are ignored.

    Raises:
        TrainerError: The loss exceeds a limit, or NNCF cannot quantize the network.
    """
    from trainer.export.openvino_runtime import ov

    network = ov.Core().read_model(extra / NETWORK)
    before = _probabilities(runner(extra / NETWORK), int8.validation)[:, :labels]
    measure = _Measure(before, int8.truth, int8.limits)
    quantized = _quantize(network, int8, measure)
    del network  # its file is replaced
    folder = extra / f"{NETWORK.parent}.int8"
    folder.mkdir()
    ov.save_model(quantized, folder / NETWORK.name, compress_to_fp16=False)
    weights = [_weights_type(one) for one in _operations(quantized)]
    del quantized
    shutil.rmtree((extra / NETWORK).parent)
    folder.rename((extra / NETWORK).parent)
    after, limits = _probabilities(runner(extra / NETWORK), int8.validation)[:, :labels], int8.limits
    accuracy, same = measure.accuracy(after), measure.same_top1(after)
    if not measure.keeps_limits(after):
        lost = 100 * (measure.accuracy(before) - accuracy)
        raise TrainerError(
            f"the export in int8 is refused: on {len(after)} validation photos it loses {lost:.2f} points of accuracy "
            f"({limits.max_accuracy_loss:g} are allowed) and gives the same best label for {same:.2%} "
            f"({limits.min_same_top1:g} % is required). --max-accuracy-loss and --min-same-top1 set these limits; "
            "--precision float32 exports without int8"
        )
    return Quantization(
        method=f"post-training quantization, NNCF {version('nncf')}",
        calibration_photos=len(int8.calibration),
        validation_photos=len(int8.validation),
        float32_accuracy=round(measure.accuracy(before), 4),
        accuracy=round(accuracy, 4),
        same_top1=round(same, 4),
        quantized_operations=weights.count("i8"),
        operations=len(weights),
        max_accuracy_loss=limits.max_accuracy_loss,
        min_same_top1=limits.min_same_top1,
    )


class _Measure:
    """Compares probabilities with those in float32, on all validation photos or some of them."""

    def __init__(self, before: Floats, truth: NDArray[np.int64], limits: Limits) -> None:
        self.before = before
        self._truth = truth
        self._limits = limits

    def accuracy(self, probabilities: Floats, rows: Any = slice(None)) -> float:
        return float(np.mean(probabilities.argmax(axis=1) == self._truth[rows]))

    def same_top1(self, probabilities: Floats, rows: Any = slice(None)) -> float:
        return float(np.mean(probabilities.argmax(axis=1) == self.before[rows].argmax(axis=1)))

    def keeps_limits(self, probabilities: Floats, rows: Any = slice(None)) -> bool:
        lost = self.accuracy(self.before[rows], rows) - self.accuracy(probabilities, rows)
        max_loss, min_same_top1 = self._limits.max_accuracy_loss / 100, self._limits.min_same_top1 / 100
        return lost <= max_loss + 1e-9 and self.same_top1(probabilities, rows) >= min_same_top1 - 1e-9


def _quantize(network: "ov.Model", int8: Int8, measure: _Measure) -> "ov.Model":
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)  # nncf.set_log_level would silence every handler of the process
    labels = measure.before.shape[1]
    advanced = nncf.AdvancedQuantizationParameters(
        # Half the range for weights. With all of it, sums saturate on processors without VNNI: EfficientNet-Lite0 was
        # off by twice as much there, while with half it answers the same on all.
        overflow_fix=nncf.OverflowFix.ENABLE
    )

    def validate(compiled: "ov.CompiledModel", rows: Iterable[int]) -> tuple[float, list[float]]:
        """The value that NNCF maximises: 1 within the limits, otherwise 1 minus the mean largest difference."""
        numbers = list(rows)
        port = next(output for output in compiled.outputs if "probabilities" in output.names)
        probabilities = np.concatenate([compiled(int8.validation[[row]])[port] for row in numbers])[:, :labels]
        off = np.abs(probabilities - measure.before[numbers]).max(axis=1)
        # Not 0 at best, because NNCF divides by the value for float32.
        return 1.0 if measure.keeps_limits(probabilities, numbers) else 1.0 - float(off.mean()), (1.0 - off).tolist()

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
            return nncf.quantize_with_accuracy_control(
                network,
                nncf.Dataset(range(len(int8.calibration)), lambda row: int8.calibration[[row]]),
                nncf.Dataset(range(len(int8.validation)), lambda row: int8.validation[[row]]),
                validate,
                max_drop=0.0,
                subset_size=len(int8.calibration),
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
        raise TrainerError(f"NNCF cannot quantize this network: {error}") from error


def _beside_probabilities(network: "ov.Model") -> list[str]:
    """Names of the operations that the probabilities do not depend on: those of the heat map."""
    from trainer.export.openvino_runtime import ov

    [output] = [one for one in network.outputs if one.any_name == "probabilities"]
    needed = {one.get_friendly_name() for one in ov.Model([output], network.get_parameters(), "").get_ops()}
    return [name for one in network.get_ops() if (name := one.get_friendly_name()) not in needed]


def _operations(network: "ov.Model") -> list["ov.Node"]:
    """The convolutions and matrix products on which the probabilities depend."""
    excluded = set(_beside_probabilities(network))
    operations = [one for one in network.get_ops() if one.get_type_name() in QUANTIZABLE]
    return [one for one in operations if one.get_friendly_name() not in excluded]


def _weights_type(operation: "ov.Node") -> str:
    """The type of the stored weights of an operation, which decides how the processor multiplies."""
    source = operation.input_value(1).get_node()
    while source.get_type_name() in {"Convert", "Multiply", "Subtract", "Reshape", "Transpose", "FakeQuantize"}:
        source = source.input_value(0).get_node()
    return source.get_element_type().get_type_name() if source.get_type_name() == "Constant" else ""


def _probabilities(run: Callable[[Pixels], dict[str, Floats]], images: Pixels) -> Floats:
    return np.concatenate([run(image[np.newaxis])["probabilities"] for image in images])
