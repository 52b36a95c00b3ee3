"""What is read of the folder of a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelserver.versions import versions_in, without_versions


@pytest.mark.parametrize("links", [False, True], ids=["folders", "links"])
def test_a_folder_that_is_renamed_once_it_is_listed_does_not_seem_empty(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "model"
    base.mkdir()
    for version in range(3):
        (tmp_path / "kept" / str(version)).mkdir(parents=True)
        if links:
            (base / str(version)).symlink_to(tmp_path / "kept" / str(version))
        else:
            (base / str(version)).mkdir()
    scan = os.scandir

    @contextmanager
    def scan_and_rename(path: int) -> Iterator[list[os.DirEntry[str]]]:
        with scan(path) as entries:
            listed = list(entries)
        base.rename(base.with_name("elsewhere"))
        yield listed

    monkeypatch.setattr(os, "scandir", scan_and_rename)
    assert versions_in(base) == {0: "0", 1: "1", 2: "2"}


def test_there_is_no_advice_about_a_folder_that_cannot_be_looked_into(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 100)
    with pytest.raises(OSError, match="name too long"):
        folder.stat()
    assert without_versions(folder) is None
