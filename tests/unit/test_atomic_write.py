"""A file is written whole or not at all, and is on disk with its name afterwards."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from frigate_s3_mirror.runtime.atomic_write import atomic_write


def test_it_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    """The new content stands under the name, readable by its owner alone."""
    path = tmp_path / "state"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_in_between_changes_nothing(tmp_path: Path) -> None:
    """The old file stays, and the temporary one goes."""
    path = tmp_path / "state"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_folder_are_synced_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on disk before the name says so, and the name before the block is left."""
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        sync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        steps.append("name")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    with atomic_write(tmp_path / "state") as file:
        file.write(b"new")
    assert steps == ["content", "name", "folder"]
