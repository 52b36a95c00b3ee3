"""Every setting of the gateway: its name, default and description.

Values come from the command line, then from environment variables (``GATEWAY_`` and the name in upper case), then from
the TOML file that ``--config`` or ``GATEWAY_CONFIG`` names.

This module is over 300 lines because it is the one list of settings: each field has its default, its limits and its
description, and the checks below the fields span several of them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from limits import parse_many
from pydantic import Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from gateway.image_urls.origins import ALLOWED_ORIGIN
from gateway.images import DEFAULT_MAX_PIXELS
from gateway.model_options import MODEL_NAME, ModelOptions, ShadowOptions
from gateway.security.api_keys import ApiKeys, read_entries
from gateway.serving_target import check_target
from gateway.traffic_shares import TrafficShares

PREFIX = "GATEWAY_"
"""Prefix of environment variables."""

CONFIG = "GATEWAY_CONFIG"
"""Environment variable with the path of a TOML file of settings."""


ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s]+")

DEFAULT_TOP_K = 5

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """All settings; the module's docstring says where their values come from."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, use_attribute_docstrings=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file."""
        file = os.environ.get(CONFIG)
        files = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return init_settings, env_settings, *files

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(8000, ge=0, le=65535)
    """Port to listen on. 0 picks a free port."""
    grpc_port: int | None = Field(None, ge=0, le=65535)
    """Port of the gRPC interfaces: TensorFlow Serving's, the Open Inference Protocol and health checks. If it is not
    set, they are off. 0 picks a free port."""
    workers: int = Field(1, ge=1, le=64)
    """Number of gateway processes."""

    serving_target: str = "127.0.0.1:8500"
    """gRPC address of the model server: host:port, a comma-separated list of host:port, or dns:///name:port."""
    serving_tls: bool = False
    """Use TLS for the connection to the model server."""
    serving_tls_ca: Path | None = None
    """PEM file with the certificate authorities trusted to sign the model server's certificate."""
    serving_tls_certificate: Path | None = None
    """PEM file with the client certificate presented to the model server (mutual TLS)."""
    serving_tls_key: Path | None = None
    """PEM file with the private key of the client certificate."""
    serving_tls_server_name: str = ""
    """Name expected in the model server's certificate, if it differs from the host name."""
    default_model: str = Field("dog_breed", pattern=MODEL_NAME)
    """Model used by /api/v1/predict_breed."""
    models: CommaSeparated = ()
    """Models that /api/v1/models lists and that /readyz waits for, separated by commas. The default model is always
    included."""
    model_options: Annotated[dict[str, ModelOptions], NoDecode] = Field(default_factory=dict)
    """Options for models without a model card, as a JSON object keyed by model name: labels (a file or a list),
    signature, output, fixed_inputs, encoded_image, height, width, fit, interpolation, channels, layout, pixel_range,
    normalize, activation, multi_label, thresholds, unknown_threshold."""
    model_refresh_seconds: float = Field(1.0, gt=0, le=3600)
    """How long the gateway caches the versions, labels and signatures of a model, in seconds."""

    traffic_split: Annotated[TrafficShares, NoDecode] = Field(default_factory=dict)
    """How to split requests that do not set a version, as a JSON object keyed by model name. Each value gives weights
    to version labels or numbers, for example {"dog_breed": "stable=95,canary=5"}. Requests with the same X-Routing-Key
    header always get the same version."""
    traffic_split_file: Path | None = None
    """JSON file with a traffic split that can change without a restart, in UTF-8 and the syntax of traffic_split: one
    object whose keys are model names and whose values are weights, either as a string ("stable=95,canary=5") or as an
    object ({"stable": 95, "canary": 5}). Weights are 0 or more, and at least one for each model is positive. The
    gateway reads the file twice a second. For models that the file names, it replaces traffic_split. If the file is not
    valid or was deleted, the last valid split stays. Replace the file in one step, by renaming."""
    shadows: Annotated[dict[str, ShadowOptions], NoDecode] = Field(default_factory=dict)
    """Where to send copies of image requests to compare the answers, as a JSON object keyed by model name. Each value
    has percent and a model, version or version_label, for example {"dog_breed": {"percent": 10, "version_label":
    "canary"}}."""

    request_timeout_seconds: float = Field(10.0, gt=0, le=600)
    """Time limit for answering a request after its upload is complete, in seconds."""
    upload_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """Time limit for an upload, in seconds."""
    min_upload_bytes_per_second: int = Field(1000, ge=0)
    """Minimum average upload rate, enforced after a grace period of 5 to 10 seconds. 0 disables the check."""
    header_timeout_seconds: float = Field(10.0, gt=0, le=600)
    """Time limit for receiving the request headers, in seconds."""
    shutdown_timeout_seconds: int = Field(20, ge=0, le=600)
    """Time limit for requests in flight to finish after SIGTERM, in seconds."""
    shutdown_delay_seconds: float = Field(0.0, ge=0, le=600)
    """Time between SIGTERM and the start of the shutdown, in seconds. /readyz fails during this time, but requests
    are still accepted."""

    max_upload_bytes: int = Field(25 * 2**20, ge=1)
    """Maximum size of an image file, in bytes."""
    image_url_origins: CommaSeparated = ()
    """Origins from which the gateway may fetch images for requests such as {"url": "..."}, separated by commas, for
    example https://images.example.org,https://*.cdn.example. If it is empty, no images are fetched."""
    image_url_timeout_seconds: float = Field(5.0, gt=0, le=60)
    """Time limit for fetching an image, in seconds."""
    image_url_private: bool = False
    """Also fetch images from private addresses, such as those of storage in the same network."""
    max_batch_upload_bytes: int = Field(128 * 2**20, ge=1)
    """Maximum size of the body of a batch request, in bytes."""
    max_batch_images: int = Field(64, ge=1, le=4096)
    """Maximum number of images in a batch request."""
    max_tensor_body_bytes: int = Field(32 * 2**20, ge=1)
    """Maximum size of the body of a tensor request (/v1 and /v2), in bytes. JSON with more than about 20 MB of numbers
    also needs more worker_memory_bytes: parsing takes up to 18 times its size."""
    max_image_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1)
    """Maximum number of pixels in a WebP image, the most expensive format to decode. PNG, GIF and BMP images may
    have twice as many, HEIC images three times, and baseline JPEG images 15 times."""
    max_top_k: int = Field(1000, ge=1)
    """Maximum value of the top_k parameter."""
    max_predict_batch_size: int = Field(32, ge=1, le=4096)
    """Maximum number of images in one PredictRequest. Must not exceed the server's max_batch_size."""
    max_cross_request_batch_size: int = Field(4, ge=1, le=128)
    """Maximum number of images from different requests in one PredictRequest. 1 disables this kind of batching, and so
    does tracing. Must not exceed the server's max_batch_size."""
    max_images_per_server: int = Field(8, ge=1, le=4096)
    """Maximum number of images sent to one model server at a time. Further images wait in the gateway, and callers
    take turns. Raise it for a GPU or many cores."""
    max_images_in_flight: int = Field(256, ge=1)
    """Maximum number of images in progress. Requests over this limit get status 429."""
    max_uploads: int = Field(1000, ge=1)
    """Maximum number of concurrent uploads. Requests over this limit get status 429."""
    max_upload_memory_bytes: int = Field(512 * 2**20, ge=1)
    """Maximum memory for request bodies, and for the tensors and answers of these requests, in bytes. Requests over
    this limit get status 429."""
    decode_workers: int = Field(0, ge=0, le=256)
    """Number of processes that decode images, for each gateway process. 0 means the number of available cores divided
    by the number of gateway processes."""
    worker_memory_bytes: int = Field(448 * 2**20, ge=64 * 2**20)
    """Maximum additional address space of a process that decodes one large image or one tensor request, in bytes.
    448 MiB is enough for every image that max_image_pixels accepts. Plan memory for two such processes."""
    worker_cpu_seconds: int = Field(10, ge=1, le=600)
    """Maximum CPU time for one image or one tensor request, in seconds."""

    cors_origins: CommaSeparated = ()
    """Origins whose pages may call the API from a browser, separated by commas, for example https://example.org.
    Empty disables CORS."""
    api_keys: CommaSeparated = ()
    """SHA-256 hashes of the accepted API keys, as HASH or NAME:HASH, separated by commas; `breed api-key` creates
    them. Without keys, everyone may call the API."""
    api_keys_file: Path | None = None
    """File with more API key hashes, one per line."""
    rate_limit: str = ""
    """Maximum rate of requests for each API key, or for each client address if there are no keys: for example 60/minute
    or 10/second;1000/hour. Each gateway process counts separately. Empty disables the limit."""
    image_rate_limit: str = ""
    """Maximum rate of images, counted in the same way, for example 600/minute. Must allow at least max_batch_images.
    Empty disables the limit."""
    trusted_proxies: CommaSeparated = ()
    """Addresses or networks of the proxies whose X-Forwarded-For and X-Forwarded-Proto headers are trusted,
    separated by commas."""
    docs: bool = True
    """Serve /docs and /openapi.json."""
    metrics: Literal["open", "key", "off"] = "open"
    """Access to /metrics: open (to everyone), key (only with an API key) or off."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""
    log_format: Literal["console", "json"] = "console"
    """Log format: console for people, json for machines."""
    tracing: bool = False
    """Export OpenTelemetry traces, configured by OTEL_... variables. Requires the extra `tracing`."""

    prediction_log: str | None = None
    """Where to keep records of answers and feedback: a folder, or an fsspec address such as s3://bucket/folder. If it
    is not set, nothing is kept."""
    prediction_log_photos: Literal["none", "uncertain", "sampled", "all"] = "none"
    """Which photos the prediction log keeps: none, uncertain (unknown photos and those with two similar best scores;
    for multi-label models, with a score near its threshold), sampled (a random share) or all. Photos are scaled down,
    and their metadata is removed."""
    prediction_log_margin: float = Field(0.2, ge=0, le=1)
    """A photo is uncertain if the scores of its two best labels differ by less than this value. For multi-label models,
    a photo is uncertain if a score lies between its threshold and this share of the way from there to 0 or 1."""
    prediction_log_sample_rate: float = Field(0.01, ge=0, le=1)
    """Share of photos to keep with prediction_log_photos=sampled, from 0 to 1."""
    prediction_log_photo_side: int = Field(512, ge=32, le=2048)
    """Maximum length of the longer side of kept photos, in pixels."""
    prediction_log_segment_bytes: int = Field(16 * 2**20, ge=1024)
    """Size at which a file of records is closed, in bytes."""
    prediction_log_segment_seconds: float = Field(300.0, ge=1)
    """Age at which a file of records is closed, in seconds."""
    prediction_log_max_days: float = Field(90.0, ge=0)
    """Age at which records and photos are deleted, in days. 0 disables the limit."""
    prediction_log_max_bytes: int = Field(10 * 2**30, ge=0)
    """Maximum size of the prediction log, in bytes. Over this size, the oldest files are deleted. 0 disables the
    limit."""
    review_keys: CommaSeparated = ()
    """SHA-256 hashes of the keys that may review kept photos on /review, in the form of api_keys. A reviewer sees all
    photos and records in the prediction log. Without keys, the review is off."""

    @field_validator(
        "models", "image_url_origins", "cors_origins", "api_keys", "review_keys", "trusted_proxies", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("model_options", "shadows", mode="before")
    @classmethod
    def _parse(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f"not valid JSON: {error}") from error

    @model_validator(mode="after")
    def _batch_limits_agree(self) -> Settings:
        if self.max_images_in_flight < self.max_batch_images:
            raise ValueError("max_images_in_flight must be at least max_batch_images")
        if self.max_upload_memory_bytes < self.max_body_bytes:
            raise ValueError("max_upload_memory_bytes must be at least as large as the largest accepted body")
        if (
            self.image_rate_limit
            and min(one.amount for one in parse_many(self.image_rate_limit)) < self.max_batch_images
        ):
            raise ValueError("image_rate_limit must be at least max_batch_images")
        return self

    @model_validator(mode="after")
    def _processes_share_the_grpc_port(self) -> Settings:
        if self.grpc_port == 0 and self.workers > 1:
            raise ValueError("grpc_port must be a port, not 0, if there are several workers")
        return self

    @model_validator(mode="after")
    def _photos_have_a_log(self) -> Settings:
        if self.prediction_log is None and self.prediction_log_photos != "none":
            raise ValueError("prediction_log_photos keeps photos in the prediction log, but prediction_log is not set")
        if self.prediction_log is None and self.review_keys:
            raise ValueError("review_keys give access to the prediction log, but prediction_log is not set")
        return self

    @model_validator(mode="after")
    def _options_are_of_models(self) -> Settings:
        for name in self.model_options:
            if name not in self.served_models:
                near = get_close_matches(name, self.served_models, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"model_options names {name!r}, which is neither default_model nor in models{hint}")
        return self

    @field_validator("serving_target")
    @classmethod
    def _is_target(cls, value: str) -> str:
        check_target(value.strip())
        return value.strip()

    @field_validator("image_url_origins")
    @classmethod
    def _are_allowed_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not ALLOWED_ORIGIN.fullmatch(origin.lower()):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://images.example.org or https://*.cdn.example"
                )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://example.org, or * for all origins")
        return value

    @field_validator("review_keys")
    @classmethod
    def _are_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        ApiKeys(value)
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
        for network in value:
            ipaddress.ip_network(network)
        return value

    @model_validator(mode="after")
    def _keys_are_keys(self) -> Settings:
        try:
            keys = self.known_keys
        except OSError as error:
            raise ValueError(f"cannot read api_keys_file: {error.strerror}") from error
        if self.metrics == "key" and not keys:
            raise ValueError("metrics = key requires a key in api_keys or api_keys_file")
        return self

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Settings:
        files = (self.serving_tls_ca, self.serving_tls_certificate, self.serving_tls_key)
        if (any(files) or self.serving_tls_server_name) and not self.serving_tls:
            raise ValueError("the other serving_tls_... settings require serving_tls")
        if (self.serving_tls_certificate is None) != (self.serving_tls_key is None):
            raise ValueError("serving_tls_certificate and serving_tls_key must be set together")
        if self.serving_tls and "," in self.serving_target and not self.serving_tls_server_name:
            raise ValueError("serving_tls_server_name is required if serving_target is a list")
        for file in files:
            if file is not None and not file.is_file():
                raise ValueError(f"file not found: {str(file)!r}")
        return self

    @property
    def max_body_bytes(self) -> int:
        """Largest body that any route accepts, in bytes, without the overhead of a form."""
        return max(self.max_upload_bytes, self.max_batch_upload_bytes, self.max_tensor_body_bytes)

    @property
    def default_top_k(self) -> int:
        """Number of predictions in an answer if the request sets no top_k."""
        return min(DEFAULT_TOP_K, self.max_top_k)

    @property
    def served_models(self) -> tuple[str, ...]:
        """The default model and the configured ones, without duplicates."""
        return tuple(dict.fromkeys((self.default_model, *self.models)))

    @property
    def known_keys(self) -> ApiKeys:
        """The keys from the setting and from the file."""
        return ApiKeys([*self.api_keys, *(read_entries(self.api_keys_file) if self.api_keys_file else ())])

    @property
    def reviewers(self) -> ApiKeys:
        """The keys that may review."""
        return ApiKeys(self.review_keys)

    @property
    def image_workers(self) -> int:
        """Number of image-decoding processes for each gateway process, at least 1."""
        return self.decode_workers or max(1, available_cores() // self.workers)


def available_cores() -> int:
    """Number of cores that this process may run on, by CPU affinity; a container's CPU quota is not considered."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
