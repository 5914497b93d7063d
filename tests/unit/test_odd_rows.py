"""Frigate's rows, whatever is in them: one that is refused never takes its neighbours along."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frigate_s3_mirror.clip_scan import ClipScan, segment_of
from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.entries import Entry
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import (
    PASSES_GATE,
    Event,
    EventTable,
    Filters,
    FrigateDatabase,
    RefusedRowError,
    event_of,
    read_rows,
)
from frigate_s3_mirror.folders import DiskFolder
from frigate_s3_mirror.keys import metadata_document, object_metadata
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_thread import LedgerThread
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError
from frigate_s3_mirror.scan import FrigateScan
from frigate_s3_mirror.sources import DiskPictures

NOW = 1_795_455_533.0
COLUMNS = ("id", "camera", "label", "sub_label", "start_time", "end_time", "has_snapshot", "zones", "data", "top_score")
ESSENTIAL = ("id", "camera", "start_time")
GOOD = 20
DEEP = "[" * 100_000 + "]" * 100_000
ODD = [
    None, "", "x", "\x00", "a\x00b", "caf\udce9", "..", "../../etc", "\x1b[2J\n", 0, -1, 1, 1e300, -1e18, 3e11, -7e10, 1703000000123.5,
    math.inf, -math.inf, 2**62, b"", b"\xff\xfe\x00", b"1795455533.5", "1795455533.5", "9e999", "nan", "Infinity", "2026-11-25 10:00:00",
    "x" * 5000, DEEP, '{"a":' * 5000 + "1" + "}" * 5000, '{"top_score": ' + "9" * 400 + "}", '{"top_score": 1e999, "score": NaN}',
    '["\\ud800", "yard"]', '"\\ud800"', '{"type": ["api"]}', '{"type": {"api": 1}}', "[1, [2], null, true]", "{}", "[]", "{broken", "true",
]  # fmt: skip
"""Values that no column should have; the last ones are JSON of other shapes than Frigate's."""


def insert(connection: sqlite3.Connection, values: Sequence[object]) -> None:
    marks = []
    bound: list[object] = []
    for value in values:
        marks.append("CAST(? AS TEXT)" if isinstance(value, str) else "?")
        bound.append(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value)
    connection.execute(f"INSERT INTO event ({', '.join(COLUMNS)}) VALUES ({', '.join(marks)})", bound)  # noqa: S608


def good_row(number: int) -> list[object]:
    start = NOW - 100 * number
    zones, data = '["yard"]', '{"type": "object", "top_score": 0.9}'
    return [f"{start}-good{number:02}", "yard", "person", None, start, start + 5, 1, zones, data, None]


AFFINITIES = ("DATETIME", "REAL", "TEXT", "BLOB", "")


@contextmanager
def frigate_with(rows: Sequence[Sequence[object]], affinity: str = "DATETIME") -> Iterator[Mirror]:
    """A Frigate of a real database and real files, with a mirror's discovery and a ledger."""
    with tempfile.TemporaryDirectory(prefix="odd-rows-") as folder:
        root = Path(folder)
        (root / "clips").mkdir()
        columns = ", ".join(
            f"{name} {affinity if name in {'start_time', 'end_time'} else 'BLOB'}" for name in COLUMNS if name != "id"
        )
        with closing(sqlite3.connect(root / "frigate.db")) as connection:
            connection.execute(f"CREATE TABLE event (id, {columns})")
            connection.execute("CREATE INDEX event_start ON event (start_time DESC, end_time DESC)")
            for row in rows:
                insert(connection, row)
            connection.commit()
        for row in rows:
            if isinstance(row[0], str) and "good" in row[0]:
                (root / "clips" / f"{row[1]}-{row[0]}.jpg").write_bytes(b"\xff\xd8 picture")
        mirror = Mirror(root)
        try:
            yield mirror
        finally:
            mirror.close()


