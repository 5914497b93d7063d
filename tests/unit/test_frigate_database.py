"""The gate of Frigate's rows, and its database file, to the letter."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from frigate_s3_mirror import events as module
from frigate_s3_mirror.events import (
    PASSES_GATE,
    Event,
    EventTable,
    FileName,
    Filters,
    FrigateDatabase,
    FrigateError,
    RefusedRowError,
    database_uri,
    event_of,
    parse_file_name,
    read_rows,
    unreadable,
)
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

ID = "1705329022.5-abc123"
ROW = (ID, "yard", "car", "Mimi", 5.0, 9.0, 1, '["a", "b"]', '{"type": "object", "top_score": 0.5}', 0.25)


def row(**more: object) -> tuple[Any, ...]:
    names = ("id", "camera", "label", "sub_label", "start_time", "end_time", "has_snapshot", "zones", "data", "top_score")  # fmt: skip
    return tuple(more.get(name, value) for name, value in zip(names, ROW, strict=True))


def test_a_row_of_frigates_is_its_event() -> None:
    assert event_of(ROW) == Event(ID, "yard", "car", "Mimi", 5.0, 9.0, True, ("a", "b"), 0.5, False)


@pytest.mark.parametrize(
    ("column", "value", "field", "expected"),
    [
        ("label", None, "label", ""), ("label", b"", "label", ""), ("label", b"dog", "label", "dog"), ("label", 7, "label", "7"),
        ("sub_label", None, "sub_label", None), ("sub_label", "", "sub_label", None), ("sub_label", b"", "sub_label", None), ("sub_label", ["a"], "sub_label", "['a']"),
        ("end_time", None, "end_time", None), ("end_time", "soon", "end_time", 5.0), ("end_time", 0, "end_time", 0.0), ("end_time", "9.5", "end_time", 9.5),
        ("has_snapshot", 0, "has_snapshot", False), ("has_snapshot", "1", "has_snapshot", True), ("has_snapshot", 2, "has_snapshot", False), ("has_snapshot", None, "has_snapshot", False),
        ("zones", None, "zones", ()), ("zones", "{}", "zones", ()), ("zones", '["a", 1, 2.5, null, ["b"], {}]', "zones", ("a", "1", "2.5")), ("zones", b'["a"]', "zones", ("a",)),
        ("zones", json.dumps(list("x" * 150)), "zones", ("x",) * 100), ("zones", "", "zones", ()), ("zones", 7, "zones", ()),
        ("data", None, "score", 0.25), ("data", '{"score": 0.75}', "score", 0.75), ("data", '{"top_score": 0, "score": 0.75}', "score", 0.75), ("data", "[1]", "score", 0.25),
        ("data", '{"top_score": "0.9"}', "score", 0.25), ("data", '{"top_score": 0.123456}', "score", 0.1235), ("data", "{", "score", 0.25), ("data", '{"top_score": 1e999}', "score", 0.25),
        ("data", '{"type": "api"}', "is_manual", True), ("data", '{"type": "audio"}', "is_manual", True), ("data", '{"type": "object"}', "is_manual", False), ("data", b'{"type": "api"}', "is_manual", True),
    ],
)  # fmt: skip
def test_what_is_odd_beside_the_name_keeps_no_picture_away(column: str, value: object, field: str, expected: object) -> None:  # fmt: skip
    """It is absent, escaped, or taken from elsewhere."""
    assert getattr(event_of(row(**{column: value})), field) == expected


def test_a_score_that_nobody_knows() -> None:
    assert event_of(row(data=None, top_score=None)).score is None
    assert event_of(row(data=None, top_score=0)).score is None


@pytest.mark.parametrize(
    ("column", "value", "is_taken"),
    [
        ("id", ID, True), ("id", "a" * 100, True), ("id", "a" * 101, False), ("id", "_.-a", True), ("id", ".a", False), ("id", "-a", True), ("id", "a/b", False), ("id", "", False),
        ("id", "a\0b", False), ("id", "é", False), ("camera", "a_B-9", True), ("camera", "a.b", False), ("camera", "", False), ("camera", "a" * 200, True), ("camera", "a" * 201, False),
        ("camera", "a/../b", False), ("camera", "a\0", False), ("camera", None, False), ("id", None, False), ("start_time", None, False), ("start_time", -86400.0, True),
        ("start_time", -86401.0, False), ("start_time", 253370764799.0, True), ("start_time", 253370764800.0, False), ("start_time", 5, True), ("start_time", float("inf"), False),
    ],
)  # fmt: skip
def test_the_gate_is_the_same_in_python_and_in_sql(column: str, value: object, is_taken: bool) -> None:
    """What SQL lets through is taken for certain, and the other way round for what SQLite stores as it is."""
    try:
        event_of(row(**{column: value}))
    except RefusedRowError:
        taken = False
    else:
        taken = True
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE event (id, camera, start_time)")
        found = row(**{column: value})
        connection.execute("INSERT INTO event VALUES (?, ?, ?)", (found[0], found[1], found[4]))
        passes = connection.execute(f"SELECT {PASSES_GATE} FROM event e").fetchone()[0]  # noqa: S608
    assert (taken, passes) == (is_taken, int(is_taken))


def test_values_of_other_types_do_not_pass_in_sql() -> None:
    """Text that spells a number, bytes, numbers for names: Python looks at them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE event (id, camera, start_time)")
        for values in ((ID, "yard", "5.0"), (b"abc", "yard", 5.0), (7, "yard", 5.0), (ID, b"yard", 5.0), (ID, 7, 5.0), (ID, "yard", b"5")):  # fmt: skip
            connection.execute("INSERT INTO event VALUES (?, ?, ?)", values)
        assert connection.execute(f"SELECT count(*) FROM event e WHERE {PASSES_GATE}").fetchone() == (0,)  # noqa: S608


