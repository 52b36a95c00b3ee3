"""Environment variables that look like settings and are not."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from gateway.settings import CONFIG, PREFIX, Settings


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables with the prefix that are not settings, each with the most similar setting if there is one."""
    known = [CONFIG, *(PREFIX + name.upper() for name in Settings.model_fields)]
    unknown = []
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            meant = get_close_matches(name.upper(), known, n=1, cutoff=0.85)
            unknown.append(f"{name} (did you mean {meant[0]}?)" if meant else name)
    return unknown
