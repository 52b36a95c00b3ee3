"""The documentation is complete and current: pages build, links lead somewhere, names exist in the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from breed.__main__ import PROGRAMS
from gateway.model_options import ModelOptions
from gateway.settings import CONFIG, PREFIX, Settings
from scripts import reference
from testing import ROOT
from trainer.cli import COMMANDS

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SHOWN = [str(page.relative_to(ROOT)) for page in PAGES]

COMPOSE_VARIABLES = {"GATEWAY_MEMORY"}
"""Variables of docker-compose.yml that are not settings."""


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "tutorial" / "index.html").is_file()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=SHOWN)
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_relative_to(ROOT)
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=SHOWN)
def test_every_setting_command_and_script_in_a_page_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    if page.name == "CHANGELOG.md":
        text = text.partition("## [0.1.0]")[0]
        text = re.sub(r"^- `GATEWAY_\w+` is now .*$", "", text, flags=re.MULTILINE)
    variables = {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG} | COMPOSE_VARIABLES
    assert set(re.findall(r"GATEWAY_[A-Z_]*[A-Z]", text)) <= variables
    assert set(re.findall(r"(?:`|^|scripts/|-m )breed ([a-z-]+)", text, re.MULTILINE)) <= {*PROGRAMS, *COMMANDS}
    for script in re.findall(r"(?<![\w/])scripts/([a-z_.]+\w)", text):
        assert (ROOT / "scripts" / script).exists(), script


def test_the_command_line_page_describes_every_command() -> None:
    text = (ROOT / "docs/reference/command-line.md").read_text("utf-8")
    assert re.findall(r"^\| `breed ([a-z-]+)` \|", text, re.MULTILINE) == [*PROGRAMS, *COMMANDS]


def test_the_generated_tables_are_current() -> None:
    assert [page.name for page in reference.pages()] == ["errors.md", "metrics.md", "prediction-log.md", "settings.md"]
    for page in reference.pages():
        text = page.read_text("utf-8")
        assert text == reference.current(text), f"run `python -m scripts.reference` and commit {page.name}"


def test_every_setting_has_a_description_and_a_section() -> None:
    assert all(field.description for field in Settings.model_fields.values())
    assert next(iter(Settings.model_fields)) in reference.SECTIONS
    assert reference.SECTIONS.keys() <= Settings.model_fields.keys()


def test_the_setting_of_model_options_names_each_of_them() -> None:
    named = re.findall(r"\w+", Settings.model_fields["model_options"].description or "")
    assert set(ModelOptions.model_fields) <= set(named)


def test_the_architecture_page_names_places_that_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    cells = [line.rstrip("|").rpartition("|")[2] for line in text.splitlines() if line.startswith("| ")]
    checked = 0
    for cell in cells:
        for names, path in re.findall(r"((?:`[\w.]+`(?:, )?)+) in `([\w/]+\.py)`", cell):
            code = (ROOT / "gateway" / path).read_text("utf-8")
            for name in re.findall(r"`([\w.]+)`", names):
                assert re.search(rf"\b{name.rpartition('.')[2]}\b", code), f"{name} is not in {path}"
                checked += 1
    assert checked > 30


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
