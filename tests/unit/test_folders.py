"""When a missing file is the folder's fault."""

from __future__ import annotations

from pathlib import Path

from frigate_s3_mirror.folders import DiskFolder


def test_an_empty_folder_is_blamed_only_for_missing_files(tmp_path: Path) -> None:
    clips = DiskFolder(tmp_path)
    assert clips.problem() is None
    assert clips.blame() == f"Frigate's clips folder {tmp_path} is empty; is its share mounted?"
    assert clips.problem() == clips.trouble is not None
    assert not clips.is_back()
    (tmp_path / "front-1.5-a.jpg").touch()
    assert clips.is_back()
    assert not clips.is_back()
    assert clips.problem() is None


def test_a_file_that_is_gone_from_a_good_folder_is_its_own_loss(tmp_path: Path) -> None:
    (tmp_path / "front-1.5-a.jpg").touch()
    clips = DiskFolder(tmp_path)
    assert clips.blame() is None
    assert clips.problem() is None


def test_an_unreadable_folder_is_a_problem_at_once(tmp_path: Path) -> None:
    clips = DiskFolder(tmp_path / "away")
    assert "cannot be read (No such file or directory); check FRIGATE_CLIPS_DIR." in (clips.problem() or "")
