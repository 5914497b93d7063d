"""When a missing file is the folder's fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from frigate_s3_mirror import folders as module
from frigate_s3_mirror.events import FrigateError
from frigate_s3_mirror.folders import DiskFolder, Doubt, Evidence, Expected, Folder, Identity, doubt

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


@pytest.mark.parametrize(
    ("name", "is_frigates"),
    [
        *((name, True) for name in ("cache", "export", "exports", "faces", "previews", "review", "thumbs", "train", "triggers")),
        ("a.jpg", True), ("a.png", True), ("a.webp", True), ("a.mp4", True), ("2026-11-25", True), ("2026-11-25x", False), ("a.txt", False),
        ("lost+found", False), (".jpg.tmp", False), ("Thumbs", False),
    ],
)  # fmt: skip
def test_what_is_frigates_in_a_folder(tmp_path: Path, name: str, is_frigates: bool) -> None:
    """One such name is enough; among foreign ones, too. Without any, and with a file missing, it is another folder."""
    clips = DiskFolder(tmp_path, expected=lambda _: Expected(1, 0))
    (tmp_path / "other.txt").touch()
    (tmp_path / name).mkdir()
    foreign = f"Frigate's clips folder {tmp_path} holds nothing of Frigate's; is its share mounted, and FRIGATE_CLIPS_DIR right?"
    assert clips.absence() == (None if is_frigates else foreign)
    clips.inspect()
    assert clips.problem() == (None if is_frigates else foreign)  # one row of Frigate's tables is enough


def test_a_foreign_folder_of_which_nothing_is_expected_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "other.txt").touch()
    clips = DiskFolder(tmp_path)
    assert clips.absence() is None
    clips.inspect()
    assert clips.problem() is None


def test_what_is_expected_in_vain_says_what_is_wrong(tmp_path: Path) -> None:
    """With the name and the variable of the folder."""
    (tmp_path / "a.jpg").touch()

    def sentence(expected: Expected) -> str | None:
        return DiskFolder(tmp_path, "recordings folder", "FRIGATE_RECORDINGS_DIR", lambda _: expected).absence()

    what = f"Frigate's recordings folder {tmp_path}"
    assert sentence(Expected(8, 1)) == (
        f"{what} has 1 of the newest 8 files that Frigate lists; is its share mounted, and FRIGATE_RECORDINGS_DIR right?"
    )
    assert sentence(Expected(8, 1, (0, 0))) == (
        f"{what} is another folder than before and has 1 of the newest 8 files that Frigate lists; is its share mounted?"
    )
    assert sentence(Expected(8, 7)) is None


def test_trust_needs_something_that_was_found(tmp_path: Path) -> None:
    """And is lost with the first doubt; what no table told of is no trouble by itself."""
    (tmp_path / "a.jpg").touch()
    answers = [Expected(1, 1), Expected(0, 0), Expected(4, 0), Expected(9, 9)]
    now = [0.0]
    clips = DiskFolder(tmp_path, expected=lambda _: answers.pop(0), monotonic=lambda: now[0])
    trusted = []
    for _ in range(4):
        clips.inspect()
        trusted.append(clips.trusted is not None)
        now[0] += 2.0
    answers.append(Expected(9, 9))
    assert trusted == [True, False, False, True]
    assert "has 0 of the newest 4" in (clips.trouble or "")
    assert clips.is_back()
    assert clips.problem() is None


def test_a_judgement_holds_for_two_seconds(tmp_path: Path) -> None:
    """Then, or when the folder was written to, it is looked at again."""
    (tmp_path / "a.jpg").touch()
    now: list[float] = [100.0]
    looks: list[Identity] = []

    def expected(identity: Identity) -> Expected:
        looks.append(identity)
        return Expected(1, 1)

    clips = DiskFolder(tmp_path, expected=expected, monotonic=lambda: now[0])
    for at, count in ((100.0, 1), (101.9, 1), (102.0, 2), (103.9, 2), (104.0, 3)):
        now[0] = at
        clips.absence()
        assert len(looks) == count
    status = tmp_path.stat()
    assert set(looks) == {(status.st_dev, status.st_ino)}
    assert clips.trusted == (status.st_dev, status.st_ino)


def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(tmp_path: Path) -> None:
    """A file in its place, and a name that leads nowhere."""
    (tmp_path / "file").touch()
    assert DiskFolder(tmp_path / "file").absence() == (
        f"Frigate's clips folder {tmp_path}/file cannot be read (Not a directory); check FRIGATE_CLIPS_DIR."
    )
    clips = DiskFolder(tmp_path / "file")
    clips.inspect()
    assert clips.trouble is None  # `problem` sees it by itself
    assert "Not a directory" in (clips.problem() or "")
    away = DiskFolder(tmp_path / "away")
    assert away.blame() is not None
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "a.jpg").touch()
    assert away.blame() is None
    assert away.trouble is not None  # until a full scan has asked
    assert away.is_back()
    assert module._contents(tmp_path / "nowhere") == (False, False)
    assert module._contents(tmp_path) == (False, True)
    assert module._contents(tmp_path / "away") == (False, False)
    (tmp_path / "empty").mkdir()
    assert module._contents(tmp_path / "empty") == (True, False)


class Plain(Folder):
    """The least that a folder can be."""

    sentence: str | None = None

    def absence(self) -> str | None:
        return self.sentence


def test_a_folder_remembers_its_trouble_until_it_is_over() -> None:
    folder = Plain()
    assert not folder.is_back()
    folder.inspect()
    assert (folder.blame(), folder.problem(), folder.has_changed()) == (None, None, False)
    folder.sentence = "Away."
    folder.inspect()
    assert folder.problem() is None  # no file was missed
    assert (folder.blame(), folder.problem(), folder.is_back()) == ("Away.", "Away.", False)
    folder.sentence = None
    assert (folder.blame(), folder.problem()) == (None, "Away.")
    assert (folder.is_back(), folder.problem(), folder.is_back()) == (True, None, False)


@pytest.mark.parametrize(
    ("looked_for", "found", "trusted", "is_doubtful"),
    [
        (4, 2, HERE, False), (4, 1, HERE, True), (3, 1, HERE, False), (4, 1, None, False), (5, 1, None, True), (8, 2, None, False), (4, 0, None, True),
        (2, 1, BEFORE, False), (3, 1, BEFORE, True), (4, 2, BEFORE, False), (3, 0, None, False),
    ],
)  # fmt: skip
def test_where_doubt_begins(looked_for: int, found: int, trusted: Identity | None, is_doubtful: bool) -> None:
    """At less than half, or a quarter where it was never trusted, of four files; of any number when it is another folder."""
    assert (doubt(Evidence(HERE, Expected(looked_for, found, trusted))) is not None) is is_doubtful
