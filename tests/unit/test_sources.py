"""Opening and reading Frigate's files: what is the file's own fault, what is the machine's, and what is not finished yet."""

from __future__ import annotations

import errno
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from frigate_s3_mirror.bodies import PLAYLIST, ROW_METADATA, ROW_THUMBNAIL, WRITTEN_WITHIN_SECONDS, BodyReader
from frigate_s3_mirror.demo.pictures import picture
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.s3 import LARGE_BODY
from frigate_s3_mirror.sources import (
    DiskFiles,
    DiskPictures,
    SourceRefusedError,
    SourceUnfinishedError,
    SourceUnreachableError,
    SourceUnreadableError,
    SourceVanishedError,
    open_source,
    unreadable,
)
from frigate_s3_mirror.spool import Spool

EVENT = Event("1700000000.5-abcdef", "cam", "car", None, 1700000000.5, 1700000009.0, True, (), None, False)
NAME = f"cam-{EVENT.id}.jpg"
ENTRY = Entry(1, EVENT, Kind.SNAPSHOT, NAME, "k.jpg", State.PENDING, EVENT.start_time)


def drawn(ending: str) -> bytes:
    return picture("cam", "car", datetime(2026, 11, 25, tzinfo=UTC), ending, annotated=True)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def reader(clips: Path, *, now: float | None = None, pictures: DiskPictures | None = None) -> BodyReader:
    files = pictures or DiskPictures(clips)
    spool = Spool(clips.parent / "spool", files, 1_000_000_000)
    clock = time.time if now is None else lambda: now
    return BodyReader(files, DiskFiles(clips), clips.parent / "frigate.db", spool, str.encode, now=clock)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_errno_has_one_meaning_and_a_sentence(number: int) -> None:
    """Only that a file is gone, or is none, is the file's own; all else names the file and what to do."""
    error = unreadable("cam-1.jpg", OSError(number, os.strerror(number)))
    own = {errno.ENOENT: SourceVanishedError, errno.ENOTDIR: SourceVanishedError, errno.ELOOP: SourceRefusedError}
    refused = {errno.ENXIO, errno.EISDIR, errno.ENODEV, errno.ENAMETOOLONG}
    expected = own.get(number, SourceRefusedError if number in refused else SourceUnreadableError)
    assert type(error) is expected
    if isinstance(error, SourceUnreadableError):
        assert error.code == number
        assert str(error).startswith("cam-1.jpg cannot be read (")
        assert str(error).endswith(".")
        assert ": " in str(error)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.symlink_to("elsewhere.jpg"),
        lambda path: path.mkdir(),
        lambda path: path.touch(),
        os.mkfifo,
    ],
    ids=["link", "folder", "empty", "pipe"],
)
def test_what_is_no_file_is_refused(clips: Path, make: Callable[[Path], object]) -> None:
    make(clips / NAME)
    with pytest.raises(SourceRefusedError):
        open_source(clips, NAME)


@pytest.mark.parametrize("name", ["../outside.jpg", "a\0b.jpg", "thumbs/a\0b.webp", "x" * 300])
def test_odd_names_are_refused(clips: Path, name: str) -> None:
    (clips.parent / "outside.jpg").write_bytes(b"x")
    with pytest.raises(SourceRefusedError):
        open_source(clips, name)


