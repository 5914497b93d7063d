"""When a missing file is the folder's fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.folders import DiskFolder, Doubt, Evidence, Expected, Identity, doubt

HERE, BEFORE = (1, 10), (1, 9)


@pytest.mark.parametrize(
    ("looked_for", "found", "trusted", "is_empty", "is_foreign", "expected"),
    [
        (0, 0, None, True, False, Doubt.EMPTY),  # a file was missed in an empty folder
        (0, 0, None, False, False, None),  # a new Frigate
        (0, 0, HERE, False, True, None),  # nothing is expected: nothing is missing
        (0, 0, BEFORE, False, False, None),  # moved, and retention has emptied it
        (24, 24, None, False, False, None),
        (24, 24, HERE, False, False, None),
        (24, 24, BEFORE, False, False, None),  # moved with all its files
        (24, 23, HERE, False, False, None),  # a user deleted one
        (24, 12, HERE, False, False, None),
        (24, 11, HERE, False, False, Doubt.BARE),  # most are gone at once
        (24, 0, HERE, False, False, Doubt.BARE),
        (24, 11, BEFORE, False, False, Doubt.CHANGED),
        (24, 3, None, False, False, Doubt.BARE),  # R57: Frigate wrote three into the mount point
        (24, 8, None, False, False, None),  # never trusted: rows whose file never came are among them
        (20, 0, None, False, False, Doubt.BARE),  # B6: the mount point holds a folder of Frigate's
        (3, 0, None, False, False, None),  # too few to tell
        (3, 0, HERE, False, False, None),  # the same folder as ever: these files are gone
        (3, 0, BEFORE, False, False, Doubt.CHANGED),  # another folder
        (1, 0, BEFORE, False, False, Doubt.CHANGED),
        (1, 1, BEFORE, False, False, None),
        (1, 0, None, False, True, Doubt.FOREIGN),
        (1, 1, None, False, True, None),  # it was found, whatever it is called
        (24, 0, HERE, True, False, Doubt.EMPTY),
    ],
)
def test_what_makes_a_folder_doubtful(
    looked_for: int, found: int, trusted: Identity | None, is_empty: bool, is_foreign: bool, expected: Doubt | None
) -> None:
    """The share of what is found, what lies in it, and which folder it is."""
    evidence = Evidence(HERE, Expected(looked_for, found, trusted), is_empty=is_empty, is_foreign=is_foreign)
    assert doubt(evidence) is expected


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
    assert "cannot be read" in (clips.blame() or "")


def folder_of(path: Path, expected: Expected) -> DiskFolder:
    (path / "thumbs").mkdir(parents=True)
    return DiskFolder(path, expected=lambda _: expected)


def test_trouble_is_told_though_no_file_was_missed(tmp_path: Path) -> None:
    """A folder that lacks what was in it is told at the next look, with the variable to check."""
    clips = folder_of(tmp_path / "clips", Expected(24, 2))
    clips.inspect()
    assert "has 2 of the newest 24 files that Frigate lists; is its share mounted" in (clips.problem() or "")
    assert "FRIGATE_CLIPS_DIR" in (clips.problem() or "")
    assert clips.trusted is None


def test_an_empty_folder_of_a_new_frigate_is_no_trouble(tmp_path: Path) -> None:
    clips = DiskFolder(tmp_path)
    clips.inspect()
    assert clips.problem() is None


def test_another_folder_under_the_same_path_is_noticed(tmp_path: Path) -> None:
    """By device and inode, which cost one system call."""
    clips = folder_of(tmp_path / "clips", Expected(4, 4))
    assert not clips.has_changed()
    assert clips.absence() is None
    assert clips.trusted is not None
    assert not clips.has_changed()
    (tmp_path / "clips").rename(tmp_path / "aside")
    assert not clips.has_changed()  # nothing is there
    (tmp_path / "clips").mkdir()
    assert clips.has_changed()
    assert clips.absence() is not None
    assert not clips.has_changed()


def test_tables_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    def unreadable(_: Identity) -> Expected:
        raise FrigateError("gone")

    (tmp_path / "thumbs").mkdir()
    assert DiskFolder(tmp_path, expected=unreadable).blame() is None


def test_a_judgement_holds_until_something_changes(tmp_path: Path) -> None:
    """Thousands of missing files cost one look, not one each."""
    looks = 0

    def expected(_: Identity) -> Expected:
        nonlocal looks
        looks += 1
        return Expected(4, 4)

    (tmp_path / "thumbs").mkdir()
    clips = DiskFolder(tmp_path, expected=expected, monotonic=lambda: 0.0)
    assert [clips.blame() for _ in range(1000)] == [None] * 1000
    assert looks == 1
    (tmp_path / "a.jpg").touch()
    clips.blame()
    assert looks == 2
