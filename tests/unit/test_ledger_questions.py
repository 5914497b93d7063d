"""Every question to the ledger gives what a list of its rows gives: a model in plain Python, over all states, kinds and times."""

from __future__ import annotations

import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from frigate_s3_mirror.entries import Entry, Outcome, Sent
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger, time_of_id
from frigate_s3_mirror.lifecycle import State

NOW = 1000.0
TIMES = (0.0, NOW - 1, NOW, NOW + 1, NOW + 600, NOW + 601)
WAITING = {State.PENDING, State.FAILED, State.EXPIRED}


@dataclass(frozen=True)
class Row:
    """What the model knows of an entry; `tried` is (attempts, deferrals)."""

    entry: Entry
    uploaded_at: float | None
    tried: tuple[int, int]

    @property
    def is_clip(self) -> bool:
        return self.entry.kind is Kind.CLIP

    @property
    def is_due(self) -> bool:
        at = self.entry.next_attempt_at
        return at <= NOW or at > NOW + 600


def make_rows() -> list[Row]:
    chosen = list(itertools.product(State, (Kind.SNAPSHOT, Kind.THUMBNAIL, Kind.CLIP), TIMES))
    random.Random(7).shuffle(chosen)  # noqa: S311
    rows = []
    for number, (state, kind, at) in enumerate(chosen, 1):
        event = Event(f"{number // 2}.5-abcdef", "yard" if number % 3 else "door", "car", None, float(number), None, True, (), None, False)  # fmt: skip
        tried = ((0, 0), (2, 0), (0, 3))[number % 3]
        entry = Entry(
            number, event, kind, f"{number}.jpg", f"k/{number}.jpg", state, float(number), *tried, at, f"Error {number % 4}.",
            part=f"part {number}" if kind is Kind.CLIP else "", seconds=number / 8,
        )  # fmt: skip
        rows.append(Row(entry, 500.0 + number if state is State.UPLOADED else None, tried))
    unique = {row.entry.identity: row for row in reversed(rows)}
    return sorted(unique.values(), key=lambda row: row.entry.row)


ROWS = make_rows()


