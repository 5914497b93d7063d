"""The ledger is durable, idempotent, and never forgets what S3 has."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from frigate_s3_mirror.catalogue import Catalogue, Wanted
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Event, Filters
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import LedgerError
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.scan_loop import FORGET_AFTER
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
    return Outcome(recorded, state, 0, 0, at, size_bytes=9, sha256="5" * 64, etag="e", uploaded_at=uploaded)


def test_an_event_is_recorded_once(ledger: Ledger) -> None:
    """Both eyes may see it; it becomes one entry."""
    assert len(ledger.record([entry(1), entry(2)], 0.0)) == 2
    assert ledger.record([entry(1)], 0.0) == []


@pytest.mark.parametrize("state", State)
def test_what_is_unknown_is_what_would_be_recorded(ledger: Ledger, state: State) -> None:
    """While a full disk lets nothing be recorded, only that goes past the ledger."""
    (known,) = ledger.record([entry(1)], 0.0)
    ledger.settle([outcome(known, state)])
    unknown = [e.event.id for e in ledger.unknown([entry(1), entry(2)])]
    assert unknown == [e.event.id for e in ledger.record([entry(1), entry(2)], 0.0)]


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


@pytest.mark.parametrize("late", [False, True], ids=["recorded", "recorded late"])
@pytest.mark.parametrize("before", [State.AWAITED, State.ABSENT, State.EXPIRED, State.FAILED])
@pytest.mark.parametrize("nothing", [None, ""])
def test_an_entry_whose_file_came_is_a_whole_one(
    ledger: Ledger, before: State, nothing: str | None, *, late: bool
) -> None:
    """Seen before its file, it takes all of what the new look says, by whichever way it comes; "" is no key."""
    fresh = entry(1)
    seen = replace(fresh, source=nothing, key=nothing, state=State.AWAITED, happened_at=7.0, next_attempt_at=9.0)
    row = ledger.record([seen], 0.0)[0].row
    ledger.settle([Outcome(replace(seen, row=row), before, 2, 3, 900.0, "no file was ever there")])
    assert ledger.connection.execute("SELECT source, key FROM object").fetchone() == (None, None)
    fresh = replace(fresh, event=replace(fresh.event, label="dog", end_time=3.0), happened_at=3.0)
    if late:
        ledger.settle([Outcome(replace(fresh, row=-1), State.PENDING, 0, 0, 0.0)])
    else:
        assert [e.row for e in ledger.record([fresh], 0.0)] == [row]
    assert ledger.due(State.PENDING, 1.0, 9) == [replace(fresh, row=row)]
    names = ledger.connection.execute("SELECT label, start_time FROM object").fetchone()
    assert names == ("dog", fresh.event.start_time)


def test_what_failed_with_a_key_or_is_uploaded_is_not_recorded_anew(ledger: Ledger) -> None:
    """A second look is no news for it."""
    taken = ledger.record([entry(1), entry(2)], 0.0)
    ledger.settle([outcome(taken[0], State.UPLOADED), outcome(taken[1], State.FAILED)])
    assert ledger.record([entry(1), entry(2)], 0.0) == []
    counts = ledger.counts()
    assert (counts[State.UPLOADED], counts[State.FAILED]) == (1, 1)


def poisoned(draft: Entry) -> list[Entry]:
    """What nobody should hand over, and somebody did."""
    event = draft.event
    return [
        replace(draft, event=replace(event, label="\ud800")),
        replace(draft, event=replace(event, camera="\udcff")),
        replace(draft, event=replace(event, id="")),
        replace(draft, event=replace(event, id="9.5-\udc80")),
        replace(draft, event=replace(event, zones=("\ud800",))),
        replace(draft, happened_at=float("nan")),
        replace(draft, happened_at=1e300),
        replace(draft, event=replace(event, start_time=float("inf"))),
        replace(draft, key=None),
        replace(draft, source=""),
        replace(draft, key="\ud800.jpg"),
        replace(draft, seconds=10**400),
        replace(draft, state="sent"),  # type: ignore[arg-type]
        replace(draft, kind="video"),  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize("number", range(14))
def test_one_entry_that_cannot_be_stored_takes_no_other_along(
    ledger: Ledger, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when it is recorded, late or at once, nor when it is taken in from the bucket; it is told once, and counted."""
    odd = poisoned(entry(99))[number]
    drafts = [entry(n) for n in range(20)]
    taken = ledger.record([*drafts[:9], odd, *drafts[9:]], 0.0)
    assert len(taken) == 20
    late = [outcome(replace(e, row=-n - 1), State.UPLOADED) for n, e in enumerate([entry(30), odd, entry(31)])]
    ledger.settle([*late, *(outcome(e, State.UPLOADED) for e in taken)])
    assert ledger.counts()[State.UPLOADED] == 22
    assert caplog.text.count("cannot be recorded") == 1
    assert ledger.adopt([outcome(entry(40), State.UPLOADED), replace(outcome(odd, State.UPLOADED), sha256="odd")], 0.0) >= 1  # fmt: skip


