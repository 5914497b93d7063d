"""Which files ought to be there: those that Frigate lists, by what the mirror knows of the folder."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.expected_files import FACT, expected_pictures, expected_recordings
from frigate_s3_mirror.folders import Expected
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.settings import Settings

HERE, BEFORE = (1, 10), (1, 9)


def settings_for(frigate: SimulatedFrigate, state_dir: Path) -> Settings:
    return load(
        {"S3_BUCKET": "bucket", "FRIGATE_DB_PATH": str(frigate.db_path), "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
         "FRIGATE_RECORDINGS_DIR": str(frigate.recordings_dir), "S3_STATE_DIR": str(state_dir)}
    ).settings  # fmt: skip


def known(frigate: SimulatedFrigate, state_dir: Path, trusted: object, upto: int | None = None) -> None:
    """The ledger has the first events, and a folder of before."""
    state_dir.mkdir(exist_ok=True)
    ledger = Ledger(state_dir / FILE_NAME)
    ledger.open()
    for simulated in frigate.events[:upto]:
        event = Event(simulated.id, simulated.camera, "person", None, simulated.start_time, 2.0, True, (), None, False)
        source = f"{event.camera}-{event.id}.jpg"
        ledger.record([Entry(0, event, Kind.SNAPSHOT, source, "k", State.PENDING, event.start_time)], 0.0)
    ledger.note(**{FACT: trusted})
    ledger.close()


def test_a_folder_never_trusted_answers_for_all_rows(frigate: SimulatedFrigate, tmp_path: Path) -> None:
    """Events that run, have no snapshot, or that a crash left open ask for no file."""
    events = [frigate.end_event(frigate.begin_event(), delay=0.0) for _ in range(3)]
    frigate.begin_event()
    frigate.killed_event()
    frigate.no_snapshot_event()
    assert events[0].snapshot_path is not None
    for path in frigate.clips_dir.glob(f"*{events[0].id}*"):
        path.unlink()
    assert expected_pictures(settings_for(frigate, tmp_path / "state"), "clips folder", HERE) == Expected(3, 2)


def test_the_same_folder_answers_for_what_was_seen_in_it(frigate: SimulatedFrigate, tmp_path: Path) -> None:
    """Rows whose file never came are no reason for doubt."""
    for _ in range(3):
        frigate.end_event(frigate.begin_event(), delay=0.0)
    known(frigate, tmp_path / "state", {"clips folder": [*HERE, 2e9]})
    frigate.bulk(50, files=False)
    assert expected_pictures(settings_for(frigate, tmp_path / "state"), "clips folder", HERE) == Expected(3, 3, HERE)


def test_another_folder_answers_for_what_was_in_the_one_before(frigate: SimulatedFrigate, tmp_path: Path) -> None:
    """However much Frigate wrote into it since."""
    old = [frigate.end_event(frigate.begin_event(), delay=0.0) for _ in range(3)]
    for path in [path for event in old for path in frigate.clips_dir.glob(f"*{event.id}*")]:
        path.unlink()
    frigate.bulk(30, size_bytes=10)
    newest = max(event.start_time for event in old)
    known(frigate, tmp_path / "state", {"clips folder": [*BEFORE, newest + 0.001]}, upto=3)
    assert expected_pictures(settings_for(frigate, tmp_path / "state"), "clips folder", HERE) == Expected(3, 0, BEFORE)


@pytest.mark.parametrize(
    "fact", [None, [], {}, {"clips folder": 3}, {"clips folder": ["a", 1, 2]}, {"clips folder": [1, 2, 1e300]}]
)
def test_an_odd_fact_counts_as_none(fact: object, frigate: SimulatedFrigate, tmp_path: Path) -> None:
    """The ledger is a file that anybody can write."""
    frigate.end_event(frigate.begin_event(), delay=0.0)
    known(frigate, tmp_path / "state", fact)
    with closing(sqlite3.connect(tmp_path / "state" / FILE_NAME)) as connection:
        assert json.loads(connection.execute("SELECT value FROM fact WHERE name = ?", (FACT,)).fetchone()[0]) == fact
    assert expected_pictures(settings_for(frigate, tmp_path / "state"), "clips folder", HERE) == Expected(1, 1)


@pytest.mark.parametrize("value", [b"\xff", float("inf"), "soon", None, 3e11])
@pytest.mark.parametrize("column", ["id", "camera", "start_time", "end_time"])
def test_odd_rows_ask_for_nothing(column: str, value: object, frigate: SimulatedFrigate, tmp_path: Path) -> None:
    events = frigate.bulk(20, size_bytes=10)
    with closing(sqlite3.connect(frigate.db_path)) as connection:
        try:
            connection.execute(f"UPDATE event SET {column} = ? WHERE id = ?", (value, events[7].id))  # noqa: S608
        except sqlite3.IntegrityError:
            return
        connection.commit()
    found = expected_pictures(settings_for(frigate, tmp_path / "state"), "clips folder", HERE)
    assert found.found >= 19
    assert found.looked_for - found.found <= 1


def test_segments_are_looked_for_by_their_rows(frigate: SimulatedFrigate, tmp_path: Path) -> None:
    segments = [frigate.add_segment("yard", 1795455500.0 + 10 * n) for n in range(3)]
    assert expected_recordings(settings_for(frigate, tmp_path / "state"), "recordings folder", HERE) == Expected(3, 3)
    segments[0].path.unlink()
    assert expected_recordings(settings_for(frigate, tmp_path / "state"), "recordings folder", HERE) == Expected(3, 2)
