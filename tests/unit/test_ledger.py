"""The ledger is durable, idempotent, and never forgets what S3 has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from frigate_s3_mirror.catalogue import Catalogue
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.state_files import StateFiles


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "state" / "ledger.db")
    opened.open()
    yield opened
    opened.close()


def entry(number: int, state: State = State.PENDING) -> Entry:
    event = Event(f"{number}.5-abcdef", "cam", "car", None, float(number), number + 1.0, True, (), None, False)
    return Entry(0, event, Kind.SNAPSHOT, f"cam-{event.id}.jpg", f"cam/{event.id}.jpg", state, float(number))


def outcome(recorded: Entry, state: State, *, at: float = 0.0) -> Outcome:
    uploaded = 50.0 if state is State.UPLOADED else None
    return Outcome(recorded, state, 0, 0, at, size_bytes=9, sha256="s", etag="e", uploaded_at=uploaded)


def test_an_event_is_recorded_once(ledger: Ledger) -> None:
    """Both eyes may see it; it becomes one entry."""
    assert len(ledger.record([entry(1), entry(2)], 0.0)) == 2
    assert ledger.record([entry(1)], 0.0) == []


def test_what_is_due_comes_newest_first(ledger: Ledger) -> None:
    """New events go before the backlog."""
    ledger.record([entry(n) for n in (3, 9, 5)], 0.0)
    assert [e.happened_at for e in ledger.due(State.PENDING, 1.0, 2)] == [9.0, 5.0]


def test_known_rows_are_left_out_of_a_claim(ledger: Ledger) -> None:
    """A claim brings what is not in flight yet."""
    taken = ledger.record([entry(n) for n in range(5)], 0.0)
    known = frozenset(e.row for e in taken[3:])
    assert {e.row for e in ledger.due(State.PENDING, 1.0, 10, known)} == {e.row for e in taken[:3]}


def test_an_uploaded_entry_never_changes_again(ledger: Ledger) -> None:
    """A late outcome of a second attempt cannot take it back."""
    recorded = ledger.record([entry(1)], 0.0)[0]
    ledger.settle([outcome(recorded, State.UPLOADED)])
    ledger.settle([outcome(recorded, State.FAILED)])
    assert ledger.counts()[State.UPLOADED] == 1
    assert ledger.record([entry(1)], 0.0) == []


def test_an_awaited_file_that_comes_becomes_pending(ledger: Ledger) -> None:
    """As does an absent one; an uploaded one does not."""
    awaited = ledger.record([entry(1, State.AWAITED)], 0.0)[0]
    ledger.settle([outcome(awaited, State.ABSENT)])
    assert [e.row for e in ledger.record([entry(1)], 0.0)] == [awaited.row]
    assert ledger.counts()[State.PENDING] == 1


def test_a_deferred_entry_waits_and_is_released_after_an_outage(ledger: Ledger) -> None:
    """Its own due time holds until the service is back."""
    recorded = ledger.record([entry(1)], 0.0)[0]
    ledger.settle([outcome(recorded, State.PENDING, at=500.0)])
    assert ledger.due(State.PENDING, 100.0, 9) == []
    assert ledger.next_due(100.0) == 500.0
    ledger.release()
    assert len(ledger.due(State.PENDING, 100.0, 9)) == 1


def test_failed_entries_can_be_tried_again(ledger: Ledger) -> None:
    """All, or those that are named."""
    for number in (1, 2, 3):
        ledger.settle([outcome(ledger.record([entry(number)], 0.0)[0], State.FAILED)])
    assert ledger.retry_failed(["2.5-abcdef"]) == ["2.5-abcdef"]
    assert len(ledger.retry_failed()) == 2
    assert ledger.counts()[State.PENDING] == 3


def test_the_text_files_bring_a_missing_ledger_back(ledger: Ledger, tmp_path: Path) -> None:
    """Uploaded ids, and failed ones in the older scripts' form too."""
    files = StateFiles(tmp_path)
    files.write_uploaded(["1.5-abcdef", "2.5-abcdef"])
    files.failed_path.write_text(json.dumps({"3.5-abcdef": 3, "4.5-abcdef": {"attempts": 2, "error": "why"}}))
    assert ledger.import_state(files.read_uploaded(), files.read_failed(), 10.0) == (2, 2)
    assert ledger.record([entry(1), entry(2)], 0.0) == []
    assert next((p.attempts, p.error) for p in ledger.problems(State.FAILED)) == (2, "why")