def filled(path: Path) -> Ledger:
    ledger = Ledger(path)
    ledger.open()
    sql = """INSERT INTO object (id, event_id, kind, part, camera, label, start_time, happened_at, event, source, key, state, attempts,
             deferrals, next_attempt_at, last_error, recorded_at, uploaded_at, seconds, size_bytes, etag)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 400, ?, ?, ?, ?)"""
    for row in ROWS:
        e = row.entry
        ledger.connection.execute(
            sql, (e.row, e.event.id, e.kind, e.part, e.event.camera, e.event.label, e.event.start_time, e.happened_at, e.event.to_json(),
                  e.source, e.key, e.state, *row.tried, e.next_attempt_at, e.last_error, row.uploaded_at, e.seconds, 9, "e"),
        )  # fmt: skip
    # known by its name alone: no event, no key, no source
    ledger.import_state(["900000.5-abcdef"], {"800000.5-abcdef": (3, "why")}, NOW)
    return ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with all of `ROWS`, and two that are known by name alone; may be changed."""
    opened = filled(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def asked() -> Iterator[Ledger]:
    """The same for those who only ask."""
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(filled(Path(folder) / "ledger.db")) as opened:
        yield opened


def entries(choose: Callable[[Row], bool], *, newest_first: bool = True) -> list[Entry]:
    found = [replace(row.entry, was_uploaded=row.uploaded_at is not None) for row in ROWS if choose(row)]
    return sorted(found, key=lambda entry: entry.happened_at, reverse=newest_first)


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("state", [State.PENDING, State.AWAITED])
def test_what_is_due(asked: Ledger, state: State, clips: bool) -> None:
    """Of one state, pictures or clips, newest first; a time beyond any backoff is one of a clock that was set back."""
    expected = entries(lambda row: row.entry.state is state and row.is_clip is clips and row.is_due)
    assert asked.due(state, NOW, 999, clips=clips) == expected
    assert asked.due(state, NOW, 2, frozenset({expected[0].row}), clips=clips) == expected[1:3]


@pytest.mark.parametrize("clips", [False, True])
def test_when_the_next_is_due(asked: Ledger, clips: bool) -> None:
    """After now, and not beyond any backoff."""
    assert asked.next_due(NOW - 2, clips=clips) == NOW - 1
    assert asked.next_due(NOW + 0.5, clips=clips) == NOW + 1
    assert asked.next_due(NOW + 1, clips=clips) == NOW + 1
    assert asked.next_due(NOW + 2, clips=clips) == NOW + 600
    assert asked.next_due(NOW + 602, clips=clips) is None
    assert asked.next_due(0.5, clips=clips) is None


def test_pages_of_a_state(asked: Ledger) -> None:
    """Newest first, each entry once, also where many happened at the same moment."""
    for state in State:
        expected, found, last = entries(lambda row, state=state: row.entry.state is state), [], None  # type: ignore[misc]
        while page := asked.entries_in(state, last, 4):
            found += page
            last = page[-1]
        assert found == expected


def test_pages_do_not_lose_what_happened_at_the_same_moment(ledger: Ledger) -> None:
    ledger.connection.execute("UPDATE object SET happened_at = 7 WHERE state = 'absent'")
    found: list[int] = []
    last = None
    while page := ledger.entries_in(State.ABSENT, last, 5):
        found += [entry.row for entry in page]
        last = page[-1]
    assert found == sorted((row.entry.row for row in ROWS if row.entry.state is State.ABSENT), reverse=True)


def test_the_oldest_that_wait(asked: Ledger) -> None:
    """Pictures only; after a moment."""
    waiting = entries(lambda row: row.entry.state is State.PENDING and not row.is_clip, newest_first=False)
    assert asked.oldest_pending_entries(-1.0, 999) == waiting
    assert asked.oldest_pending_entries(waiting[1].happened_at, 2) == waiting[2:4]
    assert asked.oldest_pending() == waiting[0].happened_at


def test_what_is_not_in_the_bucket(asked: Ledger) -> None:
    missing = entries(lambda row: row.entry.state in WAITING)
    assert list(asked.unmirrored()) == missing
    assert asked.left() == len(missing) + 1  # one is known by its name alone
    assert asked.backlog() == len(entries(lambda row: row.entry.state is State.PENDING))


def test_counts(asked: Ledger) -> None:
    for clips in (False, True):
        expected = {state: len(entries(lambda row, s=state: row.entry.state is s and row.is_clip is clips)) for state in State}  # type: ignore[misc]  # noqa: B023  # fmt: skip
        if not clips:
            expected[State.UPLOADED] += 1
            expected[State.FAILED] += 1
        assert asked.counts(clips=clips) == expected
        keys = {e.key for e in entries(lambda row: row.entry.state is State.PENDING and row.is_clip is clips)}  # noqa: B023
        assert asked.pending_keys(clips=clips) == keys
    tried = entries(lambda row: row.entry.state is State.PENDING and not row.is_clip and row.tried != (0, 0))
    assert asked.retrying() == len(tried)
    assert asked.next_retry(NOW) == NOW + 1
    assert asked.next_retry(0.0) == NOW - 1
    assert asked.next_retry(NOW + 601) is None
    assert asked.cameras() == ["door", "yard"]


@pytest.mark.parametrize("clips", [False, True])
def test_how_many_are_due_up_to_a_mark(asked: Ledger, clips: bool) -> None:
    due = sorted(e.row for e in entries(lambda row: row.entry.state is State.PENDING and row.is_clip is clips and row.is_due))  # fmt: skip
    assert asked.due_upto(due[1], NOW, clips=clips) == (2, len(due), due[-1])
    assert asked.due_upto(due[1] - 0.5, NOW, clips=clips) == (1, len(due), due[-1])


def test_uploads(asked: Ledger) -> None:
    """By kind, with those that are known by name alone where only ids are asked for."""
    uploads = [row for row in ROWS if row.entry.state is State.UPLOADED]
    for kind in (Kind.SNAPSHOT, Kind.THUMBNAIL, Kind.CLIP, Kind.CLEAN):
        of_kind = sorted((row for row in uploads if row.entry.kind is kind), key=lambda row: -row.entry.happened_at)
        found = list(asked.uploaded_objects("o.event_id <> ?", [""], kind))
        assert found == [(r.entry.key, r.entry.event.id, r.entry.event.camera, r.entry.event.start_time, None, "e") for r in of_kind]  # fmt: skip
        assert asked.count_uploaded("o.event_id <> ?", [""], kind) == len(of_kind)
        assert asked.count_uploaded("o.happened_at < ?", [0.0], kind) == 0
        by_name = ["900000.5-abcdef"] if kind is Kind.SNAPSHOT else []
        ids = [r.entry.event.id for r in sorted(of_kind, key=lambda row: row.entry.row)]
        assert list(asked.uploaded_ids(kind)) == ids + by_name
        assert asked.count_uploaded_ids(kind) == len(ids) + len(by_name)
    newest = max(uploads, key=lambda row: row.uploaded_at or 0.0)
    assert asked.last_uploaded() == (newest.uploaded_at, newest.entry.key)
    pictures = [row for row in uploads if not row.is_clip]
    for since in (pictures[0].uploaded_at, pictures[3].uploaded_at):
        assert since is not None
        assert asked.uploaded_since(since) == sum((row.uploaded_at or 0) >= since for row in pictures)
    assert asked.sent(uploads[0].entry.row) == Sent(9, "e", None, uploads[0].uploaded_at)
    assert asked.sent(next(row.entry.row for row in ROWS if row.entry.state is State.FAILED)) is None


def test_what_is_known_of_one_event(asked: Ledger) -> None:
    for event_id in {row.entry.event.id for row in ROWS}:
        kinds = {row.entry.kind for row in ROWS if row.entry.event.id == event_id}
        assert asked.recorded_kinds(event_id) == kinds
    assert asked.recorded_kinds("nobody") == set()
    assert {e.row for e in asked.entries([1, 3, 10**6])} == {1, 3}


@pytest.mark.parametrize("with_clips", [False, True])
def test_problems_for_people(asked: Ledger, with_clips: bool) -> None:
    """Newest first; of the states that were asked for, as many as were asked for."""
    states = (State.EXPIRED, State.ABSENT)
    expected = entries(lambda row: row.entry.state in states and (with_clips or not row.is_clip))
    found = asked.problems(*states, with_clips=with_clips)
    assert [(p.event_id, p.camera, p.kind, p.state, p.attempts, p.error, p.happened_at) for p in found] == [
        (e.event.id, e.event.camera, e.kind, e.state, e.attempts, e.last_error, e.happened_at) for e in expected
    ]
    assert asked.problems(*states, limit=2, with_clips=with_clips) == found[:2]


def states_of(ledger: Ledger) -> dict[int, tuple[str, int, int, float]]:
    found = ledger.connection.execute("SELECT id, state, attempts, deferrals, next_attempt_at FROM object")
    return {row[0]: row[1:] for row in found}


def test_after_an_outage_all_that_waited_for_the_service_are_due(ledger: Ledger) -> None:
    """Not those that were refused themselves."""
    before = states_of(ledger)
    ledger.release()
    for row, (state, attempts, deferrals, at) in states_of(ledger).items():
        is_released = before[row][0] == "pending" and before[row][1] == 0
        assert (state, attempts, deferrals) == before[row][:3]
        assert at == (0.0 if is_released else before[row][3])


@pytest.mark.parametrize("reason", [None, "Error 2."])
@pytest.mark.parametrize("named", [False, True])
def test_another_try_for_what_failed(ledger: Ledger, reason: str | None, named: bool) -> None:
    """Failed and lost ones become pending, as if they were new; what is known by its name alone is forgotten."""
    before = states_of(ledger)
    ids = ["3.5-abcdef", "9.5-abcdef", "20.5-abcdef", "800000.5-abcdef"] if named else []
    wanted = {
        row.entry.row: row.entry.event.id
        for row in ROWS
        if row.entry.state in {State.FAILED, State.EXPIRED}
        and (not named or row.entry.event.id in ids)
        and (reason is None or row.entry.last_error == reason)
    }
    by_name = ["800000.5-abcdef"] if reason is None else []
    assert ledger.retry_failed(ids, reason) == sorted({*wanted.values(), *by_name})
    after = states_of(ledger)
    for row in ROWS:
        number = row.entry.row
        assert after[number] == (("pending", 0, 0, 0.0) if number in wanted else before[number])
    assert len(after) == len(before) - len(by_name)


def test_queued_again(ledger: Ledger) -> None:
    """Of what the bucket held nothing is known any more, but that it did; what is known by name alone stays."""
    uploads = [row for row in ROWS if row.entry.state is State.UPLOADED]
    by_name = ledger.connection.execute("SELECT id FROM object WHERE event_id LIKE '900000%'").fetchone()[0]
    failed = next(row for row in ROWS if row.entry.state is State.FAILED)
    ledger.requeue([uploads[0].entry.row, by_name, failed.entry.row])
    sql = "SELECT state, attempts, deferrals, next_attempt_at, size_bytes, etag, uploaded_at FROM object WHERE id = ?"
    found = [ledger.connection.execute(sql, (row,)).fetchone() for row in (uploads[0].entry.row, failed.entry.row, by_name)]  # fmt: skip
    assert found[0] == ("pending", 0, 0, 0.0, None, None, uploads[0].uploaded_at)
    assert found[1] == ("pending", 0, 0, 0.0, None, None, 400.0)  # since it was recorded, for want of better
    assert found[2][0] == "uploaded"


def test_corrections_touch_the_row_that_is_named(ledger: Ledger) -> None:
    before = {e.row: e for e in ledger.entries(range(1, len(ROWS) + 9))}
    event = replace(before[3].event, label="dog")
    ledger.set_sources([(2, "other.jpg"), (5, "third.jpg")])
    ledger.set_event(3, event)
    ledger.forget([4, 7])
    after = {e.row: e for e in ledger.entries(range(1, len(ROWS) + 9))}
    expected = dict(before)
    expected[2], expected[5] = replace(before[2], source="other.jpg"), replace(before[5], source="third.jpg")
    expected[3] = replace(before[3], event=event)
    del expected[4], expected[7]
    assert after == expected


@pytest.mark.parametrize("state", State)
def test_what_a_second_look_may_change(ledger: Ledger, state: State) -> None:
    """A found file revives what waited for it or was lost; of what has a key and failed, was sent or waits, it is no news."""
    row = next(row for row in ROWS if row.entry.state is state)
    fresh = replace(row.entry, state=State.PENDING, key="new.jpg", next_attempt_at=5.0, last_error=None)
    changed = ledger.record([fresh], NOW)
    is_revived = state in {State.AWAITED, State.ABSENT, State.EXPIRED}
    assert [e.row for e in changed] == ([row.entry.row] if is_revived else [])
    (found,) = ledger.entries([row.entry.row])
    assert found.key == ("new.jpg" if is_revived else row.entry.key)
    if is_revived:
        assert (found.attempts, found.deferrals, found.next_attempt_at, found.last_error) == (0, 0, 5.0, None)
    awaited = replace(fresh, state=State.AWAITED)
    assert ledger.record([awaited], NOW) == []  # a look that finds no file changes nothing
    if state is State.ABSENT:
        ledger.settle([Outcome(found, State.ABSENT, 0, 0, 0.0)])
        assert len(ledger.record([replace(fresh, state=State.SKIPPED)], NOW)) == 1


@pytest.mark.parametrize("state", State)
def test_what_the_bucket_has_is_adopted(ledger: Ledger, state: State) -> None:
    """Into whatever state; only a whole upload stays as it is. The source that is known is kept."""
    row = next(row for row in ROWS if row.entry.state is state)
    there = replace(row.entry, key="there.jpg", source="other.jpg")
    sent = Outcome(there, State.UPLOADED, 0, 0, 0.0, size_bytes=77, sha256="7" * 64, etag="x", uploaded_at=44.0)
    ledger.connection.execute("UPDATE object SET sha256 = ? WHERE id = ?", ("1" * 64, row.entry.row))
    assert ledger.adopt([sent, replace(sent, entry=replace(there, state=State.UPLOADED))], NOW) == (
        0 if state is State.UPLOADED else 1
    )
    facts = ledger.connection.execute(
        "SELECT state, key, source, size_bytes, sha256, etag, uploaded_at, last_error FROM object WHERE id = ?", (row.entry.row,)
    ).fetchone()  # fmt: skip
    if state is State.UPLOADED:
        assert facts[1:4] == (row.entry.key, row.entry.source, 9)
    else:
        assert facts == ("uploaded", "there.jpg", row.entry.source, 77, "7" * 64, "x", 44.0, None)


def test_a_name_alone_becomes_a_whole_upload(ledger: Ledger) -> None:
    entry = Entry(0, Event("900000.5-abcdef", "yard", "car", None, 1.0, None, True, (), None, False), Kind.SNAPSHOT, "s.jpg", "k.jpg", State.UPLOADED, 1.0)  # fmt: skip
    assert ledger.adopt([Outcome(entry, State.UPLOADED, 0, 0, 0.0, uploaded_at=44.0)], NOW) == 1
    assert ledger.last_uploaded() != (44.0, "k.jpg")  # the newest counts, not the last that came
    assert (44.0, "k.jpg") in [
        tuple(row) for row in ledger.connection.execute("SELECT uploaded_at, key FROM object WHERE state = 'uploaded'")
    ]


@pytest.mark.parametrize("state", State)
def test_the_list_of_uploads_settles_what_is_not_known_better(ledger: Ledger, state: State) -> None:
    """After a lost ledger: all but what was uploaded, is not wanted, or waits for its repair."""
    row = next(row for row in ROWS if row.entry.state is state and row.entry.kind is Kind.SNAPSHOT)
    news = state not in {State.UPLOADED, State.SKIPPED}
    assert ledger.import_state([row.entry.event.id], {row.entry.event.id: (9, "No.")}, NOW) == (int(news), 0)
    assert states_of(ledger)[row.entry.row][0] == ("uploaded" if news else state)
    ledger.connection.execute("UPDATE object SET state = 'pending', uploaded_at = 44 WHERE id = ?", (row.entry.row,))
    assert ledger.import_state([row.entry.event.id], {}, NOW) == (0, 0)


def test_a_name_is_news_once(ledger: Ledger) -> None:
    assert ledger.import_state(["900000.5-abcdef", "77.5-newone"], {"800000.5-abcdef": (9, "x")}, NOW) == (1, 0)
    assert ledger.import_state(["77.5-newone"], {}, NOW) == (0, 0)


def test_each_entry_that_cannot_be_read_is_told_once(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """Also where they are spoiled alike; the others are read."""
    ledger.connection.execute("UPDATE object SET event = '{' WHERE id IN (1, 2, 3)")
    for _ in range(2):
        assert [entry.row for entry in ledger.entries([1, 2, 3, 4])] == [4]
    assert len(caplog.records) == 3


def test_imported_names_bear_the_time_of_their_id(ledger: Ledger) -> None:
    ledger.import_state(["77777.5-abcdef", "odd"], {"66666.5-abcdef": (3, "why"), "odd2": (1, "no")}, NOW)
    found = dict(ledger.connection.execute("SELECT event_id, happened_at FROM object WHERE recorded_at = ? AND event IS NULL", (NOW,)))  # fmt: skip
    assert found["77777.5-abcdef"] == 77777.5
    assert found["66666.5-abcdef"] == 66666.5
    assert found["odd"] == found["odd2"] == NOW
    assert time_of_id("12.5-a-b") == 12.5
    assert time_of_id("odd") > 1e9


@pytest.mark.parametrize(
    ("work", "is_durable"),
    [
        (lambda ledger: ledger.record([replace(ROWS[0].entry, event=replace(ROWS[0].entry.event, id="new"))], NOW), False),
        (lambda ledger: ledger.release(), False),
        (lambda ledger: ledger.forget([1]), False),
        (lambda ledger: ledger.set_sources([(1, "a")]), False),
        (lambda ledger: ledger.set_event(1, ROWS[0].entry.event), False),
        (lambda ledger: ledger.retry_failed(), True),
        (lambda ledger: ledger.requeue([1]), True),
        (lambda ledger: ledger.adopt([], NOW), True),
        (lambda ledger: ledger.import_state(["a"], {}, NOW), True),
    ],
)  # fmt: skip
def test_what_a_person_asked_for_is_on_disk_and_what_is_found_again_is_not_waited_for(
    ledger: Ledger, work: Callable[[Ledger], object], is_durable: bool
) -> None:
    """`synchronous=FULL` (2) for the one, NORMAL (1) for the other."""
    work(ledger)
    assert ledger.connection.execute("PRAGMA synchronous").fetchone() == (2 if is_durable else 1,)


def test_an_outcome_without_a_row_finds_its_entry(ledger: Ledger) -> None:
    """Of a picture that could not be recorded because the disk was full; row 0 is none."""
    for row, number in ((0, 1), (-5, 2)):
        entry = replace(ROWS[0].entry, row=row, event=replace(ROWS[0].entry.event, id=f"{number}.late"), state=State.PENDING)  # fmt: skip
        ledger.settle([Outcome(entry, State.UPLOADED, 1, 2, 3.0, uploaded_at=44.0)])
        found = ledger.connection.execute("SELECT state, attempts, deferrals FROM object WHERE event_id = ?", (f"{number}.late",))  # fmt: skip
        assert found.fetchone() == ("uploaded", 1, 2)


def test_an_outcome_adds_to_what_is_known(ledger: Ledger) -> None:
    """What it does not say stays."""
    row = next(row for row in ROWS if row.entry.state is State.PENDING)
    ledger.settle([Outcome(row.entry, State.PENDING, 4, 5, 6.0, "Why.")])
    sql = "SELECT state, attempts, deferrals, next_attempt_at, last_error, size_bytes, etag FROM object WHERE id = ?"
    assert ledger.connection.execute(sql, (row.entry.row,)).fetchone() == ("pending", 4, 5, 6.0, "Why.", 9, "e")


def test_an_empty_ledger_has_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open()
    assert (ledger.next_due(0.0), ledger.next_retry(0.0), ledger.oldest_pending(), ledger.last_uploaded()) == (
        None,
    ) * 4
    assert ledger.due_upto(9, 0.0, clips=False) == (0, 0, 0)
    assert (ledger.left(), ledger.backlog(), ledger.retrying(), ledger.uploaded_since(0.0)) == (0,) * 4
    assert set(ledger.counts().values()) == {0}
    ledger.close()
