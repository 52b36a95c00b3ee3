"""What goes over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

# The first model's answer to a photo of a boxer, as it came.
_PREDICTIONS = [
    {"label": "Boxer", "score": 0.949887},
    {"label": "Saint Bernard", "score": 0.019092},
    {"label": "American Staffordshire Terrier", "score": 0.007748},
    {"label": "Greater Swiss Mountain Dog", "score": 0.005277},
    {"label": "English Foxhound", "score": 0.003303},
]
_VERSION = 1


Filename = Annotated[str | None, Field(description="Name of the file as it was sent.", examples=["boxer.jpg"])]


# What is sent with every prediction is typed dictionaries: to make models of it, and to check what was made here, costs
# more than to write it as JSON.


class Prediction(TypedDict):
    """One label and its score."""

    label: Annotated[str, Field(description="Class name.", examples=["Boxer"])]
    score: Annotated[float, Field(description="Score of this class, 0 to 1.", examples=[0.949887])]


class ModelVersion(TypedDict):
    """Which model answered."""

    name: Annotated[str, Field(description="Name of the model.", examples=["dog_breed"])]
    version: Annotated[int, Field(description="Version of it that answered.", examples=[_VERSION])]


BestLabel = Annotated[
    str | None,
    Field(
        description="Best label; null where the scores are under the model's threshold for unknown.",
        examples=["Boxer"],
    ),
]
LooksLike = Annotated[
    str | None,
    Field(
        description=(
            "What the image shows instead, where the best label is null and the model has a name for it; else null."
        ),
        examples=[None],
    ),
]
BestScore = Annotated[float, Field(description="Score of the best label.", examples=[0.949887])]
Predictions = Annotated[list[Prediction], Field(description="The best labels, best first.", examples=[_PREDICTIONS])]


class BreedResult(TypedDict):
    """The breed in one photo."""

    breed: BestLabel
    looks_like: LooksLike
    confidence: BestScore
    predictions: Predictions


class LabelResult(TypedDict):
    """The label of one image."""

    label: BestLabel
    looks_like: LooksLike
    confidence: BestScore
    predictions: Predictions


class BreedAnswer(BreedResult):
    """The breed in one photo, and who says so."""

    model: ModelVersion


class LabelAnswer(LabelResult):
    """The label of one image, and who says so."""

    model: ModelVersion


class Box(TypedDict):
    """Edges in fractions of the upright photo: 0 is its left or top, 1 its right or bottom."""

    left: Annotated[float, Field(examples=[0.125])]
    top: Annotated[float, Field(examples=[0.0])]
    right: Annotated[float, Field(examples=[0.875])]
    bottom: Annotated[float, Field(examples=[1.0])]


class HeatMap(TypedDict):
    """What in the photo speaks for the best label."""

    values: Annotated[
        list[list[float]],
        Field(
            description="Rows from top to bottom, 0 to 1: how much that place speaks for the label.",
            examples=[[[0.0, 0.12, 0.05], [0.1, 1.0, 0.46], [0.02, 0.61, 0.3]]],
        ),
    ]
    box: Annotated[
        Box,
        Field(
            description=(
                "The part of the photo that the map covers. It lies inside for a model that crops; where a model "
                "pads, it is larger than the photo."
            )
        ),
    ]


class ExplainedBreed(BreedAnswer):
    """The breed in one photo, and where it shows."""

    heatmap: HeatMap


class ExplainedLabel(LabelAnswer):
    """The label of one image, and where it shows."""

    heatmap: HeatMap


class Problem(BaseModel):
    """What went wrong: problem details as of RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Always about:blank: `code` says what it is.")
    title: str = Field(description="Kind of error, for people.", examples=["Invalid image"])
    status: int = Field(description="The HTTP status again.", examples=[422])
    detail: str = Field(
        description="What was wrong and what is accepted.",
        examples=["The JPEG image is truncated or corrupt and cannot be decoded."],
    )
    code: str = Field(description="Kind of error, for programs; does not change.", examples=["invalid_image"])
    retryable: bool = Field(description="Whether the same request may succeed later.", examples=[False])
    request_id: str | None = Field(None, description="Id of the request, also in the X-Request-ID header and the logs.")


class FailedItem(TypedDict):
    """An image of a batch that could not be answered; the others were."""

    filename: Filename
    error: Problem


class BreedItem(BreedResult):
    """An answered photo of a batch."""

    filename: Filename


class LabelItem(LabelResult):
    """An answered image of a batch."""

    filename: Filename


class BreedBatch(TypedDict):
    """Answers in the order of the files."""

    results: list[BreedItem | FailedItem]
    model: ModelVersion


class LabelBatch(TypedDict):
    """Answers in the order of the files."""

    results: list[LabelItem | FailedItem]
    model: ModelVersion


class VersionState(BaseModel):
    """One version of a model on the model server."""

    version: int = Field(description="Version number.", examples=[_VERSION])
    state: Literal["unknown", "start", "loading", "available", "unloading", "end"] = Field(
        description="Where it is in its life; `available` ones answer.", examples=["available"]
    )


class InputSize(BaseModel):
    """What a photo is brought to before the model sees it."""

    height: int = Field(description="Pixels.", examples=[260])
    width: int = Field(description="Pixels.", examples=[260])
    fit: str = Field(description="crop, pad or squash.", examples=["crop"])


class ModelSummary(BaseModel):
    """A model in the list."""

    name: str = Field(description="Name of the model.", examples=["dog_breed"])
    available: bool = Field(description="Whether it can answer photos now.", examples=[True])
    reason: str | None = Field(description="Why it cannot; null where it can.", examples=[None])
    versions: list[VersionState] = Field(description="All known versions, newest first.")
    default: bool = Field(description="Whether it is the model behind /api/v1/predict_breed.", examples=[True])


class ModelDetail(ModelSummary):
    """All that is known of a model."""

    version: int = Field(description="The version that this describes.", examples=[_VERSION])
    input: InputSize
    labels: list[str] = Field(
        description="Class names in the model's order.", examples=[["Chihuahua", "Japanese Chin"]]
    )
    unknown_threshold: float | None = Field(
        description="A best score under this is answered as unknown.", examples=[0.935]
    )
    multi_label: bool = Field(description="Whether the scores are independent of each other.", examples=[False])
    explains: bool = Field(description="Whether it can say where in the photo it looked.", examples=[True])
    card: dict[str, object] | None = Field(
        description="The model card as it travels in the model; null without one.",
        examples=[{"schema": 1, "name": "dog_breed", "labels": ["Chihuahua", "Japanese Chin"]}],
    )


class ModelList(BaseModel):
    """The configured models."""

    models: list[ModelSummary]


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Every configured model has an available version."""

    status: Literal["ready"] = "ready"
    models: dict[str, list[int]] = Field(
        description="Available versions by model.", examples=[{"dog_breed": [_VERSION]}]
    )
