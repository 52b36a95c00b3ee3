"""Packages depend on each other in one direction: app, http, inference, serving, tensors, pb."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing import ROOT

GATEWAY = ROOT / "gateway"

FOUNDATION = frozenset({"errors", "deadline"})
"""Modules that every package but `images` and `pb` may import."""

CONFIGURATION = frozenset({"settings", "model_options", "traffic_shares"})

MAY_IMPORT: dict[str, frozenset[str]] = {
    "pb": frozenset(),
    "images": frozenset(),
    "image_urls": FOUNDATION,
    "observability": frozenset({"settings"}),  # how logs are written
    "security": frozenset({"__version__", "errors"}),
    "tensors": frozenset({"pb"}) | FOUNDATION,
    "workers": frozenset({"images", "tensors", "pb"}) | FOUNDATION,
    "serving": frozenset({"tensors", "pb", "images", "observability"}) | CONFIGURATION | FOUNDATION,
    "inference": frozenset({"serving", "workers", "tensors", "images", "pb", "observability"})
    | CONFIGURATION
    | FOUNDATION,
    "prediction_log": frozenset({"inference", "workers", "settings", "observability"}) | FOUNDATION,
    "services": frozenset(
        {"image_urls", "prediction_log", "inference", "workers", "serving", "tensors", "pb", "observability"}
    )
    | CONFIGURATION
    | FOUNDATION,
    "grpc_api": frozenset(
        {"__version__", "services", "inference", "serving", "workers", "pb", "security", "observability"}
    )
    | CONFIGURATION
    | FOUNDATION,
    "http": frozenset(
        {"services", "prediction_log", "inference", "serving", "tensors", "pb", "images", "security", "observability"}
    )
    | CONFIGURATION
    | FOUNDATION,
    "model_options": frozenset({"images", "labels_file"}),
    "traffic_shares": frozenset(),
    "settings": frozenset({"image_urls", "images", "model_options", "security", "serving_target", "traffic_shares"}),
}

FORBIDDEN_LIBRARIES = {
    "images": {"fastapi", "starlette", "grpc", "pydantic"},
    "image_urls": {"fastapi", "starlette", "grpc", "pydantic", "uvicorn"},
    "workers": {"fastapi", "starlette", "grpc", "pydantic", "uvicorn"},
    "tensors": {"fastapi", "starlette", "grpc", "pydantic", "uvicorn"},
    "inference": {"fastapi", "starlette", "uvicorn"},
    "grpc_api": {"fastapi", "starlette", "uvicorn"},
    "services": {"fastapi", "starlette", "grpc", "uvicorn"},
    "serving": {"fastapi", "starlette", "uvicorn"},
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert not node.level, f"{file} has a relative import"
            if node.module == "gateway":
                yield from (f"gateway.{alias.name}" for alias in node.names)
            else:
                yield node.module


def files_of(package: str) -> list[Path]:
    folder = GATEWAY / package
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    for file in files_of(package):
        for name in imported(file):
            if name.startswith("gateway."):
                other = name.split(".")[1]
                assert other in MAY_IMPORT[package] | {package}, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("package", sorted(FORBIDDEN_LIBRARIES))
def test_a_package_knows_no_library_of_the_layers_above(package: str) -> None:
    for file in files_of(package):
        libraries = {name.split(".")[0] for name in imported(file)}
        assert not libraries & FORBIDDEN_LIBRARIES[package], file.relative_to(ROOT)


def test_every_package_has_rules_and_says_what_lives_in_it() -> None:
    packages = {path.parent.name: path for path in GATEWAY.glob("*/__init__.py")}
    assert packages.keys() == MAY_IMPORT.keys() - CONFIGURATION
    for name, path in packages.items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"gateway/{name} says nothing"


def test_the_trainer_imports_nothing_of_the_gateway_but_its_images() -> None:
    for file in (ROOT / "trainer").rglob("*.py"):
        for name in imported(file):
            assert not name.startswith("gateway") or name.startswith("gateway.images"), f"{file.name} imports {name}"


def test_the_modelserver_imports_nothing_of_the_gateway_but_its_images_and_messages() -> None:
    for file in (ROOT / "modelserver").rglob("*.py"):
        for name in imported(file):
            shared = name.startswith(("gateway.images", "gateway.pb"))
            assert not name.startswith("gateway") or shared, f"{file.name} imports {name}"


def test_the_gateway_imports_neither_trainer_nor_modelserver() -> None:
    for file in GATEWAY.rglob("*.py"):
        assert not {name.split(".")[0] for name in imported(file)} & {"trainer", "modelserver"}, file.name
