"""Checks the pinned packages for known vulnerabilities: `python -m scripts.audit`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUIREMENTS = Path(__file__).parent.parent / "requirements"
SECONDS = 120.0


def lock_files() -> list[Path]:
    """The files with pinned packages, sorted by name."""
    return sorted(REQUIREMENTS.glob("*.txt"))


def main() -> int:
    """Looks up advisories with pip-audit.

    Returns:
        1 if a pinned package has a known vulnerability, otherwise 0. If the advisories are not available, it prints a
        message to standard error and returns 0.
    """
    files = lock_files()
    options = ["--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=5"]
    command = [sys.executable, "-m", "pip_audit", *options, *(f"--requirement={file}" for file in files)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603, our own
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        packages = []
    names = " ".join(f"requirements/{file.name}" for file in files)
    vulnerable, unknown = findings(packages)
    for line in vulnerable:
        print(line)
    if not any("vulns" in package for package in packages):
        print(f"NOT AUDITED: the advisories for {names} are not available", file=sys.stderr)
    elif unknown:
        print(f"NOT AUDITED: no advisories are available for {', '.join(unknown)}", file=sys.stderr)
    else:
        print(f"checked {len(packages)} packages of {names}")
    return 1 if vulnerable else 0


def findings(packages: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Evaluates the report of pip-audit.

    Returns:
        A line for each vulnerability, and the names of packages without a result.
    """
    vulnerable = {
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    }
    return sorted(vulnerable), sorted({package["name"] for package in packages if "vulns" not in package})


if __name__ == "__main__":
    sys.exit(main())