class Mirror:
    """Discovery over real files, one call after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        environ = {"S3_BUCKET": "bucket", "FRIGATE_DB_PATH": str(root / "frigate.db"), "FRIGATE_CLIPS_DIR": str(root / "clips"),
                   "S3_ARTIFACTS": "snapshot", "S3_KEY_TEMPLATE": "{prefix}/{label}/{camera}/{date}/{event_id}"}  # fmt: skip
        chosen = load(environ).settings
        self.ledger = Ledger(root / "ledger.db")
        self.ledger.open()
        clock = SystemClock()
        self.calls = LedgerThread(self.ledger, clock)
        self.scan = FrigateScan(self.ledger.path, chosen.db_path, Filters(), chosen.picture_kinds)
        database = FrigateDatabase(chosen.db_path, Filters())
        pictures = DiskPictures(chosen.clips_dir)
        folder = DiskFolder(chosen.clips_dir)
        self.discovery = Discovery(chosen, database, self.scan, self.record, pictures, folder, clock, self.calls)

    async def record(self, entries: Sequence[Entry], urgent: bool) -> int:
        taken = await self.calls.call(self.ledger.record, entries, NOW)
        return len(taken)

    def look(self, how: Callable[[Discovery], Awaitable[object]]) -> None:
        asyncio.run(how(self.discovery))  # type: ignore[arg-type]

    def scan_all(self) -> None:
        self.look(lambda discovery: discovery.scan_all(in_thread))

    def states(self) -> dict[str, str]:
        return dict(self.ledger.connection.execute("SELECT event_id, state FROM object").fetchall())

    def change(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.root / "frigate.db")) as connection:
            connection.execute(sql, values)
            connection.commit()

    def close(self) -> None:
        self.scan.close()
        self.discovery.database.close()
        self.calls.close()
        self.ledger.close()


async def in_thread(function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


async def scan_recent(discovery: Discovery) -> object:
    discovery.clock = AtNow()
    return await discovery.scan_recent(in_thread)


class AtNow(SystemClock):
    """The moment after the last good event, so that all of them are recent."""

    def now(self) -> float:
        return NOW - 1400  # scan_recent looks ten minutes further back


def poisoned(column: str, value: object) -> list[list[object]]:
    """One odd row in the middle of twenty good ones."""
    rows = [good_row(number) for number in range(GOOD)]
    odd = good_row(GOOD // 2)
    odd[0] = f"{odd[4]}-oddone"
    odd[COLUMNS.index(column)] = value
    return [*rows[: GOOD // 2], odd, *rows[GOOD // 2 :]]


odd_values = (
    st.sampled_from(ODD)
    | st.floats()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=40)
    | st.text(max_size=40)
)


@given(st.sampled_from(COLUMNS), odd_values, st.sampled_from(AFFINITIES), st.sampled_from(["in full", "recent"]))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_twenty_good_rows_are_recorded_whatever_the_odd_one_holds(
    column: str, value: object, affinity: str, how: str
) -> None:
    """In each column, of each affinity, by both scans; the walk over the pages comes to its end."""
    if isinstance(value, str) and any("\ud800" <= letter <= "\udc7f" or letter > "\udcff" for letter in value):
        value = value.encode("utf-8", "backslashreplace").decode()  # SQLite cannot be given these
    with frigate_with(poisoned(column, value), affinity) as mirror:
        if how == "recent":
            mirror.look(scan_recent)
        else:
            mirror.scan_all()
        states = mirror.states()
        good = {event_id: state for event_id, state in states.items() if "good" in event_id}
        assert set(good.values()) == {"pending"}
        assert len(good) == GOOD
        assert all(event_id.isprintable() for event_id in states)
        mirror.scan.proof(0.0)
        mirror.scan_all()
        assert mirror.discovery.problem is None
        assert mirror.discovery.unforeseen == 0


NO_NAMES = [None, "", "..", "../../etc", "a\x00b", "caf\udce9", "\x1b[2J\n", "x" * 5000, b"", b"\xff\xfe\x00"]
NO_TIMES = [None, "", "soon", "9e999", "nan", b"1", DEEP, 1e300, -1e18, 3e11, -7e10, 1703000000123.5, math.inf, -math.inf, 2**62]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [("start_time", value) for value in NO_TIMES] + [(name, value) for name in ("id", "camera") for value in NO_NAMES],
)
def test_an_essential_value_that_is_none_is_a_refusal_with_a_reason(column: str, value: object) -> None:
    """Recorded as failed without a key, so that it shows under Problems; the proof does not call all well."""
    with frigate_with(poisoned(column, value)) as mirror:
        mirror.scan_all()
        (problem,) = mirror.ledger.problems(State.FAILED)
        assert "refused" in (problem.error or "")
        assert problem.event_id
        assert len(problem.event_id) <= 100
        row = mirror.ledger.connection.execute("SELECT key, source FROM object WHERE state = 'failed'").fetchone()
        assert row == (None, None)
        mirror.ledger.connection.execute("UPDATE object SET state = 'uploaded' WHERE state = 'pending'")
        if value is not None or column != "start_time":  # no time, no window of time
            assert mirror.scan.proof(float("-inf")).missing == 1


@pytest.mark.parametrize(
    "column", [column for column in COLUMNS if column not in ESSENTIAL and column != "has_snapshot"]
)
@pytest.mark.parametrize("value", ODD)
def test_an_odd_optional_value_never_keeps_a_picture_from_the_bucket(column: str, value: object) -> None:
    """It counts as absent or is escaped; key, metadata and document can be made of it."""
    row = good_row(3)
    row[COLUMNS.index(column)] = value
    event = event_of(row)
    assert Event.from_json(event.to_json()) == event
    assert event.to_json().encode()
    assert metadata_document(event).decode()
    sent = object_metadata(event, "0" * 64)
    assert sum(len(name) + len(text) for name, text in sent.items()) < 2048
    assert all(text.isascii() and text.isprintable() for text in sent.values())
    assert event.end_time is None if column == "end_time" and value is None else event.end_time is not None


def test_a_mended_row_goes_as_if_nothing_had_been() -> None:
    """Refused entries are judged anew at each full scan; those of rows that are gone go, too."""
    with frigate_with(poisoned("start_time", 3e11)) as mirror:
        odd = f"{NOW - 1000}-oddone"
        mirror.scan_all()
        assert mirror.states()[odd] == "failed"
        (mirror.root / "clips" / f"yard-{odd}.jpg").write_bytes(b"x")
        mirror.change("UPDATE event SET start_time = ? WHERE id = ?", NOW - 1000, odd)
        mirror.scan_all()
        assert mirror.states()[odd] == "pending"
    with frigate_with(poisoned("id", "caf\udce9")) as mirror:
        mirror.scan_all()
        mirror.scan_all()
        assert mirror.states()["caf\\udce9"] == "failed"
        mirror.change("DELETE FROM event WHERE id = CAST(? AS TEXT)", b"caf\xe9")
        mirror.scan_all()
        assert len(mirror.states()) == GOOD


def test_a_refusal_is_recorded_once() -> None:
    """What is recorded is told; a scan that meets the same again records nothing."""
    for column, value in (("start_time", 3e11), ("id", b"\xff\xff"), ("camera", None), ("start_time", "soon")):
        with frigate_with(poisoned(column, value)) as mirror:
            counts = []
            for _ in range(3):
                mirror.scan_all()
                counts.append(len(mirror.states()))
                first = mirror.ledger.connection.execute("SELECT max(id) FROM object").fetchone()
            assert counts == [GOOD + 1] * 3
            assert first == (GOOD + 1,)


def test_what_nobody_thought_of_stops_one_event_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The outermost guard of each event: told once, counted, and looked at again."""
    with frigate_with([good_row(number) for number in range(GOOD)]) as mirror:
        bad = str(good_row(7)[0])
        find = DiskPictures.find

        def broken(self: DiskPictures, event: Event, kind: Any) -> Any:
            if event.id == bad:
                raise ZeroDivisionError
            return find(self, event, kind)

        monkeypatch.setattr(DiskPictures, "find", broken)
        mirror.scan_all()
        mirror.scan_all()
        assert len(mirror.states()) == GOOD - 1
        assert mirror.discovery.unforeseen == 2
        assert sum("could not be judged" in record.message for record in caplog.records) == 1
        monkeypatch.undo()
        mirror.scan_all()
        assert len(mirror.states()) == GOOD


