"""The contract of a served model: how to build its input and read its output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.errors import UnsupportedModel
from gateway.images import FitMode, Interpolation, Target
from gateway.images.pixel_format import PixelFormat
from gateway.model_options import Activation
from gateway.observability.answer_metrics import Baseline
from gateway.pb.serving_pb2 import DataType, SignatureDef, TensorInfo
from gateway.serving.fixed_inputs import FixedInput
from gateway.serving.signature_shapes import rank
from gateway.tensors.wire import dtype_name

DESCRIBE, PIXELS, EXPLAIN, DEFAULT_SIGNATURE = "describe", "pixels", "explain", "serving_default"
MULTI_LABEL = "multi-label"
"""The task, in a model card, of a model whose images have any number of labels."""

EMBED, EMBEDDING = "embed", "embedding"
"""The signature of embeddings, and its output."""


class CardInput(BaseModel):
    """The input of a model."""

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"


class LabelSets(BaseModel):
    """Which labels belong to the set of an image."""

    least_score: float | None = Field(None, ge=0, le=1)


class Card(BaseModel):
    """The fields of a model card that the gateway uses. Clients get the whole card."""

    model_config = ConfigDict(extra="allow")

    labels: list[Annotated[str, StringConstraints(min_length=1)]] = Field(min_length=2)
    other_labels: list[str | None] = []
    input: CardInput
    task: str = "image-classification"
    thresholds: list[Annotated[float, Field(ge=0, le=1)]] = []
    unknown_threshold: float | None = Field(None, ge=0, le=1)
    baseline: Baseline | None = None
    label_sets: LabelSets = LabelSets()


UINT8_RGB = PixelFormat()


@dataclass(frozen=True, slots=True)
class Contract:
    """The contract of a version of a model.

    Attributes:
        model: Name of the model.
        version: Its version.
        signature: Key of the signature that returns scores.
        input_name: Name of the input of images.
        input_kind: ``pixels`` for numbers in `pixel_format`, or ``encoded`` for strings with image files.
        input_dtype: Wire dtype of the input.
        target: Input size and fit.
        output_name: Name of the output of scores: (n, classes), (n, 1, 1, classes), or (n) for a sigmoid.
        labels: Class names in output order; empty if the number of classes is not known yet.
        unknown_threshold: An image is unknown if its best score is below this or, with `other_labels`, the sum of the
            scores of `labels`.
        explains: Whether there is a signature `explain` with the input of `pixels`.
        embeds: Whether there is a signature `embed` with the input of `pixels`.
        card: The model card, or None.
        other_labels: Names for the scores after those of `labels`, which stand for other things; None has no name.
        sigmoid: Whether there is a single score, for the second of two classes.
        pixel_format: How decoded pixels are converted to a row of the input.
        row_shape: Shape of an image in the input: () or (1,) for encoded images.
        batch_size: Images in a call: -1 for any number, 0 for one without a dimension for it, otherwise the number that
            the signature fixes, to which fewer are padded.
        label_output: Output with the class name (string) or class index (integer) of each score; None if the position
            of a score is its class.
        fixed_inputs: Inputs beside the image, with the same value in every call.
        certain_image: Whether `input_kind` is certain; if not, a tensor request may contain other strings.
        thresholds: Scores from which an image has a label, in the order of `labels`, or one number for all of them, if
            the model is multi-label: scores are independent, and an image has any number of labels. Otherwise None.
        activation: Function that turns the scores into probabilities, if the model does not.
        baseline: What the version answered to its validation photos, if its card says so.
        least_set_score: Labels with at least this score are the label set of an image, which contains the true label
            with a known probability; None if the model has no label sets.
    """

    model: str
    version: int
    signature: str
    input_name: str
    input_kind: Literal["pixels", "encoded"]
    input_dtype: int
    target: Target
    output_name: str
    labels: tuple[str, ...]
    unknown_threshold: float | None
    explains: bool
    card: Mapping[str, object] | None
    embeds: bool = False
    other_labels: tuple[str | None, ...] = ()
    sigmoid: bool = False
    pixel_format: PixelFormat = UINT8_RGB
    row_shape: tuple[int, ...] = ()
    batch_size: int = -1
    label_output: str | None = None
    fixed_inputs: tuple[FixedInput, ...] = ()
    certain_image: bool = True
    thresholds: tuple[float, ...] | float | None = None
    activation: Activation | None = None
    baseline: Baseline | None = None
    least_set_score: float | None = None

    @property
    def multi_label(self) -> bool:
        """Whether an image can have several labels or none."""
        return self.thresholds is not None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the required outputs."""
        return (self.output_name, *([self.label_output] if self.label_output is not None else []))


