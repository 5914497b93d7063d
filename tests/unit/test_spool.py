"""The spool: what it gives up first, what it leaves of its disk, and what is on disk when it says that it keeps something."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror import spool as module
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sources import DiskPictures, SourceVanishedError
from frigate_s3_mirror.spool import Room, Spool, kept_name

SIZE = 1000
PLENTY = Room(10**12, 10**12)


def entry(number: int) -> Entry:
    event = Event(f"{1700000000 + number}.5-abcdef", "cam", "car", None, 0.0, 1.0, True, (), None, False)
    source = f"cam-{event.id}.jpg"
    return Entry(number, event, Kind.SNAPSHOT, source, f"k/{number}.jpg", State.PENDING, float(number))


class Elsewhere(DiskPictures):
    """Frigate's files where no link can be made: they are copied."""

    def path(self, source: str) -> Path | None:
        return None


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(30):
        (folder / entry(number).object_source).write_bytes(bytes([number]) * SIZE)
    return folder


def copies(clips: Path, limit: int, room: Room = PLENTY) -> Spool:
    return Spool(clips.parent / "spool", Elsewhere(clips), limit, lambda _: room)


def kept(spool: Spool) -> list[int]:
    return [number for number in range(30) if spool.holds(entry(number).source)]


def test_the_newest_go_and_the_oldest_stay(clips: Path) -> None:
    """Whatever comes in whichever order: Frigate deletes the oldest next."""
    spool = copies(clips, 5 * SIZE)
    for number in (7, 3, 9, 1, 8, 2, 6):
        spool.keep(entry(number))
    assert kept(spool) == [1, 2, 3, 6, 7]
    assert not spool.keep(entry(20))
    assert kept(spool) == [1, 2, 3, 6, 7]
    assert spool.keep(entry(0))
    assert kept(spool) == [0, 1, 2, 3, 6]


def test_files_of_one_event_do_not_push_each_other_out(clips: Path) -> None:
    """Neither is newer than the other."""
    spool = copies(clips, SIZE)
    clean = replace(entry(1), source=entry(1).object_source.replace(".jpg", "-clean.png"))
    (clips / clean.object_source).write_bytes(b"x" * SIZE)
    assert spool.keep(entry(1))
    assert not spool.keep(clean)
    assert kept(spool) == [1]


def test_nothing_goes_for_what_cannot_be_kept_anyway(clips: Path) -> None:
    """One that is larger than all the room there is, or a disk that others have filled."""
    spool = copies(clips, 5 * SIZE)
    for number in (3, 4, 5):
        spool.keep(entry(number))
    (clips / entry(0).object_source).write_bytes(b"x" * 6 * SIZE)
    assert not spool.keep(entry(0))
    assert kept(spool) == [3, 4, 5]
    spool._room = lambda _: Room(10**12, 0)
    assert not spool.keep(entry(1))
    assert kept(spool) == [3, 4, 5]


