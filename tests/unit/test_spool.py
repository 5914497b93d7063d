"""The spool: what it gives up first, what it leaves of its disk, and what is on disk when it says that it keeps something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror import spool as module
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.sources import DiskPictures
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