def refused(**more: object) -> RefusedRowError:
    with pytest.raises(RefusedRowError) as told:
        event_of(row(**more))
    return told.value


def test_a_refusal_says_why_and_what_can_be_shown() -> None:
    """The id above all, and a time to sort it by."""
    assert str(refused(camera=None)) == "Its row in Frigate's database is refused (camera: 'None' is no text)."
    assert str(refused(id=None)).startswith("Its row in Frigate's database is refused (id: ")
    assert str(refused(start_time="x")) == "Its row in Frigate's database is refused (start_time: 'x' is no number)."
    assert str(refused(camera="a/b")) == f"Its camera 'a/b' or id '{ID}' is no name of Frigate's; refused."
    assert refused(camera="a/b", label="dog").stand_in == Event(ID, "a/b", "dog", None, 5.0, None, False, (), None, False)  # fmt: skip
    assert refused(start_time="x").stand_in.start_time == 1705329022.5
    assert refused(start_time="x", id="odd").stand_in.start_time == 0.0
    for nothing in (None, "", b""):
        assert refused(id=nothing).stand_in.id == "(no id)"
    assert refused(camera="\x1b" * 200).stand_in.camera.isprintable()
    assert len(refused(camera="\x1b" * 200).stand_in.camera) == 100


def test_no_row_takes_others_along() -> None:
    found = read_rows([ROW, row(id=None), row(id="b")])
    assert [event.id for event in found] == [ID, "b"]
    assert (len(found), len(found.refused)) == (2, 1)


@pytest.mark.parametrize(
    ("camera", "event_id", "is_safe"),
    [("yard", ID, True), ("a/b", ID, False), ("", ID, False), ("yard", "../x", False), ("yard", ".x", False), ("yard", "a" * 101, False)],
)  # fmt: skip
def test_names_that_may_be_part_of_a_path(camera: str, event_id: str, is_safe: bool) -> None:
    event = Event(event_id, camera, "", None, 0.0, None, True, (), None, False)
    assert event.is_named_safely is is_safe


def test_the_ledgers_json_is_gated_field_by_field() -> None:
    good = json.loads(event_of(ROW).to_json())
    for name, value in (("zones", "a"), ("zones", {"a": 1}), ("has_snapshot", "yes"), ("is_manual", None), ("score", "x"), ("end_time", "x"), ("sub_label", []), ("label", None), ("camera", None), ("zones", [None])):  # fmt: skip
        with pytest.raises(RefusedValueError):
            Event.from_json(json.dumps(good | {name: value}))
    assert Event.from_json(json.dumps(good | {"zones": None})).zones == ()
    assert Event.from_json(json.dumps(good | {"score": None, "end_time": None, "sub_label": None})).score is None
    assert event_of(ROW).to_json().startswith('{"id":"1705329022.5-abc123","camera":"yard"')
    assert "é" in event_of(row(label="é")).to_json()


