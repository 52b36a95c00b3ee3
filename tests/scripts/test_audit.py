"""What the audit of the pinned packages says."""

from __future__ import annotations

import json
import subprocess

import pytest

from scripts import audit
from testing import ROOT

GOOD = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "2.0", "vulns": [{"id": "CVE-1", "fix_versions": ["2.1"], "aliases": []}]}
SKIPPED = {"name": "odd", "skip_reason": "not found"}


LOCK_FILES = [f"requirements/{name}.txt" for name in ("dev", "gateway", "modelserver", "trainer", "uv")]


def test_every_lock_file_is_audited() -> None:
    assert [file.relative_to(ROOT).as_posix() for file in audit.lock_files()] == LOCK_FILES


@pytest.mark.parametrize(
    ("packages", "status", "message"),
    [
        ([GOOD], 0, f"1 packages of {' '.join(LOCK_FILES)}"),
        ([GOOD, BAD, BAD], 1, "bad 2.0: CVE-1, fixed in 2.1\n"),
        ([GOOD, SKIPPED], 0, "NOT AUDITED: no advisories are available for odd"),
        ([SKIPPED], 0, "NOT AUDITED: the advisories for"),
        (None, 0, "NOT AUDITED: the advisories for"),
    ],
)
def test_what_is_vulnerable_fails_and_what_could_not_be_looked_up_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], packages: object, status: int, message: str
) -> None:
    printed = "no connection" if packages is None else json.dumps({"dependencies": packages})

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert [one for one in command if one.startswith("--requirement=")] == [
            f"--requirement={file}" for file in audit.lock_files()
        ]
        return subprocess.CompletedProcess(command, 1, printed, "")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main() == status
    assert message in "".join(capsys.readouterr())