@given(st.integers(1, 10**15), st.floats(0, 1))
def test_the_reserve_fits_the_disk(total: int, share: float) -> None:
    """64 MB or 5 %, and never more than a quarter."""
    free = int(total * share)
    reserve = free - Room(total, free).spare_bytes
    assert reserve <= total / 4
    assert reserve >= min(64_000_000, total // 4) - 1
    assert reserve <= max(64_000_000, total * 0.05)


def test_the_disk_keeps_its_reserve(clips: Path) -> None:
    """On a disk of 100 KB with 28 KB left, 25 KB are the ledger's: three pictures of 1 KB are kept."""
    spool = copies(clips, 10**9)
    spool._room = lambda _: Room(100_000, 28_000 - spool.size_bytes)
    for number in range(10):
        spool.keep(entry(number))
    assert kept(spool) == [0, 1, 2]


def test_a_link_costs_nothing_until_frigate_deletes_the_file(clips: Path) -> None:
    spool = Spool(clips.parent / "spool", DiskPictures(clips), 3 * SIZE, lambda _: PLENTY)
    assert spool.keep_all([entry(number) for number in range(10)]) == 10
    assert spool.size_bytes == 0
    for number in range(6):
        (clips / entry(number).object_source).unlink()
    spool._counted_at = float("-inf")
    spool._count()
    assert spool.size_bytes == 6 * SIZE
    assert not spool.keep(entry(12))  # newer than all that costs something
    (clips / entry(0).object_source).write_bytes(b"x")
    spool.drop(entry(0).source)
    assert spool.keep(entry(0))  # older
    assert spool.size_bytes <= 3 * SIZE
    assert kept(spool)[:3] == [0, 1, 2]


def test_the_ledger_gets_room_from_what_s3_has_first_then_from_the_newest(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GIVES_WAY_BYTES", 2 * SIZE)
    spool = copies(clips, 10**9)
    for number in range(6):
        spool.keep(entry(number))
    full = Room(100_000, 0)
    spool._room = lambda _: full
    assert spool.give_way([entry(0).object_source, entry(20).object_source])
    assert kept(spool) == [1, 2, 3, 4, 5]
    assert spool.give_way([])
    assert kept(spool) == [1, 2, 3]
    spool._room = lambda _: PLENTY  # something else is wrong with the ledger
    assert not spool.give_way([])
    assert kept(spool) == [1, 2, 3]


def test_what_frigate_still_has_is_given_up_before_what_is_only_here(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GIVES_WAY_BYTES", 2 * SIZE)
    copies(clips, 10**9).keep_all([entry(number) for number in range(6)])
    for number in (2, 3, 4, 5):
        (clips / entry(number).object_source).unlink()
    spool = Spool(clips.parent / "spool", DiskPictures(clips), 10**9, lambda _: Room(100_000, 20_000))
    spool.open()
    assert kept(spool) == [0, 1, 2, 3, 4, 5]  # there is room enough to start with
    assert spool.give_way([])
    assert kept(spool) == [2, 3, 4, 5]
    assert spool.give_way([])
    assert kept(spool) == [2, 3]


def test_a_start_on_a_full_disk_makes_room(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the ledger could not even be opened for writing."""
    monkeypatch.setattr(module, "_GIVES_WAY_BYTES", 2 * SIZE)
    copies(clips, 10**9).keep_all([entry(number) for number in range(6)])
    spool = copies(clips, 10**9)
    spool._room = lambda _: Room(100_000, 6 * SIZE - spool.size_bytes)
    spool.open()
    assert kept(spool) == [0, 1, 2, 3]


def test_what_is_kept_is_on_disk(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy's content and name, and a link's name, before `keep` returns."""
    synced: list[str] = []
    fsync, spool_folder = os.fsync, clips.parent / "spool"

    def recording(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    copies(clips, 10**9).keep(entry(1))
    assert any(name.startswith(f"{spool_folder}/.") for name in synced)
    assert str(spool_folder) in synced
    synced.clear()
    Spool(spool_folder, DiskPictures(clips), 10**9, lambda _: PLENTY).keep_all([entry(2), entry(3)])
    assert synced == [str(spool_folder)]


def test_a_copy_of_what_is_still_being_written_is_not_kept(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In API mode it would be nearer than Frigate, and be sent instead of the whole."""
    spool = copies(clips, 10**9)
    read = os.read

    def meddling(descriptor: int, count: int) -> bytes:
        with (clips / entry(1).object_source).open("ab") as file:
            file.write(b"more")
        return read(descriptor, count)

    monkeypatch.setattr(os, "read", meddling)
    assert not spool.keep(entry(1))
    monkeypatch.undo()
    assert list((clips.parent / "spool").iterdir()) == []
    assert spool.keep(entry(1))


def test_one_that_cannot_be_kept_does_not_hold_up_the_others(clips: Path) -> None:
    """Gone, a link, a folder, a name that is too long."""
    (clips / entry(3).object_source).unlink()
    (clips / entry(4).object_source).unlink()
    (clips / entry(4).object_source).symlink_to("elsewhere")
    (clips / entry(5).object_source).unlink()
    (clips / entry(5).object_source).mkdir()
    spool = copies(clips, 10**9)
    assert spool.keep_all([entry(number) for number in range(20)]) == 17


def test_it_finds_again_what_it_kept(clips: Path) -> None:
    spool = copies(clips, 10**9)
    spool.keep(entry(1))
    (clips.parent / "spool" / ".half.new").write_bytes(b"half")
    again = copies(clips, 10**9)
    again.open()
    assert again.sources == [entry(1).source]
    assert again.size_bytes == SIZE
    descriptor, size = again.read(entry(1).object_source)
    os.close(descriptor)
    assert size == SIZE
    assert sorted(path.name for path in (clips.parent / "spool").iterdir()) == [kept_name(entry(1).object_source)]


def test_what_is_no_file_needs_no_keeping(clips: Path) -> None:
    """What is made from a row, and what has no source; a spool of no size keeps nothing else."""
    rows = [replace(entry(1), source="row:thumbnail"), replace(entry(2), source=None), replace(entry(3), source="")]
    for limit in (10**9, 0):
        spool = copies(clips, limit)
        assert spool.keep_all([*rows, entry(4)]) == (4 if limit else 3)
        assert spool.keep(rows[0])
        assert spool.keep(entry(4)) is (limit > 0)
        assert kept(spool) == ([4] if limit else [])
    assert not spool.holds(None)


def test_it_is_kept_once(clips: Path) -> None:
    """Asked again, it is there; the disk is not asked."""
    spool = copies(clips, 10**9)
    assert spool.keep_all([entry(1), entry(1)]) == 2
    (clips / entry(1).object_source).unlink()
    assert spool.keep(entry(1))
    assert spool.size_bytes == SIZE


def test_what_s3_has_goes_from_the_disk(clips: Path) -> None:
    """And what is not there cannot be read or dropped."""
    spool = copies(clips, 10**9)
    spool.keep_all([entry(1), entry(2)])
    spool.drop(entry(1).source)
    spool.drop(entry(9).source)
    spool.drop(None)
    assert [path.name for path in (clips.parent / "spool").iterdir()] == [kept_name(entry(2).object_source)]
    assert spool.size_bytes == SIZE
    for number in (1, 9):
        with pytest.raises(SourceVanishedError):
            spool.read(entry(number).object_source)


def test_a_file_of_exactly_the_limit_fits(clips: Path) -> None:
    """And on the disk, one of exactly what is spare."""
    spool = copies(clips, SIZE)
    assert spool.keep(entry(1))
    exact = copies(clips, 10**9)
    exact._room = lambda _: Room(100_000, 25_000 + SIZE)
    assert exact.keep(entry(2))
    exact._room = lambda _: Room(100_000, 25_000 + SIZE - 1)
    assert not exact.keep(entry(3))
    assert exact.keep(entry(1))  # for the one byte that is lacking, the newer one goes
    assert kept(exact) == [1]
    two = copies(clips, 3 * SIZE)
    two.keep_all([entry(5), entry(6), entry(7)])
    (clips / entry(1).object_source).write_bytes(b"x" * 2 * SIZE)
    assert two.keep(entry(1))  # for which exactly two go
    assert kept(two) == [1, 5]


@pytest.mark.parametrize("total", [0, 1000, 100_000_000, 256_000_000, 1_280_000_000, 10**12])
def test_what_is_spare(total: int) -> None:
    reserve = min(total / 4, max(64_000_000, total / 20))
    assert Room(total, 10**12).spare_bytes == 10**12 - int(reserve)
    assert Room(total, 0).spare_bytes == -int(reserve)


def test_a_full_disk_and_an_unwritable_one_are_told_once(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = copies(clips, SIZE)
    for number in range(5):
        spool.keep(entry(number))
    assert caplog.text.count("the spool is full (S3_SPOOL_MAX is 1000 bytes") == 1
    (clips.parent / "file").write_bytes(b"")
    unwritable = Spool(clips.parent / "file" / "spool", Elsewhere(clips), 10**9, lambda _: PLENTY)
    assert unwritable.keep_all([entry(1), entry(2)]) == 0
    assert caplog.text.count("cannot be written (Not a directory)") == 1


def test_what_frigate_deleted_is_counted_again_when_room_is_lacking(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most every ten seconds, for it asks for each file."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    spool = Spool(clips.parent / "spool", DiskPictures(clips), 2 * SIZE, lambda _: PLENTY)
    spool.open()
    spool.keep_all([entry(number) for number in (5, 6, 7)])
    for number in (5, 6, 7):
        (clips / entry(number).object_source).unlink()
    spool._pictures = Elsewhere(clips)
    assert spool.keep_all([entry(1), entry(2)]) == 2  # the links still cost nothing
    now[0] = 110.0
    assert spool.keep(entry(0))  # too early: for this one another copy goes
    assert kept(spool) == [0, 1, 5, 6, 7]
    now[0] = 110.1
    assert not spool.keep(entry(2))
    assert spool.size_bytes == 5 * SIZE
    spool.drop(entry(0).source)
    assert spool.keep(entry(2))
    assert kept(spool) == [1, 2]


def test_a_file_that_took_the_name_meanwhile_is_copied(clips: Path) -> None:
    """A link is made to what was opened, and to nothing else."""
    folder = clips.parent / "spool"
    folder.mkdir()
    (folder / kept_name(entry(1).object_source)).write_bytes(b"from before")
    spool = Spool(folder, DiskPictures(clips), 10**9, lambda _: PLENTY)
    assert spool.keep(entry(1))
    assert (folder / kept_name(entry(1).object_source)).read_bytes() == bytes([1]) * SIZE
    assert spool.size_bytes == SIZE
    again = Spool(folder, DiskPictures(clips), 10**9, lambda _: PLENTY)
    os.link(clips / entry(2).object_source, folder / kept_name(entry(2).object_source))
    assert again.keep(entry(2))  # the same file is a link already
    assert again.size_bytes == 0


@pytest.mark.parametrize(("number", "is_kept"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EXDEV, True), (errno.EPERM, True)])  # fmt: skip
def test_where_no_link_can_be_made_it_is_copied_unless_the_disk_is_full(
    clips: Path, monkeypatch: pytest.MonkeyPatch, number: int, is_kept: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    spool = Spool(clips.parent / "spool", DiskPictures(clips), 10**9, lambda _: PLENTY)
    assert spool.keep(entry(1)) is is_kept
    assert spool.size_bytes == (SIZE if is_kept else 0)


def test_a_copy_has_the_content_whatever_its_size(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Smaller than what is read at a time, as large, and larger."""
    monkeypatch.setattr(module, "_COPY_BYTES", 100)
    spool = copies(clips, 10**9)
    for number, size in enumerate((1, 99, 100, 101, 250)):
        content = os.urandom(size)
        (clips / entry(number).object_source).write_bytes(content)
        assert spool.keep(entry(number))
        descriptor, told = spool.read(entry(number).object_source)
        with os.fdopen(descriptor, "rb") as file:
            assert (file.read(), told) == (content, size)


def test_a_start_gives_up_no_more_than_it_must(clips: Path) -> None:
    """A disk with room enough to write keeps all; a folder that is not there is none to look into."""
    empty = Spool(clips.parent / "none", Elsewhere(clips), 10**9)
    empty.open()
    assert (empty.sources, empty.size_bytes) == ([], 0)
    copies(clips, 10**9).keep_all([entry(number) for number in range(6)])
    spool = copies(clips, 10**9, Room(100_000_000, 256_000))
    spool.open()
    assert kept(spool) == [0, 1, 2, 3, 4, 5]


def test_the_ledger_gets_a_quarter_of_a_megabyte_at_a_time(clips: Path) -> None:
    """No more pictures than that takes."""
    for number in range(6):
        (clips / entry(number).object_source).write_bytes(b"x" * 128_000)
    spool = copies(clips, 10**9)
    spool.keep_all([entry(number) for number in range(6)])
    spool._room = lambda _: Room(100_000_000, 0)
    assert spool.give_way([])
    assert kept(spool) == [0, 1, 2, 3]
    spool._room = lambda _: Room(100_000, 25_000)  # the reserve is there to the byte
    assert not spool.give_way([])


def test_a_real_disk_of_a_megabyte_keeps_a_quarter(clips: Path, tiny_disk: Path) -> None:
    """20 pictures of 100 KB: seven fit beside the reserve."""
    for number in range(20):
        (clips / entry(number).object_source).write_bytes(os.urandom(100_000))
    spool = Spool(tiny_disk / "spool", DiskPictures(clips), 2_000_000_000)
    for number in range(20):
        spool.keep(entry(number))
    status = os.statvfs(tiny_disk)
    assert status.f_bavail * status.f_frsize >= 1024 * 1024 // 4
    assert kept(spool) == list(range(len(kept(spool))))
    assert len(kept(spool)) >= 6