def test_file_names() -> None:
    assert parse_file_name(f"a-b-{ID}-clean.png") == FileName("a-b", ID, is_clean=True, ending="png")
    assert parse_file_name(f"yard-{ID}.jpg") == FileName("yard", ID, is_clean=False, ending="jpg")


FILTERS = [
    (("yard",), (), True), (("door",), (), False), (("!yard",), (), False), (("!door",), (), True), (("y*", "!yard"), (), False), (("door", "yard"), (), True),
    ((), ("car",), True), ((), ("dog",), False), (("yard",), ("!car",), False), (("yard",), ("!dog", "!cat"), True), (("!door", "!yard"), (), False), (("!door", "!side"), ("c*",), True),
]  # fmt: skip


@pytest.mark.parametrize(("cameras", "labels", "wants"), FILTERS)
def test_filters_say_the_same_in_python_and_in_sql(cameras: tuple[str, ...], labels: tuple[str, ...], wants: bool) -> None:  # fmt: skip
    filters = Filters(cameras, labels)
    assert filters.wants(event_of(ROW)) is wants
    condition, parameters = filters.sql()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE event (camera, label)")
        connection.execute("INSERT INTO event VALUES ('yard', 'car')")
        sql = f"SELECT count(*) FROM event e WHERE {condition}"  # noqa: S608
        assert connection.execute(sql, parameters).fetchone() == (int(wants),)


COLUMNS = "id TEXT, camera, label, sub_label, start_time, end_time, has_snapshot, zones, data, top_score, thumbnail"


def database(path: Path, rows: list[dict[str, object]], columns: str = COLUMNS) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE event ({columns})")
        for values in rows:
            connection.execute(
                f"INSERT INTO event ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608
                list(values.values()),
            )
        connection.commit()
    return path


def plain(number: int, **more: object) -> dict[str, object]:
    return {"id": str(number), "camera": "yard", "label": "car", "start_time": float(number), "end_time": None, "has_snapshot": 1, **more}  # fmt: skip


def test_which_rows_may_have_a_file(tmp_path: Path) -> None:
    """Flagged, running, or manual; whatever stands in `data`."""
    odd = ["{", "[]", "null", "7", '{"type": 7}', '{"type": "object"}', None, b'{"type": "api"}', 5]
    rows = [
        plain(1), plain(2, has_snapshot=0), plain(3, has_snapshot=0, end_time=4.0), plain(4, end_time=5.0),
        plain(5, has_snapshot=0, end_time=6.0, data='{"type": "api"}'), plain(6, has_snapshot=0, end_time=7.0, data='{"type": "audio"}'),
        *(plain(10 + n, has_snapshot=0, end_time=1.0, data=data) for n, data in enumerate(odd)),
    ]  # fmt: skip
    with closing(sqlite3.connect(database(tmp_path / "f.db", rows))) as connection:
        table = EventTable.of(connection)
        assert table.has_data
        sql = f"SELECT id FROM event e WHERE {table.may_have_file} ORDER BY start_time"  # noqa: S608
        assert [row[0] for row in connection.execute(sql)] == ["1", "2", "4", "5", "6"]
    least = "id, camera, label, start_time, end_time, has_snapshot"
    with closing(sqlite3.connect(database(tmp_path / "old.db", rows[:3], least))) as connection:
        table = EventTable.of(connection)
        assert table.columns == "e.id, e.camera, e.label, NULL, e.start_time, e.end_time, e.has_snapshot, NULL, NULL, NULL"  # fmt: skip
        sql = f"SELECT id FROM event e WHERE {table.may_have_file} ORDER BY start_time"  # noqa: S608
        assert [row[0] for row in connection.execute(sql)] == ["1", "2"]


