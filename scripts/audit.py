"""Looks for known vulnerabilities in what the gateway runs on: `python -m scripts.audit`."""

import json
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements/gateway.txt"
SECONDS = 60.0


def main() -> int:
    """Asks the package index's advisories through pip-audit.

    Returns:
        1 when one of the pinned packages is known to be vulnerable; 0 when none is, or the data is out of reach, which
        a line says.
    """
    options = ["--requirement", str(REQUIREMENTS), "--disable-pip", "--format=json", "--progress-spinner=off"]
    command = [sys.executable, "-m", "pip_audit", *options, "--timeout=5"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603, our own
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        packages = []
    looked_up = [package for package in packages if "vulns" in package]
    if not looked_up:
        print("not audited: no advisories can be reached from here")
        return 0
    found = [(package, vulnerability) for package in looked_up for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {fixed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
