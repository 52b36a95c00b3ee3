"""Schemas of the JSON bodies that describe models, and the health of the gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

_VERSION = 1


class VersionState(BaseModel):
    """One version of a model on the model server."""

    version: int = Field(description="Version number.", examples=[_VERSION])
    state: Literal["unknown", "start", "loading", "available", "unloading", "end"] = Field(
        description="State of the version. Only `available` versions answer.", examples=["available"]
    )


class InputSize(BaseModel):
    """The size to which photos are scaled for the model."""

    height: int = Field(description="Height in pixels.", examples=[260])
    width: int = Field(description="Width in pixels.", examples=[260])
    fit: str = Field(description="How a photo is fitted to the size: crop, pad or squash.", examples=["crop"])


class ModelSummary(BaseModel):
    """A model in the list."""

    name: str = Field(description="Name of the model.", examples=["dog_breed"])
    available: bool = Field(description="Whether the model is ready.", examples=[True])
    reason: str | None = Field(description="Why the model is not ready; otherwise null.", examples=[None])
    versions: list[VersionState] = Field(description="All known versions, newest first.")
    default: bool = Field(description="Whether it is the model behind /api/v1/predict_breed.", examples=[True])


class ModelDetail(ModelSummary):
    """A model in detail."""

    version: int = Field(description="Version that the following fields describe.", examples=[_VERSION])
    input: InputSize
    labels: list[str] = Field(
        description="Class names in the order of the model's outputs.", examples=[["Chihuahua", "Japanese Chin"]]
    )
    unknown_threshold: float | None = Field(
        description="An image is unknown if its score is below this. The model contract has the exact rule.",
        examples=[0.935],
    )
    multi_label: bool = Field(
        description="Whether an image can have several labels or none, so that the scores are independent.",
        examples=[False],
    )
    explains: bool = Field(description="Whether the model can return heat maps.", examples=[True])
    embeds: bool = Field(description="Whether the model can return embeddings.", examples=[True])
    feedback: bool = Field(
        description="Whether the gateway takes feedback on answers. There is none on answers with several labels yet.",
        examples=[False],
    )
    keeps_photos: bool = Field(description="Whether the gateway keeps some of the photos.", examples=[False])
    card: dict[str, object] | None = Field(
        description="The model card; null if the model has none.",
        examples=[{"schema": 1, "name": "dog_breed", "labels": ["Chihuahua", "Japanese Chin"]}],
    )


class ModelList(BaseModel):
    """The configured models."""

    models: list[ModelSummary]


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Every configured model is ready."""

    status: Literal["ready"] = "ready"
    models: dict[str, list[int]] = Field(
        description="Available versions by model.", examples=[{"dog_breed": [_VERSION]}]
    )
