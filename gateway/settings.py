"""Every setting of the gateway, each a name, a default and one sentence.

The environment variable of a setting is its name in upper case after ``GATEWAY_``; lists are separated by commas.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from limits import parse_many
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.images import DEFAULT_MAX_PIXELS, FitMode, Interpolation
from gateway.images.pixel_format import Channels, Layout, Normalization
from gateway.labels_file import read_labels
from gateway.security.api_keys import ApiKeys, read_entries
from gateway.serving_target import check_target

PREFIX = "GATEWAY_"
"""Of environment variables."""

MODEL_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"

ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+")

DEFAULT_TOP_K = 5

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


def _class_names(value: object) -> object:
    """Class names in place of the file that holds them."""
    return read_labels(Path(value)) if isinstance(value, str | Path) else value


class ModelOptions(BaseModel):
    """What a served model that carries no model card does not say of itself; see docs/compatibility.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: Annotated[tuple[str, ...], BeforeValidator(_class_names)] = ()
    """Class names in output order, as a list, or the file that holds them: see `gateway.labels_file`."""
    signature: str | None = None
    """Key of the signature that classifies, where it is neither ``serving_default`` nor the only one."""
    output: str | None = None
    """The output that holds the scores, where there are several of floats."""
    encoded_image: bool | None = None
    """Whether a string input takes encoded images, where its name leaves that open."""
    height: int | None = Field(None, ge=1, le=4096)
    """Input height in pixels, where the signature leaves it open."""
    width: int | None = Field(None, ge=1, le=4096)
    """Input width in pixels, where the signature leaves it open."""
    fit: FitMode = "crop"
    """How a photo becomes that size."""
    interpolation: Interpolation = "bilinear"
    """How pixels are resampled."""
    channels: Channels | None = None
    """Channels and their order: ``rgb``, ``bgr`` or ``grey``; by the signature unless given."""
    layout: Layout | None = None
    """Order of dimensions, where the signature leaves it open: ``nhwc``, ``nchw`` or ``nhw``."""
    pixel_range: tuple[float, float] = (0.0, 255.0)
    """What black and white are for a float input, such as [0, 1] or [-1, 1]."""
    normalize: Normalization | None = None
    """Mode of Keras' `preprocess_input` for a float input: ``caffe`` (ResNet50, VGG16), ``torch`` or ``tf``."""
    multi_label: bool = False
    """Whether the scores are independent of each other, so that an image may show several labels at once."""
    unknown_threshold: float | None = Field(None, ge=0, le=1)
    """A best score under this is answered as unknown."""

    @model_validator(mode="after")
    def _one_normalization(self) -> ModelOptions:
        if self.normalize is not None and self.pixel_range != (0.0, 255.0):
            raise ValueError("give normalize or pixel_range, not both")
        if self.normalize in ("caffe", "torch") and self.channels == "grey":
            raise ValueError(f"normalize {self.normalize!r} is for colour, not for grey")
        if self.normalize == "caffe" and self.channels == "rgb":
            raise ValueError("normalize 'caffe' means BGR: leave out channels")
        return self


