"""What a served model takes and gives: read from its model card, or from its signatures where it has none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.errors import UnsupportedModel
from gateway.images import FitMode, Interpolation, Target
from gateway.pb.serving_pb2 import DataType, SignatureDef, TensorInfo
from gateway.settings import ModelOptions
from gateway.tensors.wire import dtype_name

DESCRIBE, PIXELS, EXPLAIN, DEFAULT_SIGNATURE = "describe", "pixels", "explain", "serving_default"

UNKNOWN_SIZE = 224
"""Pixels a side where neither signature nor settings say: what most ImageNet backbones take."""


class CardInput(BaseModel):
    """How a model wants its photos."""

    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    fit: FitMode = "crop"
    interpolation: Interpolation = "bilinear"


class Card(BaseModel):
    """The part of a model card that the gateway acts on; the whole of it is passed on as it came."""

    model_config = ConfigDict(extra="allow")

    labels: list[Annotated[str, StringConstraints(min_length=1)]] = Field(min_length=2)
    other_labels: list[str | None] = []
    input: CardInput
    unknown_threshold: float | None = Field(None, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one model, as the gateway speaks to it.

    Attributes:
        model: Name of the model.
        version: Its version.
        signature: Key of the signature that answers with scores.
        input_name: Its input.
        input_kind: ``pixels``, (n, height, width, 3) of `input_dtype`, or ``encoded``, string (n).
        input_dtype: Wire dtype of the input.
        target: Size and way in which a photo is brought there.
        pixel_range: What black and white are in a float input.
        output_name: Its output, float (n, classes), or (n, 1) where `sigmoid`.
        sigmoid: Whether the output is the score of the second of two classes.
        labels: Class names in output order; empty where only the number of classes in an answer will tell.
        unknown_threshold: A best score under this means "unknown"; with `other_labels`, it is the sum of the scores of
            `labels` that is compared.
        explains: Whether there is an `explain` signature that takes what `pixels` takes.
        card: The model card as it came, or None.
        other_labels: What a photo may show instead, by the scores after those of `labels`; None has no name.
    """

    model: str
    version: int
    signature: str
    input_name: str
    input_kind: Literal["pixels", "encoded"]
    input_dtype: int
    target: Target
    pixel_range: tuple[float, float]
    output_name: str
    sigmoid: bool
    labels: tuple[str, ...]
    unknown_threshold: float | None
    explains: bool
    card: Mapping[str, object] | None
    other_labels: tuple[str | None, ...] = ()


def carries_card(signatures: Mapping[str, SignatureDef]) -> bool:
    """Whether a model can describe itself."""
    return DESCRIBE in signatures and PIXELS in signatures


def contract_from_card(model: str, version: int, signatures: Mapping[str, SignatureDef], card_json: bytes) -> Contract:
    """Contract of a model that describes itself.

    Raises:
        UnsupportedModel: The card cannot be read, or its signatures are not those of the model contract.
    """
    try:
        card = Card.model_validate_json(card_json)
        whole: Mapping[str, object] = json.loads(card_json)
    except (ValidationError, ValueError) as error:
        where = ""
        if isinstance(error, ValidationError):
            where = f" (at {'.'.join(str(part) for part in error.errors()[0]['loc']) or 'the top'})"
        raise UnsupportedModel(f"The model card of {model!r} version {version} cannot be read{where}.") from error
    images, probabilities = _info(signatures, "inputs", "images"), _info(signatures, "outputs", "probabilities")
    found = _described(signatures[PIXELS])
    if images is None or probabilities is None or images.dtype != DataType.DT_UINT8:
        raise UnsupportedModel(
            f"The signature {PIXELS!r} of {model!r} version {version} must take images, uint8, and give probabilities; "
            f"found {found}."
        )
    expected = (-1, card.input.height, card.input.width, 3)
    classes = len(card.labels) + len(card.other_labels)
    if not _fits(images, expected) or not _fits(probabilities, (None, classes)):
        raise UnsupportedModel(
            f"The model card of {model!r} version {version} says {card.input.height}x{card.input.width} pixels and "
            f"{classes} labels, its signature {PIXELS!r} {found}."
        )
    return Contract(
        model=model,
        version=version,
        signature=PIXELS,
        input_name="images",
        input_kind="pixels",
        input_dtype=DataType.DT_UINT8,
        target=Target(card.input.height, card.input.width, card.input.fit, card.input.interpolation),
        pixel_range=(0.0, 255.0),
        output_name="probabilities",
        sigmoid=False,
        labels=tuple(card.labels),
        unknown_threshold=card.unknown_threshold,
        explains=_explains(signatures, expected),
        card=whole,
        other_labels=tuple(card.other_labels),
    )