def carries_card(signatures: Mapping[str, SignatureDef]) -> bool:
    """Whether a model can describe itself."""
    return DESCRIBE in signatures and PIXELS in signatures


def contract_from_card(model: str, version: int, signatures: Mapping[str, SignatureDef], card_json: bytes) -> Contract:
    """Contract of a model with a model card.

    Raises:
        UnsupportedModel: The card cannot be parsed, or the signatures do not follow the model contract.
    """
    try:
        card = Card.model_validate_json(card_json)
        full_card: Mapping[str, object] = json.loads(card_json)
    except (ValidationError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            where = f" (at {'.'.join(str(part) for part in error.errors()[0]['loc']) or 'the top'})"
        raise UnsupportedModel(f"The model card of {model!r} version {version} cannot be read{where}.") from error
    images, probabilities = _info(signatures, "inputs", "images"), _info(signatures, "outputs", "probabilities")
    tensors = described(signatures[PIXELS])
    if images is None or probabilities is None or images.dtype != DataType.DT_UINT8:
        raise UnsupportedModel(
            f"The signature {PIXELS!r} of {model!r} version {version} must take images, uint8, and give probabilities; "
            f"found {tensors}."
        )
    expected = (-1, card.input.height, card.input.width, 3)
    classes = len(card.labels) + len(card.other_labels)
    if not _fits(images, expected) or not _fits(probabilities, (None, classes)):
        raise UnsupportedModel(
            f"The model card of {model!r} version {version} says {card.input.height}x{card.input.width} pixels and "
            f"{classes} labels, its signature {PIXELS!r} {tensors}."
        )
    multi_label = card.task == MULTI_LABEL
    if multi_label and (len(card.thresholds) != len(card.labels) or card.other_labels):
        raise UnsupportedModel(
            f"The model card of {model!r} version {version} has the task {MULTI_LABEL!r}, {len(card.labels)} labels, "
            f"{len(card.thresholds)} thresholds and {len(card.other_labels)} other labels. It needs a threshold for "
            "each label, and no other labels."
        )
    return Contract(
        model=model,
        version=version,
        signature=PIXELS,
        input_name="images",
        input_kind="pixels",
        input_dtype=DataType.DT_UINT8,
        target=Target(card.input.height, card.input.width, card.input.fit, card.input.interpolation),
        row_shape=(card.input.height, card.input.width, 3),
        output_name="probabilities",
        labels=tuple(card.labels),
        unknown_threshold=None if multi_label else card.unknown_threshold,
        thresholds=tuple(card.thresholds) if multi_label else None,
        explains=_takes_images(signatures, EXPLAIN, expected, {"probabilities", "heatmap"}),
        embeds=_takes_images(signatures, EMBED, expected, {EMBEDDING}),
        card=full_card,
        other_labels=tuple(card.other_labels),
        baseline=card.baseline,
        least_set_score=None if multi_label else card.label_sets.least_score,
    )


def _takes_images(
    signatures: Mapping[str, SignatureDef], key: str, images_shape: tuple[int | None, ...], output_names: Set[str]
) -> bool:
    """Whether a signature takes images and has the outputs. Images of another rank would crash TensorFlow Serving."""
    if key not in signatures:
        return False
    inputs, outputs = signatures[key].inputs, signatures[key].outputs
    if set(inputs) != {"images"} or not output_names <= set(outputs):
        return False
    return inputs["images"].dtype == DataType.DT_UINT8 and _fits(inputs["images"], images_shape)


def _info(signatures: Mapping[str, SignatureDef], side: Literal["inputs", "outputs"], name: str) -> TensorInfo | None:
    tensors = signatures[PIXELS].inputs if side == "inputs" else signatures[PIXELS].outputs
    return tensors.get(name)


def _fits(info: TensorInfo, shape: tuple[int | None, ...]) -> bool:
    """Whether the shape of a signature matches: None stands for any size, -1 for one that must be open."""
    if rank(info) is None:
        return False
    sizes = [dim.size for dim in info.tensor_shape.dim]
    return len(sizes) == len(shape) and all(
        size in (-1, expected) or (expected is None and size > 0) for size, expected in zip(sizes, shape, strict=True)
    )


def described(signature: SignatureDef) -> str:
    """Inputs and outputs of a signature, for error messages."""

    def listing(tensors: Mapping[str, TensorInfo]) -> str:
        return ", ".join(f"{name} {dtype_name(info.dtype)} {_shape(info)}" for name, info in sorted(tensors.items()))

    return f"inputs [{listing(signature.inputs)}] and outputs [{listing(signature.outputs)}]"


def _shape(info: TensorInfo) -> str:
    if rank(info) is None:
        return "(?)"
    return "(" + ", ".join("n" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim) + ")"
