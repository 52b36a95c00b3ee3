"""No modules import each other in a circle, and packages of the trainer import only what they may.

`tests/gateway/test_architecture.py` has the rules of the gateway.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from testing import ROOT

FOUNDATION = frozenset({"config", "config_sources", "console", "errors", "memory", "model_card", "options"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "network": FOUNDATION,
    "data": frozenset({"network"}) | FOUNDATION,
    "evaluation": frozenset({"data", "export", "prediction"}) | FOUNDATION,
    "registry": frozenset({"evaluation", "export"}) | FOUNDATION,
    "rollout": frozenset({"registry"}) | FOUNDATION,
    "prediction": frozenset({"data", "evaluation", "export", "registry"}) | FOUNDATION,
    "check": frozenset({"data", "evaluation", "network", "training"}) | FOUNDATION,
    "export": frozenset({"data", "evaluation", "network", "prediction", "registry", "training"}) | FOUNDATION,
    "training": frozenset({"check", "data", "evaluation", "export", "network", "registry"}) | FOUNDATION,
}
"""What each package of the trainer may import of it. The last ones contain commands, which use most stages."""


def imports(file: Path) -> set[str]:
    """The modules that a file imports when it runs, also inside its functions; not those for type annotations."""
    names = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for block in tree.body:
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(package: str) -> dict[str, Path]:
    files = (ROOT / package).rglob("*.py")
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


@pytest.mark.parametrize("package", ["gateway", "modelserver", "trainer", "testing", "bench"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    files = modules(package)
    # A package itself is imported with each of its modules; that is no dependency of the code.
    leaves = {name: file for name, file in files.items() if file.name != "__init__.py"}
    graph = {name: imports(file) & leaves.keys() - {name} for name, file in leaves.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_of_the_trainer_imports_only_what_it_may(package: str) -> None:
    for file in (ROOT / "trainer" / package).rglob("*.py"):
        others = {name.split(".")[1] for name in imports(file) if name.startswith("trainer.")}
        assert others <= MAY_IMPORT[package] | {package}, f"{file.relative_to(ROOT)} imports {sorted(others)}"


def test_every_package_of_the_trainer_has_rules_and_says_what_lives_in_it() -> None:
    assert {file.parent.name for file in (ROOT / "trainer").glob("*/__init__.py")} == MAY_IMPORT.keys()
    for file in (ROOT / "trainer").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{file.parent.name} has no docstring"