def test_one_outcome_that_cannot_be_stored_takes_no_other_along(ledger: Ledger) -> None:
    """The others are settled."""
    taken = ledger.record([entry(n) for n in range(21)], 0.0)
    outcomes = [outcome(e, State.UPLOADED) for e in taken]
    outcomes[7] = replace(outcomes[7], sha256="none")
    ledger.settle(outcomes)
    counts = ledger.counts()
    assert (counts[State.UPLOADED], counts[State.PENDING]) == (20, 1)


def test_an_adopted_object_with_an_odd_checksum_is_taken_in_without_it(ledger: Ledger) -> None:
    """An object's metadata are written by whoever holds a key."""
    odd = ["", "xyz", "A" * 64, "5" * 63, "é" * 64]
    assert ledger.adopt([replace(outcome(entry(n), State.UPLOADED), sha256=text) for n, text in enumerate(odd)], 0.0) == 5  # fmt: skip
    assert ledger.connection.execute("SELECT count(sha256) FROM object").fetchone() == (0,)


@pytest.mark.parametrize("event", ["{", "[]", "", "[" * 9999, '{"id":1e999}', "null", '["1","cam","car",null,"x",1]'])
def test_one_event_that_cannot_be_read_takes_no_other_along(
    ledger: Ledger, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither sending, nor pages, problems, verify or repair; it is told once, and then among the problems."""
    taken = ledger.record([entry(n) for n in range(21)], 0.0)
    ledger.connection.execute("PRAGMA ignore_check_constraints = ON")
    ledger.connection.execute("UPDATE object SET event = ? WHERE id = ?", (event, taken[20].row))
    catalogue = Catalogue(ledger)
    assert len(ledger.oldest_pending_entries(-1.0, 99)) == 20
    assert len(list(ledger.unmirrored())) == 21
    assert len(ledger.entries([e.row for e in taken])) == 20
    for _ in range(2):
        assert len(ledger.due(State.PENDING, 1.0, 99)) == 20
    assert caplog.text.count("cannot be read") == 1
    assert ledger.counts()[State.FAILED] == 1
    assert ["cannot be read" in (p.error or "") for p in ledger.problems(State.FAILED)] == [True]
    assert [group.event_ids for group in catalogue.problems()] == [(taken[20].event.id,)]
    ledger.connection.execute("UPDATE object SET state = 'uploaded'")
    pictures, _ = catalogue.page(Wanted(), 99)
    assert [picture.event is None for picture in pictures].count(True) == 1
    assert len(pictures) == 21
    assert len(catalogue.event(taken[20].event.id)) == 1


def test_poisoned_entries_that_are_the_newest_do_not_stand_in_the_way(ledger: Ledger) -> None:
    """A claim is limited: as many of them as it takes must not fill it for ever."""
    taken = ledger.record([entry(n) for n in range(30)], 0.0)
    for e in taken[10:]:
        ledger.connection.execute("UPDATE object SET event = '{' WHERE id = ?", (e.row,))
    claims = [ledger.due(State.PENDING, 1.0, 10) for _ in range(3)]
    assert [len(claim) for claim in claims] == [0, 0, 10]


def test_an_entry_that_is_queued_again_remembers_that_s3_had_it(ledger: Ledger) -> None:
    """So that it is not taken for another object under its key; one that lacks what it takes to be sent stays."""
    taken = ledger.record([entry(1), entry(2), entry(3)], 0.0)
    ledger.settle([replace(outcome(e, State.UPLOADED), source_modified_at=44.5) for e in taken[:2]])
    ledger.import_state(["9.5-abcdef"], {}, 0.0)
    ledger.requeue([1, 4])
    due = {e.event.id: e.was_uploaded for e in ledger.due(State.PENDING, 1.0, 9)}
    assert due == {"1.5-abcdef": True, "3.5-abcdef": False}
    assert ledger.counts()[State.UPLOADED] == 2
    facts = "SELECT size_bytes, sha256, etag FROM object WHERE id = 1"  # of what was there before
    assert ledger.connection.execute(facts).fetchone() == (None, None, None)
    ledger.settle([Outcome(taken[0], State.FAILED, 3, 0, 0.0, "Refused.")])
    ledger.retry_failed()
    assert next(e.was_uploaded for e in ledger.due(State.PENDING, 1.0, 9) if e.row == 1)


def test_the_time_of_the_file_that_was_read_is_kept(ledger: Ledger) -> None:
    """By it a later change of the file can be told; an outcome without one leaves it."""
    taken = ledger.record([entry(1)], 0.0)[0]
    ledger.settle([replace(outcome(taken, State.PENDING), source_modified_at=44.5)])
    ledger.settle([outcome(taken, State.UPLOADED)])
    assert ledger.connection.execute("SELECT source_modified_at FROM object").fetchone() == (44.5,)


@pytest.mark.parametrize(
    ("state", "is_durable"),
    [(State.UPLOADED, True), (State.FAILED, True), (State.EXPIRED, True), (State.PENDING, False)],
)
def test_what_s3_acknowledged_is_on_disk_before_anyone_hears_of_it(
    ledger: Ledger, state: State, *, is_durable: bool
) -> None:
    """SQLite syncs the file at such a commit (synchronous=FULL), and only then: a wait costs nothing."""
    taken = ledger.record([entry(1), entry(2)], 0.0)
    seen: list[str] = []
    ledger.connection.set_trace_callback(seen.append)
    ledger.settle([outcome(taken[0], State.PENDING), outcome(taken[1], state)])
    ledger.connection.set_trace_callback(None)
    (synchronous,) = ledger.connection.execute("PRAGMA synchronous").fetchone()
    assert (int(synchronous) >= 2) is is_durable  # 2 is FULL
    words = [statement.split()[0] for statement in seen]
    assert [word for word in words if word != "UPDATE"] == ["PRAGMA", "BEGIN", "COMMIT"]


def test_refused_entries_are_forgotten_by_a_retry_so_that_the_scan_judges_them_anew(ledger: Ledger) -> None:
    """And only those of the reason that was asked for."""
    refused = [replace(entry(n, State.FAILED), key=None, source=None, last_error=f"Reason {n}.") for n in (1, 2)]
    ledger.record(refused, 0.0)
    assert ledger.retry_failed(reason="Reason 1.") == ["1.5-abcdef"]
    assert [p.event_id for p in ledger.problems(State.FAILED)] == ["2.5-abcdef"]


def frigate_with(path: Path, ids: list[str]) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TABLE event (id TEXT PRIMARY KEY, camera, label, start_time, end_time, has_snapshot)"
        )
        for event_id in ids:
            start = float(event_id.split("-")[0])
            connection.execute("INSERT INTO event VALUES (?, 'cam', 'car', ?, ?, 1)", (event_id, start, start + 1.0))
        connection.commit()
    return path


def test_an_old_entry_is_kept_while_frigate_has_its_event(ledger: Ledger, tmp_path: Path) -> None:
    """Forgotten sooner, it would be sent again every week; what waits, and what is younger, is kept in any case."""
    taken = ledger.record([entry(n) for n in range(6)], 0.0)
    ledger.settle([outcome(e, State.UPLOADED) for e in taken[:5]])
    frigate = frigate_with(tmp_path / "frigate.db", [e.event.id for e in taken[:2]])
    scan = FrigateScan(ledger.path, frigate, Filters(), [Kind.SNAPSHOT])
    scan.ensure_open()
    forgettable, more = scan.forgettable(0, 4.0)
    assert more is None
    assert forgettable == [(e.row, e.event.id) for e in taken[2:4]]
    ledger.forget([row for row, _ in forgettable])
    assert {e.event.id for e in ledger.entries([e.row for e in taken])} == {taken[n].event.id for n in (0, 1, 4, 5)}
    assert scan.page(float("inf"))[0].events == []
    scan.close()
    assert FORGET_AFTER == 7 * 86400.0


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