@pytest.mark.parametrize("affinity", AFFINITIES)
def test_the_pages_are_walked_to_their_end(affinity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However odd starts sort: text after numbers, NULL before them, many alike."""
    monkeypatch.setattr("frigate_s3_mirror.scan.PAGE_ROWS", 7)
    rows = [good_row(number) for number in range(60)]
    for number in range(10, 30):
        rows[number][4] = NOW - 2000  # more alike than a page holds
    odd = [[f"{NOW}-odd{n:03}", *good_row(n)[1:4], value, *good_row(n)[5:]] for n, value in enumerate(ODD)]
    with frigate_with([*rows, *odd], affinity) as mirror:
        mirror.scan_all()
        good = [state for event_id, state in mirror.states().items() if "good" in event_id]
        assert good == ["pending"] * 60
        assert mirror.discovery.problem is None


types = st.sampled_from(['"api"', '"audio"', '"object"', '"API"', '"manual"', "null", "1", "[]", '["api"]', '{"api": 1}', '"\\u0061pi"'])  # fmt: skip


@given(types | st.none(), st.sampled_from([0, 1, None, "1", 2]), st.sampled_from([None, 5.0]))
@settings(max_examples=60, deadline=None)
def test_sql_and_python_agree_on_what_may_have_a_file(kind: str | None, flag: object, end: float | None) -> None:
    """Manual events are those of the API and of sounds, in both languages."""
    data = None if kind is None else f'{{"type": {kind}}}'
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE event ({', '.join(COLUMNS)})")
        insert(connection, ["1.5-abcdef", "yard", "car", None, 1.0, end, flag, None, data, None])
        table = EventTable.of(connection)
        row = connection.execute(
            f"SELECT {table.columns}, {table.is_manual}, {table.may_have_file} FROM event e"  # noqa: S608
        ).fetchone()
        event = event_of(row)
        assert bool(row[-2]) == event.is_manual
        may = event.has_snapshot or event.end_time is None or event.is_manual
        assert bool(row[-1]) == may or (flag == "1" and bool(row[-1]) <= may)


@given(odd_values, odd_values, odd_values)
@settings(max_examples=150, deadline=None)
def test_sql_lets_nothing_through_that_the_gate_refuses(event_id: object, camera: object, start: object) -> None:
    """Clips ask in SQL alone."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = untrusted.decoded
        connection.execute(f"CREATE TABLE event ({', '.join(COLUMNS)})")
        for values in ((event_id, "yard", NOW), ("1.5-abcdef", camera, NOW), ("1.5-abcdef", "yard", start), (event_id, camera, start)):  # fmt: skip
            try:
                insert(connection, [*values[:2], "car", None, values[2], 5.0, 1, None, None, None])
            except UnicodeEncodeError:
                continue
        table = EventTable.of(connection)
        rows = connection.execute(f"SELECT {table.columns} FROM event e WHERE {PASSES_GATE}").fetchall()  # noqa: S608
        assert read_rows(rows).refused == []


@given(odd_values, odd_values, odd_values)
@settings(max_examples=150, deadline=None)
def test_a_recordings_row_is_a_segment_or_a_reason(path: object, start: object, end: object) -> None:
    for row in (
        (path, start, end),
        ("2026-11-24/02/yard/27.51.mp4", start, end),
        ("2026-11-24/02/yard/27.51.mp4", 1.0, end),
    ):
        segment, reason = None, ""
        try:
            segment = segment_of(row)
        except RefusedValueError as error:
            reason = str(error)
        assert reason.isprintable()
        assert bool(reason) == (segment is None)
        assert segment is None or 0 <= segment.end_time - segment.start_time <= 600


@pytest.mark.parametrize("column", ["path", "start_time", "end_time", "camera"])
@pytest.mark.parametrize("value", ODD)
def test_one_odd_recording_or_event_leaves_the_other_segments(column: str, value: object, tmp_path: Path) -> None:
    """Twenty good segments beside one odd one, and beside an event that is refused."""
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.open()
    frigate = tmp_path / "frigate.db"
    with closing(sqlite3.connect(frigate)) as connection:
        connection.execute(f"CREATE TABLE event ({', '.join(COLUMNS)})")
        connection.execute("CREATE TABLE recordings (id, camera, path, start_time, end_time)")
        insert(connection, [f"{NOW}-abcdef", "yard", "car", None, NOW, NOW + 200, 1, None, None, None])
        odd: list[object] = [f"{NOW}-oddone", "yard", "car", None, NOW, NOW + 200, 1, None, None, None]
        odd[COLUMNS.index(column if column != "path" else "id")] = value
        insert(connection, odd)
        for n in range(21):
            row = {"camera": "yard", "path": f"2026-11-24/02/yard/{n:02}.51.mp4", "start_time": NOW + 10 * n, "end_time": NOW + 10 * n + 9}  # fmt: skip
            if n == 10:
                row[column] = value
            given = [v.encode("utf-8", "surrogateescape") if isinstance(v, str) else v for v in row.values()]
            marks = ", ".join("CAST(? AS TEXT)" if isinstance(v, str) else "?" for v in row.values())
            connection.execute(
                f"INSERT INTO recordings (id, camera, path, start_time, end_time) VALUES ({n}, {marks})",  # noqa: S608
                given,
            )
        connection.commit()
    environ = {"S3_BUCKET": "b-b", "S3_ARTIFACTS": "snapshot,clip", "FRIGATE_DB_PATH": str(frigate)}
    scan = ClipScan(ledger.path, frigate, load(environ).settings)
    entries = [
        entry for entry in scan.missing(float("-inf"), float("inf"), NOW + 1000) if entry.event.id == f"{NOW}-abcdef"
    ]
    assert sum(entry.state is State.PENDING for entry in entries) >= 20
    assert scan.unforeseen == 0
    ledger.record(entries, NOW)
    scan.finished(float("-inf"), float("inf"), NOW + 1000)
    scan.mended()
    scan.newest()
    scan.close()
    ledger.close()


def test_the_reason_names_what_is_wrong() -> None:
    with pytest.raises(RefusedRowError, match=r"start_time: '1703000000123\.5' is no time in unix seconds") as caught:
        event_of(["1.5-abcdef", "yard", "car", None, 1703000000123.5, 5.0, 1, None, None, None])
    assert caught.value.stand_in.id == "1.5-abcdef"
