"""The simulated Frigate leaves what the real one leaves, in the same order."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from frigate_s3_mirror.demo import scenario
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_795_455_533.25

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def simulate(root: Path, version: str = "0.17", seed: int = 1) -> SimulatedFrigate:
    clock = Clock()
    return SimulatedFrigate(root, version, seed=seed, clock=clock.time, sleep=clock.sleep)


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with simulate(tmp_path) as simulated:
        yield simulated


def row(frigate: SimulatedFrigate, event: SimulatedEvent) -> dict[str, object] | None:
    with closing(sqlite3.connect(f"{frigate.db_path.as_uri()}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        found = database.execute("SELECT * FROM event WHERE id = ?", (event.id,)).fetchone()
    return dict(found) if found else None


def files(frigate: SimulatedFrigate, event: SimulatedEvent) -> set[str]:
    paths = (path for path in frigate.clips_dir.rglob("*") if event.id in path.name)
    return {str(path.relative_to(frigate.clips_dir)).replace(event.id, "ID") for path in paths}


def test_a_running_event_has_a_row_and_no_file(frigate: SimulatedFrigate) -> None:
    """A tracked object in progress has has_snapshot = 1, no end_time, and nothing on disk."""
    event = frigate.begin_event("front_door", "☃ snowman")
    found = row(frigate, event)
    assert found is not None
    assert (found["end_time"], found["has_snapshot"], found["label"]) == (None, 1, "☃ snowman")
    assert files(frigate, event) == set()
    assert re.fullmatch(r"\d+\.\d+-[a-z0-9]{6}", event.id)


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("0.14", {"back-yard-ID.jpg", "back-yard-ID-clean.png"}),
        ("0.16", {"back-yard-ID.jpg", "back-yard-ID-clean.png", "thumbs/back-yard/ID.webp"}),
        ("0.17", {"back-yard-ID.jpg", "back-yard-ID-clean.webp", "thumbs/back-yard/ID.webp"}),
        ("0.18", {"back-yard-ID-clean.webp", "thumbs/back-yard/ID.webp"}),
    ],
)
def test_each_version_writes_its_own_files(tmp_path: Path, version: str, names: set[str]) -> None:
    """The file names of an event depend on Frigate's version; the snapshot is the one to mirror."""
    with simulate(tmp_path, version) as frigate:
        event = frigate.end_event(frigate.begin_event("back-yard"))
        assert files(frigate, event) == names
        assert event.snapshot_path is not None
        assert event.snapshot_path.exists()
        assert event.snapshot_path.suffix == (".webp" if version == "0.18" else ".jpg")


def test_inline_thumbnails_belong_to_the_row_up_to_0_14(tmp_path: Path) -> None:
    """Before 0.16 the row carries its thumbnail as base64, and there is no thumbs folder."""
    with simulate(tmp_path, "0.14") as frigate:
        found = row(frigate, frigate.begin_event())
        assert found is not None
        assert str(found["thumbnail"]).startswith("/9j/")
        assert not (frigate.clips_dir / "thumbs").exists()


def test_the_row_ends_after_the_last_file(tmp_path: Path) -> None:
    """When the row says ended, the files are whole; in between lie 10 to 20 ms."""
    clock = Clock()
    ends_at_sleep: list[object] = []

    def sleep(seconds: float) -> None:
        ends_at_sleep.append(row(frigate, event)["end_time"])  # type: ignore[index]
        clock.sleep(seconds)

    with SimulatedFrigate(tmp_path, clock=clock.time, sleep=sleep) as frigate:
        event = frigate.begin_event()
        began = clock.now
        ended = frigate.end_event(event)
    assert ends_at_sleep == [None, None]
    assert ended.row_complete_at is not None
    assert 0.018 <= ended.row_complete_at - began <= 0.032


def test_a_stalled_write_leaves_half_a_file_in_place(tmp_path: Path) -> None:
    """Frigate writes in place, so a file can be seen before it is whole."""
    sizes: list[int] = []
    with SimulatedFrigate(tmp_path, sleep=lambda _: sizes.append(path.stat().st_size)) as frigate:
        event = frigate.begin_event("garage")
        path = frigate.clips_dir / f"garage-{event.id}.jpg"
        frigate.write_files(event, b"x" * 600, stall_seconds=1.0)
    assert sizes[0] == 300
    assert path.read_bytes() == b"x" * 600


def test_a_manual_event_has_its_file_at_once_and_ends_in_the_future(tmp_path: Path) -> None:
    """An API event starts 5 s before its id's time, and its end_time is still to come."""
    clock = Clock()
    with SimulatedFrigate(tmp_path, clock=clock.time, sleep=clock.sleep) as frigate:
        event = frigate.manual_event(duration=30.0)
        assert float(event.id.split("-")[0]) - event.start_time == pytest.approx(5.0)
        assert event.end_time is not None
        assert event.end_time > clock.now
        assert event.snapshot_path is not None
        assert event.snapshot_path.exists()