class ShadowOptions(BaseModel):
    """Where copies of a model's requests go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percent: float = Field(gt=0, le=100)
    """Share of the requests that are copied."""
    model: str | None = Field(None, pattern=MODEL_NAME)
    """Another model; the same one unless given."""
    version: int | None = Field(None, ge=0)
    """A version of it."""
    version_label: str | None = Field(None, min_length=1, max_length=128)
    """Or a version label of it."""

    @model_validator(mode="after")
    def _is_another(self) -> ShadowOptions:
        if self.version is not None and self.version_label is not None:
            raise ValueError("give version or version_label, not both")
        if (self.model, self.version, self.version_label) == (None, None, None):
            raise ValueError("give model, version or version_label")
        return self

    @property
    def name(self) -> str:
        """The target as metrics name it, such as ``canary`` or ``other_model/3``."""
        which = str(self.version) if self.version is not None else self.version_label
        return "/".join(part for part in (self.model, which) if part)


class Settings(BaseSettings):
    """All settings; see the module's docstring for their environment variables."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=64, description="Processes that answer requests.")

    serving_target: str = Field(
        "127.0.0.1:8500",
        description="gRPC address of the model server: host:port, several separated by commas, or dns:///name:port.",
    )
    serving_tls: bool = Field(False, description="Whether the connection to the model server is encrypted.")
    serving_tls_ca: Path | None = Field(
        None, description="PEM file of the authorities that the model server's certificate may come from."
    )
    serving_tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate that the gateway shows to the model server (mutual TLS)."
    )
    serving_tls_key: Path | None = Field(None, description="PEM file of the private key of that certificate.")
    serving_tls_server_name: str = Field(
        "", description="Name in the model server's certificate, where it is not the one in its address."
    )
    default_model: str = Field("dog_breed", pattern=MODEL_NAME, description="The model behind /api/v1/predict_breed.")
    models: CommaSeparated = Field(
        (),
        description="Models that are listed, and must be available to be ready; the default model always is one.",
    )
    model_options: Annotated[dict[str, ModelOptions], NoDecode] = Field(
        default_factory=dict,
        description=(
            "For models without a model card, as JSON by model name: labels (a file or a list), signature, output, "
            "encoded_image, height, width, fit, interpolation, channels, layout, pixel_range, normalize, multi_label, "
            "unknown_threshold; see docs/compatibility.md."
        ),
    )
    model_refresh_seconds: float = Field(
        1.0, gt=0, le=3600, description="How old may be what is known of a model's current version, in seconds."
    )

    traffic_split: Annotated[dict[str, dict[str, float]], NoDecode] = Field(
        default_factory=dict,
        description=(
            "Shares of the traffic that names no version, as JSON by model name: version labels or numbers and their "
            'weights, such as {"dog_breed": "stable=95,canary=5"}; sticky by the header X-Routing-Key.'
        ),
    )
    shadows: Annotated[dict[str, ShadowOptions], NoDecode] = Field(
        default_factory=dict,
        description=(
            "Where copies of a model's requests go to be compared, as JSON by model name: percent, and model, version "
            'or version_label, such as {"dog_breed": {"percent": 10, "version_label": "canary"}}.'
        ),
    )

    request_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="Deadline of a request once its upload is complete, in seconds."
    )
    upload_timeout_seconds: float = Field(30.0, gt=0, le=3600, description="Time for an upload to arrive, in seconds.")
    min_upload_bytes_per_second: int = Field(
        1000, ge=0, description="Least rate of an upload, after 5 seconds of patience; 0: any."
    )
    header_timeout_seconds: float = Field(
        10.0, gt=0, le=600, description="Time for the headers of a request to arrive, in seconds."
    )
    shutdown_timeout_seconds: int = Field(
        20, ge=0, le=600, description="Time for requests in flight to finish after SIGTERM, in seconds."
    )
    shutdown_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Time after SIGTERM in which /readyz says no and requests are still accepted, in seconds.",
    )

    max_upload_bytes: int = Field(
        25 * 2**20, ge=1, description="Largest image file, in bytes, checked before the form is parsed."
    )
    max_batch_upload_bytes: int = Field(128 * 2**20, ge=1, description="Largest body of a batch request, in bytes.")
    max_batch_images: int = Field(64, ge=1, le=4096, description="Most images in one batch request.")
    max_tensor_body_bytes: int = Field(
        32 * 2**20, ge=1, description="Largest body of a tensor request (/v1 and /v2), in bytes."
    )
    max_image_pixels: int = Field(
        DEFAULT_MAX_PIXELS,
        ge=1,
        description=(
            "Most pixels of an image in the costliest format, WebP, checked before it is decoded. PNG, GIF and BMP may "
            "have twice as many, HEIC three times, baseline JPEG 15 times."
        ),
    )
    max_top_k: int = Field(1000, ge=1, description="Largest top_k.")
    max_predict_batch_size: int = Field(
        32, ge=1, le=4096, description="Most images in one PredictRequest; no more than the server's max_batch_size."
    )
    max_cross_request_batch_size: int = Field(
        4,
        ge=1,
        le=128,
        description=(
            "Most images of different requests in one PredictRequest; 1: each has its own, as with tracing. No more "
            "than the server's max_batch_size."
        ),
    )
    max_images_per_server: int = Field(
        8,
        ge=1,
        le=4096,
        description=(
            "Most images that one model server works on at once; further ones wait in the gateway, in turns between "
            "callers. Raise it for a GPU or many cores."
        ),
    )
    max_images_in_flight: int = Field(
        256, ge=1, description="Most images in work at once; a request beyond it is answered 429 at once."
    )
    max_uploads: int = Field(
        1000, ge=1, description="Most bodies received at once; a request beyond it is answered 429 at once."
    )
    max_upload_memory_bytes: int = Field(
        512 * 2**20, ge=1, description="Most bytes of bodies held at once; a request beyond it is answered 429 at once."
    )
    decode_workers: int = Field(
        0, ge=0, le=256, description="Processes that decode images; 0: one for each core, shared by all workers."
    )
    worker_memory_bytes: int = Field(
        448 * 2**20,
        ge=64 * 2**20,
        description=(
            "Address space that a process may add to decode one large image or one tensor request. 448 MiB suffice for "
            "every image that max_image_pixels accepts; the gateway needs room for two such processes."
        ),
    )
    worker_cpu_seconds: int = Field(
        10, ge=1, le=600, description="CPU time that one image or one tensor request may take, in seconds."
    )

    cors_origins: CommaSeparated = Field(
        (), description="Origins whose pages may call the API from a browser, such as https://example.org; none: off."
    )
    api_keys: CommaSeparated = Field(
        (),
        description=(
            "SHA-256 of each API key, or name:SHA-256, as python -m gateway.security.api_keys makes them; none: off."
        ),
    )
    api_keys_file: Path | None = Field(None, description="File of the same, one a line.")
    rate_limit: str = Field(
        "",
        description=(
            "Most requests of one key, or without keys of one address, for each worker, such as 60/minute or "
            "10/second;1000/hour; empty: any."
        ),
    )
    image_rate_limit: str = Field(
        "",
        description=(
            "Most images of one key, or without keys of one address, for each worker, such as 600/minute; at least "
            "max_batch_images; empty: any."
        ),
    )
    trusted_proxies: CommaSeparated = Field(
        (),
        description="Addresses or networks of proxies whose X-Forwarded-For and -Proto are believed; none: no one's.",
    )
    docs: bool = Field(True, description="Whether /docs and /openapi.json are served.")
    metrics: Literal["open", "key", "off"] = Field(
        "open", description="Whether /metrics is open to all, wants an API key, or is off."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")

    tracing: bool = Field(
        False, description="Send OpenTelemetry traces; needs the extra `tracing`, and takes OTEL_... variables."
    )
    log_format: Literal["console", "json"] = Field("console", description="Log lines for people, or JSON for machines.")

    @field_validator("models", "cors_origins", "api_keys", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("traffic_split", mode="before")
    @classmethod
    def _shares(cls, value: object) -> object:
        value = cls._parse(value)
        if not isinstance(value, dict):
            return value
        return {model: _weights(given) if isinstance(given, str) else given for model, given in value.items()}

    @field_validator("traffic_split")
    @classmethod
    def _positive(cls, value: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        for model, weights in value.items():
            if not weights or min(weights.values()) < 0 or not 0 < sum(weights.values()) < float("inf"):
                raise ValueError(f"the weights of {model!r} must not be negative, and one must be over zero")
        return value

    @field_validator("model_options", "shadows", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError("not JSON") from error

    @model_validator(mode="after")
    def _batch_limits_agree(self) -> Settings:
        if self.max_images_in_flight < self.max_batch_images:
            raise ValueError("max_images_in_flight must be at least max_batch_images, or no full batch is ever taken")
        if self.max_upload_memory_bytes < self.max_body_bytes:
            raise ValueError("max_upload_memory_bytes must be at least as large as any body may be")
        if (
            self.image_rate_limit
            and min(one.amount for one in parse_many(self.image_rate_limit)) < self.max_batch_images
        ):
            raise ValueError("image_rate_limit must be at least max_batch_images, or no full batch is ever taken")
        return self

    @model_validator(mode="after")
    def _options_are_of_models(self) -> Settings:
        for name in self.model_options:
            if name not in self.served_models:
                near = get_close_matches(name, self.served_models, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"model_options has {name!r}, which is neither default_model nor in models{meant}")
        return self

    @field_validator("serving_target")
    @classmethod
    def _is_target(cls, value: str) -> str:
        check_target(value.strip())
        return value.strip()

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not ORIGIN.fullmatch(one):
                raise ValueError(f"{one!r} is no origin such as https://example.org, nor * for all")
        return value

    @field_validator("rate_limit", "image_rate_limit")
    @classmethod
    def _is_rate(cls, value: str) -> str:
        if value:
            parse_many(value)
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ipaddress.ip_network(one)
        return value

    @model_validator(mode="after")
    def _keys_are_keys(self) -> Settings:
        try:
            keys = self.known_keys
        except OSError as error:
            raise ValueError(f"api_keys_file cannot be read: {error.strerror}") from error
        if self.metrics == "key" and not keys:
            raise ValueError("metrics wants a key, and neither api_keys nor api_keys_file has one")
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Settings:
        parts = (self.serving_tls_ca, self.serving_tls_certificate, self.serving_tls_key, self.serving_tls_server_name)
        if any(parts) and not self.serving_tls:
            raise ValueError("serving_tls must be on for its certificates and name to be used")
        if (self.serving_tls_certificate is None) != (self.serving_tls_key is None):
            raise ValueError("serving_tls_certificate and serving_tls_key go together")
        if self.serving_tls and "," in self.serving_target and not self.serving_tls_server_name:
            raise ValueError("serving_tls_server_name must be given for a list of model servers")
        for file in (self.serving_tls_ca, self.serving_tls_certificate, self.serving_tls_key):
            if file is not None and not file.is_file():
                raise ValueError(f"there is no file {str(file)!r}")
        return self

    @property
    def max_body_bytes(self) -> int:
        """The most bytes that any route takes as a body, but for what a form adds."""
        return max(self.max_upload_bytes, self.max_batch_upload_bytes, self.max_tensor_body_bytes)

    @property
    def default_top_k(self) -> int:
        """Labels given to a request that does not say how many it wants."""
        return min(DEFAULT_TOP_K, self.max_top_k)

    @property
    def served_models(self) -> tuple[str, ...]:
        """The default model and the configured ones, each once."""
        return tuple(dict.fromkeys((self.default_model, *self.models)))

    @property
    def known_keys(self) -> ApiKeys:
        """The keys of the setting and of the file."""
        return ApiKeys([*self.api_keys, *(read_entries(self.api_keys_file) if self.api_keys_file else ())])

    @property
    def image_workers(self) -> int:
        """Processes that decode images in each gateway process, never zero."""
        return self.decode_workers or max(1, available_cores() // self.workers)


RENAMED = {
    "ROUTES": "TRAFFIC_SPLIT",
    "DECODE_THREADS": "DECODE_WORKERS",
    "MAX_JOINED_PHOTOS": "MAX_CROSS_REQUEST_BATCH_SIZE",
}
"""Names that settings had in the last release, without the prefix, and the names that they have now."""


def rename_variables(environment: MutableMapping[str, str]) -> list[str]:
    """Give settings that are set by their old names the new ones.

    Returns:
        A sentence for each, for the log.
    """
    renamed = []
    for old, new in RENAMED.items():
        if (value := environment.pop(PREFIX + old, None)) is not None:
            environment.setdefault(PREFIX + new, value)
            renamed.append(f"{PREFIX}{old} is now called {PREFIX}{new}; the old name will go in the next release")
    return renamed


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables named like settings that are none, each with the setting it may have been meant for, if any."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    found = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            meant = get_close_matches(name.upper(), known, n=1, cutoff=0.85)
            found.append(f"{name} (not {meant[0]}?)" if meant else name)
    return found


def _weights(text: str) -> dict[str, float]:
    """The shares in ``stable=95,canary=5``."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError as error:
            raise ValueError(f"not of the form label=weight: {part.strip()!r}") from error
    return weights


def available_cores() -> int:
    """Cores that this process may run on: by taskset and cpusets; a container's CPU quota does not count."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
