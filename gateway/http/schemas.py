"""Schemas of the JSON bodies of answers to images, and of errors."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

# The answer of the first model to a photo of a boxer.
_PREDICTIONS = [
    {"label": "Boxer", "score": 0.949887},
    {"label": "Saint Bernard", "score": 0.019092},
    {"label": "American Staffordshire Terrier", "score": 0.007748},
    {"label": "Greater Swiss Mountain Dog", "score": 0.005277},
    {"label": "English Foxhound", "score": 0.003303},
]
_VERSION = 1


Filename = Annotated[str | None, Field(description="File name that the client sent.", examples=["boxer.jpg"])]


# Answers to predictions are typed dictionaries. Creating and validating models would cost more than writing the JSON.


class Prediction(TypedDict):
    """One label and its score."""

    label: Annotated[str, Field(description="Class name.", examples=["Boxer"])]
    score: Annotated[float, Field(description="Score of the class, from 0 to 1.", examples=[0.949887])]


class ModelVersion(TypedDict):
    """The model that answered."""

    name: Annotated[str, Field(description="Name of the model.", examples=["dog_breed"])]
    version: Annotated[int, Field(description="Version that answered.", examples=[_VERSION])]


BestLabel = Annotated[
    str | None,
    Field(
        description=(
            "Best label, for multi-label models the best one over its threshold; null if the image is unknown to the "
            "model or has none of its labels."
        ),
        examples=["Boxer"],
    ),
]
LooksLike = Annotated[
    str | None,
    Field(
        description=("What an unknown image shows, if the model has a name for it; otherwise null."),
        examples=[None],
    ),
]
BestScore = Annotated[
    float,
    Field(description="Score of that label, or of predictions[0] if there is none.", examples=[0.949887]),
]
Predictions = Annotated[
    list[Prediction], Field(description="The best labels and their scores, best first.", examples=[_PREDICTIONS])
]


LabelSet = Annotated[
    list[str],
    Field(
        description=(
            "Labels that contain the true one with the probability `label_sets.coverage` of the model card, best "
            "first. Several: the model cannot tell them apart in this photo. Empty: the photo is unusual. Absent if "
            "the model has no label sets or the photo is unknown."
        ),
        examples=[["Boxer", "Saint Bernard"]],
    ),
]


Labels = Annotated[
    list[str],
    Field(
        description=(
            "All labels of the image, best first: those whose scores reach their thresholds. Empty: none of them. "
            "Absent if the model is not multi-label."
        ),
        examples=[["dog", "dark background"]],
    ),
]


class BreedResult(TypedDict):
    """The breed in one photo."""

    breed: BestLabel
    looks_like: LooksLike
    confidence: BestScore
    predictions: Predictions
    label_set: NotRequired[LabelSet]
    labels: NotRequired[Labels]


class LabelResult(TypedDict):
    """The label of one image."""

    label: BestLabel
    looks_like: LooksLike
    confidence: BestScore
    predictions: Predictions
    label_set: NotRequired[LabelSet]
    labels: NotRequired[Labels]


class BreedAnswer(BreedResult):
    """The breed in one photo, and the model that answered."""

    model: ModelVersion


class LabelAnswer(LabelResult):
    """The label of one image, and the model that answered."""

    model: ModelVersion


class Box(TypedDict):
    """Edges as fractions of the upright photo: 0 is its left or top edge, 1 its right or bottom edge."""

    left: Annotated[float, Field(examples=[0.125])]
    top: Annotated[float, Field(examples=[0.0])]
    right: Annotated[float, Field(examples=[0.875])]
    bottom: Annotated[float, Field(examples=[1.0])]


class HeatMap(TypedDict):
    """How much each part of the photo contributes to the best label."""

    values: Annotated[
        list[list[float]],
        Field(
            description="Rows from top to bottom. Each value, from 0 to 1, says how much this part contributes.",
            examples=[[[0.0, 0.12, 0.05], [0.1, 1.0, 0.46], [0.02, 0.61, 0.3]]],
        ),
    ]
    box: Annotated[
        Box,
        Field(
            description=(
                "Area that the map covers: part of the photo if the model crops, larger than the photo if it pads."
            )
        ),
    ]


class ExplainedBreed(BreedAnswer):
    """The breed in one photo, with a heat map."""

    heatmap: HeatMap


class ExplainedLabel(LabelAnswer):
    """The label of one image, with a heat map."""

    heatmap: HeatMap


Vector = Annotated[
    list[float],
    Field(
        description="Features of the image, a vector of length 1. Their number depends on the model.",
        examples=[[0.028, 0.0, 0.113, 0.047]],
    ),
]


class EmbeddingAnswer(TypedDict):
    """The embedding of one image, and the model that answered."""

    embedding: Vector
    model: ModelVersion


class Problem(BaseModel):
    """An error: problem details as in RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", description="Always about:blank. Use `code` instead.")
    title: str = Field(description="Kind of error, for people.", examples=["Invalid image"])
    status: int = Field(description="HTTP status.", examples=[422])
    detail: str = Field(
        description="What was wrong and what is accepted.",
        examples=["The JPEG image is truncated or corrupt and cannot be decoded."],
    )
    code: str = Field(description="Kind of error, for programs. Stable.", examples=["invalid_image"])
    retryable: bool = Field(description="Whether the same request may succeed later.", examples=[False])
    request_id: str | None = Field(
        None, description="ID of the request, also in the header X-Request-ID and in the log."
    )


class FailedItem(TypedDict):
    """An image of a batch that failed. The others are not affected."""

    filename: Filename
    error: Problem


class BreedItem(BreedResult):
    """A photo of a batch with its breed."""

    filename: Filename


class LabelItem(LabelResult):
    """An image of a batch with its label."""

    filename: Filename


class BreedBatch(TypedDict):
    """Answers in the order of the files."""

    results: list[BreedItem | FailedItem]
    model: ModelVersion


class LabelBatch(TypedDict):
    """Answers in the order of the files."""

    results: list[LabelItem | FailedItem]
    model: ModelVersion


class EmbeddingItem(TypedDict):
    """An image of a batch with its embedding."""

    embedding: Vector
    filename: Filename


class EmbeddingBatch(TypedDict):
    """Embeddings in the order of the files."""

    results: list[EmbeddingItem | FailedItem]
    model: ModelVersion