def test_a_table_that_is_not_frigates(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        with pytest.raises(FrigateError, match="is not a Frigate database: it has no table 'event'"):
            EventTable.of(connection)
        connection.execute("CREATE TABLE event (id, label, start_time, has_snapshot)")
        with pytest.raises(FrigateError, match="it has no column 'camera' in its table 'event'"):
            EventTable.of(connection)


def test_single_events_out_of_the_database(tmp_path: Path) -> None:
    """Those that the filters want and that are events; more than one page of them."""
    rows = [plain(n) for n in range(1200)] + [plain(5000, camera="door"), plain(5001, camera="a/b")]
    reader = FrigateDatabase(database(tmp_path / "f.db", rows), Filters(("yard", "a/b")))
    assert len(reader.events([str(n) for n in range(6000)])) == 1200
    assert [event.id for event in reader.events(["500", "499"])] == ["499", "500"]
    for other in ("5000", "5001", "9999"):
        assert reader.event(other) is None
    found = reader.event("7")
    assert found is not None
    assert found.start_time == 7.0
    reader.close()
    reader.close()


def test_all_columns_are_read(tmp_path: Path) -> None:
    """By their names in Frigate's table."""
    names = ("id", "camera", "label", "sub_label", "start_time", "end_time", "has_snapshot", "zones", "data", "top_score")  # fmt: skip
    reader = FrigateDatabase(database(tmp_path / "f.db", [dict(zip(names, row(data=None), strict=True))]), Filters())
    assert reader.event(ID) == Event(ID, "yard", "car", "Mimi", 5.0, 9.0, True, ("a", "b"), 0.25, False)
    reader.close()


def test_events_in_progress(tmp_path: Path) -> None:
    """Begun since then, not ended, with a snapshot, wanted."""
    rows = [plain(1), plain(2), plain(3, end_time=4.0), plain(4, has_snapshot=0), plain(5, camera="door"), plain(6)]
    reader = FrigateDatabase(database(tmp_path / "f.db", rows), Filters(("yard",)))
    assert [event.id for event in reader.running(2.0)] == ["2", "6"]
    reader.close()


def test_the_thumbnail_in_the_row(tmp_path: Path) -> None:
    """Where the version has one."""
    rows = [plain(1, thumbnail="abc"), plain(2, thumbnail=""), plain(3, thumbnail=b"x"), plain(4)]
    reader = FrigateDatabase(database(tmp_path / "f.db", rows), Filters())
    assert [reader.inline_thumbnail(str(n)) for n in range(6)] == [None, "abc", None, None, None, None]
    reader.close()
    least = "id, camera, label, start_time, end_time, has_snapshot"
    reader = FrigateDatabase(database(tmp_path / "new.db", [plain(1)], least), Filters())
    assert reader.inline_thumbnail("1") is None
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        connection.execute("DROP TABLE event")
    with pytest.raises(FrigateError, match="cannot be read"):
        reader.inline_thumbnail("1")
    reader.close()


def test_how_the_file_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Immutable only where nothing else works and nothing stale can be shown."""
    path = database(tmp_path / "a b.db", [])
    plain_uri = f"file:{tmp_path}/a%20b.db?mode=ro"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert database_uri(path) == plain_uri  # no WAL
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    assert database_uri(path) == plain_uri + "&immutable=1"
    (tmp_path / "a b.db-wal").touch()
    assert database_uri(path) == plain_uri
    advice = "Its -wal was left behind without its -shm"
    assert advice in str(unreadable(path, sqlite3.OperationalError("told")))
    assert str(unreadable(path, sqlite3.OperationalError("told"))).startswith(f"Frigate's database {path} cannot be read (told)")  # fmt: skip
    (tmp_path / "a b.db-shm").touch()
    assert advice not in str(unreadable(path, sqlite3.OperationalError("told")))
    (tmp_path / "a b.db-shm").unlink()
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert advice not in str(unreadable(path, sqlite3.OperationalError("told")))
    (tmp_path / "a b.db-wal").unlink()
    assert database_uri(path) == plain_uri
    assert not module._is_wal(tmp_path / "none")


def test_a_reader_that_broke_opens_anew(tmp_path: Path) -> None:
    """Its file is gone for a while, then another one lies there."""
    path = database(tmp_path / "f.db", [plain(1)])
    reader = FrigateDatabase(path, Filters())
    assert reader.event("1") is not None
    path.unlink()
    with pytest.raises(FrigateError, match="No such file"):
        reader.event("1")
    database(path, [plain(2)])
    assert reader.event("2") is not None
    assert reader.identity() == (path.stat().st_dev, path.stat().st_ino)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(FrigateError, match="cannot be read"):
        FrigateDatabase(path, Filters()).open()
    reader.close()
