"""Environment variables of settings: old names and misspelt ones."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from difflib import get_close_matches

from gateway.settings import CONFIG, PREFIX, Settings

RENAMED = {
    "ROUTES": "TRAFFIC_SPLIT",
    "DECODE_THREADS": "DECODE_WORKERS",
    "MAX_JOINED_PHOTOS": "MAX_CROSS_REQUEST_BATCH_SIZE",
}
"""Old names of settings and their current names, both without the prefix."""


def rename_variables(environment: MutableMapping[str, str]) -> list[str]:
    """Replace old names of settings by their current names.

    Returns:
        A warning for each, for the log.
    """
    renamed = []
    for old, new in RENAMED.items():
        if (value := environment.pop(PREFIX + old, None)) is not None:
            environment.setdefault(PREFIX + new, value)
            renamed.append(f"{PREFIX}{old} is deprecated and will be removed in the next release; use {PREFIX}{new}")
    return renamed


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with the prefix that are not settings, each with the most similar setting if there is one."""
    known = [CONFIG, *(PREFIX + name.upper() for name in Settings.model_fields)]
    unknown = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            meant = get_close_matches(name.upper(), known, n=1, cutoff=0.85)
            unknown.append(f"{name} (did you mean {meant[0]}?)" if meant else name)
    return unknown
