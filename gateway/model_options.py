"""Options of single models, which settings hold as JSON objects keyed by model name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from gateway.images import FitMode, Interpolation
from gateway.images.pixel_format import Channels, Layout, Normalization
from gateway.labels_file import read_labels

Activation = Literal["softmax", "sigmoid"]

Share = Annotated[float, Field(ge=0, le=1)]

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
"""Regular expression of the accepted model names."""


def _class_names(value: object) -> object:
    """Replace the path of a file by the class names in it."""
    return read_labels(Path(value)) if isinstance(value, str | Path) else value


class ModelOptions(BaseModel):
    """Options for a served model that has no model card."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    labels: Annotated[tuple[str, ...], BeforeValidator(_class_names)] = ()
    """Class names in the order of the outputs: a list, or the path of a file."""
    signature: str | None = None
    """Signature to use, if it is neither `serving_default` nor the only one that classifies images."""
    output: str | None = None
    """Output with the scores, if several outputs are floats."""
    fixed_inputs: Mapping[str, JsonValue] = {}
    """Values of the inputs beside the image, for example `{"training": false}`."""
    encoded_image: bool | None = None
    """Whether a string input takes encoded images. By default, its name and the method of the signature decide."""
    height: int | None = Field(None, ge=1, le=4096)
    """Input height in pixels, if the signature does not fix it."""
    width: int | None = Field(None, ge=1, le=4096)
    """Input width in pixels, if the signature does not fix it."""
    fit: FitMode = "crop"
    """How to fit a photo to that size: `crop`, `pad` or `squash`."""
    interpolation: Interpolation = "bilinear"
    """Resampling filter: `nearest`, `bilinear`, `bicubic` or `lanczos`."""
    channels: Channels | None = None
    """Channels and their order: `rgb`, `bgr` or `grey`. By default, the signature decides."""
    layout: Layout | None = None
    """Order of dimensions: `nhwc`, `nchw` or `nhw`. By default, the signature decides."""
    pixel_range: tuple[float, float] = (0.0, 255.0)
    """Values of black and of white for a float input, for example [0, 1] or [-1, 1]."""
    normalize: Normalization | None = None
    """Mode of Keras' `preprocess_input` for a float input: `caffe` (ResNet50, VGG16), `torch` or `tf`."""
    activation: Activation | None = None
    """Function that turns logits into probabilities: `softmax` or `sigmoid`. By default, the outputs are already
    probabilities."""
    multi_label: bool = False
    """Whether an image can have several labels or none: the scores are independent and do not sum to 1. The answer has
    all labels whose scores reach `thresholds`."""
    thresholds: Share | tuple[Share, ...] = 0.5
    """Scores from which an image has a label, with `multi_label`: a number, or a list with one for each of `labels`."""
    unknown_threshold: float | None = Field(None, ge=0, le=1)
    """A photo is unknown if its best score is below this value. By default, no photo is unknown."""

    @model_validator(mode="after")
    def _consistent_labels(self) -> ModelOptions:
        if "thresholds" in self.model_fields_set and not self.multi_label:
            raise ValueError("thresholds needs multi_label")
        if self.multi_label and self.unknown_threshold is not None:
            raise ValueError(
                "set thresholds instead of unknown_threshold: with multi_label, an image can have no label"
            )
        if isinstance(self.thresholds, tuple) and len(self.thresholds) != len(self.labels):
            raise ValueError(f"thresholds has {len(self.thresholds)} numbers for {len(self.labels)} labels")
        return self

    @model_validator(mode="after")
    def _one_normalization(self) -> ModelOptions:
        if self.normalize is not None and self.pixel_range != (0.0, 255.0):
            raise ValueError("set either normalize or pixel_range, not both")
        if self.normalize in ("caffe", "torch") and self.channels == "grey":
            raise ValueError(f"normalize {self.normalize!r} needs colour, not channels 'grey'")
        if self.normalize == "caffe" and self.channels == "rgb":
            raise ValueError("normalize 'caffe' implies channels 'bgr'; remove channels")
        return self


class ShadowOptions(BaseModel):
    """Where to send copies of the requests for a model."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    percent: float = Field(gt=0, le=100)
    """Percentage of requests to copy."""
    model: str | None = Field(None, pattern=MODEL_NAME)
    """Another model; by default the same one."""
    version: int | None = Field(None, ge=0)
    """Version to send them to."""
    version_label: str | None = Field(None, min_length=1, max_length=128)
    """Version label to send them to, instead of a version."""

    @model_validator(mode="after")
    def _is_another(self) -> ShadowOptions:
        if self.version is not None and self.version_label is not None:
            raise ValueError("set either version or version_label, not both")
        if (self.model, self.version, self.version_label) == (None, None, None):
            raise ValueError("set model, version or version_label")
        return self

    @property
    def name(self) -> str:
        """Name of the target in metrics, such as ``canary`` or ``other_model/3``."""
        which = str(self.version) if self.version is not None else self.version_label
        return "/".join(part for part in (self.model, which) if part)