def test_an_endless_manual_event_ends_by_another_call(frigate: SimulatedFrigate) -> None:
    """Without a duration the row stays open although its file is there; ending it changes the row alone."""
    event = frigate.manual_event()
    assert (event.end_time, event.row_complete_at) == (None, None)
    before = files(frigate, event)
    ended = frigate.end_manual_event(event)
    assert ended.end_time is not None
    assert frigate.current(event) == ended
    assert files(frigate, event) == before


def test_a_killed_event_never_gets_a_file(frigate: SimulatedFrigate) -> None:
    """A crash leaves has_snapshot = 1 and end_time = start + 30, and no file."""
    event = frigate.killed_event()
    found = row(frigate, event)
    assert found is not None
    assert found["has_snapshot"] == 1
    assert found["end_time"] == pytest.approx(event.start_time + 30)
    assert event.snapshot_path is None
    assert files(frigate, event) == set()


def test_an_event_without_snapshot_has_only_a_thumbnail(frigate: SimulatedFrigate) -> None:
    """has_snapshot = 0 means that no snapshot was written."""
    event = frigate.no_snapshot_event("garage")
    assert event.end_time is not None
    assert event.snapshot_path is None
    assert files(frigate, event) == {"thumbs/garage/ID.webp"}


def test_a_deleted_event_leaves_nothing(frigate: SimulatedFrigate) -> None:
    """Deleting an event takes its row and all its files."""
    event = frigate.end_event(frigate.begin_event())
    frigate.delete_event(event)
    assert row(frigate, event) is None
    assert files(frigate, event) == set()
    assert frigate.events == []


def test_bulk_makes_distinct_events_over_the_days(frigate: SimulatedFrigate) -> None:
    """Bulk events are ended, spread over the days asked for, and no two files are equal."""
    events = frigate.bulk(200, size_bytes=600, days=10)
    contents = {event.snapshot_path.read_bytes() for event in events if event.snapshot_path}
    assert len({event.id for event in events}) == len(contents) == 200
    assert {len(content) for content in contents} == {600}
    assert events[-1].start_time - events[0].start_time == pytest.approx(10 * 86_400 * 199 / 200)
    assert all(event.end_time is not None and event.row_complete_at is not None for event in events)


def test_bulk_rows_alone_write_no_file(frigate: SimulatedFrigate) -> None:
    """Big tables for measurements cost no files and no memory."""
    assert frigate.bulk(25_000, files=False) == []
    with closing(sqlite3.connect(f"{frigate.db_path.as_uri()}?mode=ro", uri=True)) as database:
        assert database.execute("SELECT count(*) FROM event").fetchone() == (25_000,)
    assert list(frigate.clips_dir.glob("*.jpg")) == []


def test_the_same_seed_makes_the_same_events(tmp_path: Path) -> None:
    """With a fixed clock and seed everything is the same, down to the bytes."""
    made = []
    for name in ("one", "two"):
        with simulate(tmp_path / name, seed=7) as frigate:
            event = frigate.end_event(frigate.begin_event())
            assert event.snapshot_path is not None
            made.append((event.id, event.end_time, event.snapshot_path.read_bytes()))
    assert made[0] == made[1]


@pytest.mark.parametrize(("version", "has_index"), [("0.14", False), ("0.17", True)])
def test_the_table_has_the_indexes_of_its_version(tmp_path: Path, version: str, has_index: bool) -> None:
    """No index leads with end_time; the one over label and start_time came with 0.17."""
    with simulate(tmp_path, version) as frigate, closing(sqlite3.connect(frigate.db_path)) as database:
        indexes = {name for _, name, *_ in database.execute("PRAGMA index_list(event)")}
        columns = {name: not_null for _, name, _, not_null, *_ in database.execute("PRAGMA table_info(event)")}
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert {"event_camera", "event_label", "event_start_time_end_time"} < indexes
    assert ("event_label_start_time" in indexes) == has_index
    assert bool(columns["thumbnail"]) != has_index


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    """A version that is not simulated is named in the error, with those that are."""
    with pytest.raises(ValueError, match=r"0\.9 is not simulated; there are 0\.13, 0\.14"):
        SimulatedFrigate(tmp_path, "0.9")


def test_the_scenario_shows_every_kind_of_event_and_ends_them(tmp_path: Path) -> None:
    """One round holds tracked, late, manual, endless, killed and snapshotless events; all of them end."""
    changes: list[SimulatedEvent] = []
    with SimulatedFrigate(tmp_path) as frigate:
        scenario.run(frigate, 20, 200.0, threading.Event(), changes.append, longest_seconds=0.2)
        events = frigate.events
    assert len(events) == 20
    assert all(event.row_complete_at is not None for event in events)
    assert {event.id for event in changes} == {event.id for event in events}
    assert sum(event.snapshot_path is None for event in events) == 3
    assert "☃ snowman" in {event.label for event in events}


def test_the_scenario_stops_when_told(tmp_path: Path) -> None:
    """An endless scenario ends at once when its stop event is set."""
    stop = threading.Event()
    with SimulatedFrigate(tmp_path) as frigate:
        scenario.run(frigate, None, 50.0, stop, lambda _: stop.set())
        assert len(frigate.events) >= 1