def test_a_torn_line_is_not_taken_for_an_event(tmp_path: Path) -> None:
    """A crash in the middle of an append costs that line only."""
    files = StateFiles(tmp_path)
    files.uploaded_path.write_text("1.5-abcdef\n2.5-ab")
    assert list(files.read_uploaded()) == ["1.5-abcdef"]


def test_the_export_is_one_id_a_line_and_whole(ledger: Ledger, tmp_path: Path) -> None:
    """Replacing and appending give what the ledger holds."""
    files = StateFiles(tmp_path)
    files.write_uploaded(["a"])
    files.append_uploaded(["b", "c"])
    assert files.uploaded_path.read_text() == "a\nb\nc\n"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".s3")] == [".s3_uploaded_events"]


def test_no_state_folder_is_made_where_a_share_is_not_mounted(tmp_path: Path) -> None:
    """An empty clips folder stays empty."""
    clips = tmp_path / "clips"
    clips.mkdir()
    with pytest.raises(OSError, match="No such file"):
        StateFiles(clips / "cache").write_uploaded(["a"])
    assert list(clips.iterdir()) == []


def test_a_newer_ledger_is_not_touched(tmp_path: Path) -> None:
    """A downgrade says so in a sentence."""
    first = Ledger(tmp_path / "ledger.db")
    first.open()
    first.connection.execute("PRAGMA user_version = 99")
    first.close()
    with pytest.raises(LedgerError, match="newer version"):
        Ledger(tmp_path / "ledger.db").open()


def test_a_ledger_of_the_first_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its entries stay, and its tables and indexes become those of a new one."""
    new, old = Ledger(tmp_path / "new.db"), Ledger(tmp_path / "old.db")
    for ledger in (new, old):
        ledger.open()
    old.record([entry(1)], 0.0)
    old.connection.executescript(
        "DROP TABLE live; DROP INDEX object_order; DROP INDEX object_uploads; DROP INDEX object_identity;"
        "ALTER TABLE object DROP COLUMN part; ALTER TABLE object DROP COLUMN seconds; PRAGMA user_version = 1;"
        "CREATE UNIQUE INDEX object_identity ON object (event_id, destination, kind);"
        "CREATE INDEX object_order ON object (state, happened_at DESC)"
    )
    old.close()
    old.open()
    schema = """SELECT name, CASE type WHEN 'index' THEN sql ELSE (
                    SELECT json_group_array(c.name || c.type || c."notnull" || coalesce(c.dflt_value, '')) FROM pragma_table_info(m.name) c)
                END FROM sqlite_master m WHERE type IN ('table', 'index') ORDER BY name"""
    assert old.connection.execute(schema).fetchall() == new.connection.execute(schema).fetchall()
    assert (
        old.connection.execute("PRAGMA user_version").fetchone()
        == new.connection.execute("PRAGMA user_version").fetchone()
    )
    assert old.backlog() == 1
    for ledger in (new, old):
        ledger.close()


def test_a_reason_is_the_same_for_all_files_that_share_it(ledger: Ledger) -> None:
    """The name of the file is left out, so people see one group, and can try just that group again."""
    taken = ledger.record([entry(n) for n in range(3)], 0.0)
    ledger.settle([replace(outcome(e, State.EXPIRED), error=f"{e.source} vanished.") for e in taken[:2]])
    ledger.settle([replace(outcome(taken[2], State.FAILED), error="Refused.")])
    groups = Catalogue(ledger).problems()
    assert [(g.state, g.reason, g.count) for g in groups] == [
        (State.FAILED, "Refused.", 1), (State.EXPIRED, "The file vanished.", 2)
    ]  # fmt: skip
    assert sorted(ledger.retry_failed(reason="The file vanished.")) == sorted(e.event.id for e in taken[:2])
    assert ledger.counts()[State.FAILED] == 1
