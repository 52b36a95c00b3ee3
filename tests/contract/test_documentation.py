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

HELM_CHART = "deploy/helm/breed-gateway"

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


def architecture_words() -> list[str]:
    """What the page about the architecture shows as code, outside of blocks."""
    text = re.sub(r"```.*?```", "", (ROOT / "docs/architecture.md").read_text("utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`]+)`", text)


def test_the_architecture_page_names_files_that_exist() -> None:
    folders = [ROOT / one for one in ("", "gateway", "gateway/http", "gateway/web", "trainer", HELM_CHART)]
    paths = [
        word for word in architecture_words() if re.fullmatch(r"[\w./-]+(\.(py|js|json|html|tpl|toml|ya?ml)|/)", word)
    ]
    real = [path for path in paths if not re.search(r"NAME|LANGUAGE", path)]
    assert len(real) > 80
    assert [path for path in real if not any((folder / path).exists() for folder in folders)] == []


def test_the_architecture_page_names_classes_and_constants_that_exist() -> None:
    folders = ("breed", "gateway", "modelserver", "tests", "trainer")
    code = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".js"}]
    code = [path for path in code if path.parent.name != "pb"]
    known = set(re.findall(r"\w+", "".join(path.read_text("utf-8") for path in code)))
    names = [word for word in architecture_words() if re.fullmatch(r"_?[A-Z]\w+(\.\w+)*", word)]
    ours = [name for name in names if not name.startswith(PREFIX)]
    assert len(ours) > 80
    assert [name for name in ours if not known.issuperset(name.split("."))] == []


def test_the_architecture_page_describes_every_package() -> None:
    words = " ".join(architecture_words())
    for program in ("gateway", "trainer"):
        for package in (ROOT / program).glob("*/__init__.py"):
            if package.parent.name != "pb":
                assert f"{program}/{package.parent.name}" in words
    modules = {path.stem for path in (ROOT / "modelserver").glob("[a-z]*.py")}
    assert modules <= set(architecture_words())


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
