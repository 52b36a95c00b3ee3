"""Prometheus's own check of a page of metrics."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from testing.polling import DEADLINE_SECONDS


def check_metrics(page: str) -> None:
    """Have ``promtool check metrics`` find nothing wrong; skips the test where there is no promtool."""
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("needs promtool")
    checked = subprocess.run(
        [command, "check", "metrics"], input=page, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