def test_a_file_that_is_gone_is_gone(clips: Path) -> None:
    for name in (NAME, "thumbs/cam/x.webp"):
        with pytest.raises(SourceVanishedError):
            open_source(clips, name)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """No descriptor is left in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    taken: list[int] = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_the_machines(clips: Path, few_descriptors: None) -> None:
    with pytest.raises(SourceUnreadableError, match="raise the limit of open files") as raised:
        open_source(clips, "cam-1.jpg")
    assert raised.value.code == errno.EMFILE


def test_nothing_stays_open_when_a_file_is_refused(clips: Path) -> None:
    (clips / NAME).touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(SourceRefusedError):
            open_source(clips, NAME)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_whole_picture_is_read_with_its_time(clips: Path) -> None:
    (clips / NAME).write_bytes(drawn("jpg"))
    os.utime(clips / NAME, (1700000009.25, 1700000009.25))
    body = reader(clips).read(ENTRY)
    assert (body.content, body.modified_at, body.recheck) == (drawn("jpg"), 1700000009.25, None)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_a_picture_without_its_end_waits_while_it_is_fresh(clips: Path, ending: str) -> None:
    """And is sent as it is afterwards: bits are bits. A file from the future (a server's clock) is not fresh."""
    source = f"cam-{EVENT.id}.{ending}"
    entry = replace(ENTRY, source=source)
    part = drawn(ending)[:-100]
    (clips / source).write_bytes(part)
    modified_at = (clips / source).stat().st_mtime
    for age in (0.0, 11.0, WRITTEN_WITHIN_SECONDS - 1):
        with pytest.raises(SourceUnfinishedError, match="is still being written"):
            reader(clips, now=modified_at + age).read(entry)
    for age in (WRITTEN_WITHIN_SECONDS + 1, -3600.0):
        assert reader(clips, now=modified_at + age).read(entry).content == part


class Meddling(DiskPictures):
    """Something happens to the file as soon as it is open."""

    def __init__(self, folder: Path, meddle: Callable[[Path], object]) -> None:
        super().__init__(folder)
        self.meddle = meddle

    def open(self, source: str) -> tuple[int, int]:
        opened = super().open(source)
        self.meddle(self._folder / source)
        return opened


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(drawn("jpg")[:-2] + b"\0\0\xff\xd9")
    other.replace(path)


def test_a_file_that_is_replaced_while_it_is_read_is_not_sent(clips: Path) -> None:
    (clips / NAME).write_bytes(drawn("jpg"))
    with pytest.raises(SourceUnfinishedError):
        reader(clips, pictures=Meddling(clips, _replace)).read(ENTRY)


def test_a_file_that_is_deleted_while_it_is_read_is_sent(clips: Path) -> None:
    (clips / NAME).write_bytes(drawn("jpg"))
    assert reader(clips, pictures=Meddling(clips, Path.unlink)).read(ENTRY).content == drawn("jpg")


@pytest.mark.parametrize("size", [1000, LARGE_BODY + 5])
@pytest.mark.parametrize("what", ["grows", "is rewritten"])
def test_a_file_that_changes_while_it_is_read_is_not_sent(
    clips: Path, monkeypatch: pytest.MonkeyPatch, size: int, what: str
) -> None:
    """After its first bytes are read, something is written to it."""
    path = clips / NAME
    path.write_bytes(b"x" * size)
    os.utime(path, (1.0, 1.0))
    read = os.fstat
    calls = 0

    def meddling(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == 3:  # open_source and the first look are over
            with path.open("ab" if what == "grows" else "r+b") as file:
                file.write(b"y")
        return read(descriptor)

    monkeypatch.setattr(os, "fstat", meddling)
    with pytest.raises(SourceUnfinishedError):
        reader(clips).read(ENTRY)
    assert calls >= 3


def test_a_large_file_can_be_looked_at_again_after_its_upload(clips: Path) -> None:
    """Its digests are of what was read; written to meanwhile, it is not settled."""
    import hashlib

    path = clips / NAME
    content = os.urandom(LARGE_BODY + 5)
    path.write_bytes(content)
    body = reader(clips).read(ENTRY)
    try:
        assert body.sha256 == hashlib.sha256(content).hexdigest()
        assert body.recheck is not None
        body.recheck()
        with path.open("r+b") as file:
            file.write(b"other")
        with pytest.raises(SourceUnfinishedError):
            body.recheck()
    finally:
        body.close()


def test_a_thumbnail_of_a_database_that_cannot_be_read_is_neither_gone_nor_refused(tmp_path: Path) -> None:
    """Busy, torn, or away: tried again."""
    clips = tmp_path / "clips"
    clips.mkdir()
    entry = replace(ENTRY, source=ROW_THUMBNAIL, kind=Kind.THUMBNAIL)
    with pytest.raises(SourceUnreachableError):
        reader(clips).read(entry)
    (tmp_path / "frigate.db").write_bytes(b"no database" * 1000)
    with pytest.raises(SourceUnreachableError):
        reader(clips).read(entry)


def test_a_thumbnail_that_is_none_is_refused(tmp_path: Path) -> None:
    import sqlite3

    with SimulatedFrigate(tmp_path / "frigate", version="0.14", cameras=("cam",)) as frigate:
        event = frigate.end_event(frigate.begin_event(), delay=0.0)
        connection = sqlite3.connect(frigate.db_path)
        files = DiskPictures(frigate.clips_dir)
        bodies = BodyReader(files, files, frigate.db_path, Spool(tmp_path / "spool", files, 1), str.encode)
        entry = replace(ENTRY, source=ROW_THUMBNAIL, event=replace(EVENT, id=event.id))
        assert bodies.read(entry).content
        for bad in ("no base64!", "ä" * 8, "abc"):
            with connection:
                connection.execute("UPDATE event SET thumbnail = ?", (bad,))
            with pytest.raises(SourceRefusedError, match="is not base64"):
                bodies.read(entry)
        connection.close()


def test_a_playlist_that_cannot_be_made_now_is_tried_again(clips: Path) -> None:
    def broken(_event_id: str) -> bytes:
        raise LedgerError("The ledger cannot be opened.")

    files = DiskPictures(clips)
    bodies = BodyReader(files, files, clips / "x.db", Spool(clips / "spool", files, 1), broken)
    with pytest.raises(SourceUnreachableError, match="cannot be opened"):
        bodies.read(replace(ENTRY, source=PLAYLIST))
    assert bodies.read(replace(ENTRY, source=ROW_METADATA)).content