def contract_from_signatures(
    model: str, version: int, signatures: Mapping[str, SignatureDef], options: ModelOptions
) -> Contract:
    """Contract of any other image classifier, from the shapes and dtypes of its signature.

    One string input means encoded images; one input of rank 4 with 3 channels last means pixels, uint8 or float. One
    float output (n, classes), or (n, 1) for a sigmoid, means scores.

    Raises:
        UnsupportedModel: Nothing of this fits; the message says what was found.
    """
    key = DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in signatures else next(iter(sorted(signatures)), None)
    if key is None:
        raise UnsupportedModel(f"The model {model!r} version {version} has no signature.")
    signature = signatures[key]

    def unsupported(wanted: str) -> UnsupportedModel:
        return UnsupportedModel(
            f"The model {model!r} version {version} is no image classifier that can be served here: its signature "
            f"{key!r} has {_described(signature)}; wanted is {wanted}."
        )

    if len(signature.inputs) != 1:
        raise unsupported("one input")
    [(input_name, taken)] = signature.inputs.items()
    if taken.dtype == DataType.DT_STRING and (_rank(taken) is None or _fits(taken, (-1,))):
        kind: Literal["pixels", "encoded"] = "encoded"
    elif taken.dtype in (DataType.DT_UINT8, DataType.DT_FLOAT) and _fits(taken, (-1, None, None, 3)):
        kind = "pixels"
    else:
        raise unsupported("a string input (n), or a uint8 or float input (n, height, width, 3)")
    scores = [
        (name, given)
        for name, given in signature.outputs.items()
        if given.dtype == DataType.DT_FLOAT and _rank(given) in (None, 2)
    ]
    if len(scores) != 1:
        raise unsupported("one float output (n, classes)")
    [(output_name, given)] = scores
    classes = given.tensor_shape.dim[1].size if _rank(given) == 2 else -1
    labels = read_labels(options.labels) if options.labels else ()
    sigmoid = classes == 1
    expected = 2 if sigmoid else classes
    if labels and expected > 0 and len(labels) != expected:
        raise UnsupportedModel(
            f"The model {model!r} version {version} has {expected} classes, its labels file {len(labels)} lines."
        )
    if not labels and expected > 0:
        labels = tuple(str(index) for index in range(expected))
    return Contract(
        model=model,
        version=version,
        signature=key,
        input_name=input_name,
        input_kind=kind,
        input_dtype=taken.dtype,
        target=_target(taken, options),
        pixel_range=options.pixel_range,
        output_name=output_name,
        sigmoid=sigmoid,
        labels=labels,
        unknown_threshold=options.unknown_threshold,
        explains=False,
        card=None,
    )


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names of a labels file: a JSON list, or one a line with blank lines left out.

    Raises:
        UnsupportedModel: The file cannot be read or holds no names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = json.loads(text) if text.lstrip().startswith("[") else [line.strip() for line in text.splitlines()]
    except (OSError, ValueError) as error:
        raise UnsupportedModel(f"The labels file {path.name!r} cannot be read.") from error
    labels = tuple(name for name in names if name)
    if not labels or not all(isinstance(name, str) for name in labels):
        raise UnsupportedModel(f"The labels file {path.name!r} must hold class names, one a line or as a JSON list.")
    return labels


def _explains(signatures: Mapping[str, SignatureDef], images_shape: tuple[int | None, ...]) -> bool:
    """Whether heat maps can be asked for; images of another rank would end a real server."""
    if EXPLAIN not in signatures:
        return False
    taken, given = signatures[EXPLAIN].inputs, signatures[EXPLAIN].outputs
    if set(taken) != {"images"} or not {"probabilities", "heatmap"} <= set(given):
        return False
    return taken["images"].dtype == DataType.DT_UINT8 and _fits(taken["images"], images_shape)


def _target(taken: TensorInfo, options: ModelOptions) -> Target:
    height = width = -1
    if _rank(taken) == 4:
        height, width = taken.tensor_shape.dim[1].size, taken.tensor_shape.dim[2].size
    return Target(
        height if height > 0 else options.height or UNKNOWN_SIZE,
        width if width > 0 else options.width or UNKNOWN_SIZE,
        options.fit,
        options.interpolation,
    )


def _info(signatures: Mapping[str, SignatureDef], side: Literal["inputs", "outputs"], name: str) -> TensorInfo | None:
    tensors = signatures[PIXELS].inputs if side == "inputs" else signatures[PIXELS].outputs
    return tensors.get(name)


def _rank(info: TensorInfo) -> int | None:
    return None if info.tensor_shape.unknown_rank else len(info.tensor_shape.dim)


def _fits(info: TensorInfo, shape: tuple[int | None, ...]) -> bool:
    """Whether a signature's shape admits this one: None stands for any size, -1 for one that must be left open."""
    if _rank(info) is None:
        return False
    sizes = [dim.size for dim in info.tensor_shape.dim]
    return len(sizes) == len(shape) and all(
        size in (-1, wanted) or (wanted is None and size > 0) for size, wanted in zip(sizes, shape, strict=True)
    )


def _described(signature: SignatureDef) -> str:
    def one(tensors: Mapping[str, TensorInfo]) -> str:
        return ", ".join(f"{name} {dtype_name(info.dtype)} {_shape(info)}" for name, info in sorted(tensors.items()))

    return f"inputs [{one(signature.inputs)}] and outputs [{one(signature.outputs)}]"


def _shape(info: TensorInfo) -> str:
    if _rank(info) is None:
        return "(?)"
    return "(" + ", ".join("n" if dim.size < 0 else str(dim.size) for dim in info.tensor_shape.dim) + ")"
