"""The text files beside the ledger are on disk with their names when it is said that they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.state_files import About, StateFiles


def test_every_state_file_is_synced_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, then name, for each of them."""
    synced: list[str] = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        synced.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    files = StateFiles(tmp_path)
    writes: list[Callable[[], None]] = [
        lambda: files.write_uploaded(["1.5-abcdef"]),
        lambda: files.write_failed([]),
        lambda: files.write_about(About("there", Kind.SNAPSHOT, "layout")),
    ]
    for write in writes:
        synced.clear()
        write()
        assert synced == ["content", "folder"]
