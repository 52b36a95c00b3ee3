"""Versions on disk that hold a file and no model."""

from pathlib import Path

from trainer.registry.publish import new_version


def put(models: Path, name: str = "dogs", text: str = "model") -> int:
    with new_version(models, name) as draft:
        (draft.directory / "saved_model.pb").write_text(text)
    return draft.version


def hidden(directory: Path) -> list[Path]:
    return [entry for entry in directory.iterdir() if entry.name.startswith(".")]
