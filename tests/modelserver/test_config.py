"""The text files."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelserver.config import Batching, Policy, parse_batching, parse_models
from modelserver.errors import ConfigError


def test_a_model_is_served_in_its_newest_version_unless_said_otherwise() -> None:
    model = parse_models('model_config_list { config { name: "a" base_path: "/m/a" } }')["a"]
    assert (model.policy, model.latest, model.base_path, model.labels) == (Policy.LATEST, 1, Path("/m/a"), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model_config_list { config { name: "a" } }', "needs a name and a base_path"),
        ('model_config_list { config { name: "a" base_path: "b" } config { name: "a" base_path: "c" } }', "twice"),
        ('model_config_list { config { name: "a" base_path: "b" model_platform: "torch" } }', "torch"),
        ("custom_model_config {}", "custom_model_config is not supported"),
        (
            'model_config_list { config { name: "a" base_path: "b" model_version_policy { specific {} } } }',
            "must list versions",
        ),
        ('model_config_list { config { name: "a" base_path: "b\\000c" } }', "cannot hold a null character"),
        ("nonsense", "not a ModelServerConfig in text format"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_models(text)


def test_batching_parameters_are_read_and_the_rest_has_defaults() -> None:
    text = "max_batch_size { value: 16 } batch_timeout_micros { value: 500 } allowed_batch_sizes: [1, 16]"
    expected = Batching(max_batch_size=16, execution_size=16, timeout_micros=500, allowed_sizes=(1, 16))
    assert parse_batching(text) == expected


def test_batches_are_smaller_than_requests_only_where_requests_may_be_split() -> None:
    text = "max_batch_size { value: 64 } max_execution_batch_size { value: 4 } "
    assert parse_batching(text).execution_size == 64
    assert parse_batching(text + "enable_large_batch_splitting { value: true }").execution_size == 4


@pytest.mark.parametrize(
    "text",
    [
        "max_batch_size { value: 0 }",
        "num_batch_threads { value: 0 }",
        "no_such_field: 1",
        "max_batch_size: 4",
        "max_batch_size { value: 4 } max_execution_batch_size { value: 8 } enable_large_batch_splitting { value: t }",
    ],
)
def test_batching_parameters_that_cannot_be_used_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_batching(text)
