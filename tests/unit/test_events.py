"""Frigate's rows and file names, in all the forms its versions have."""

from __future__ import annotations

import json
import math
import sqlite3
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.events import Event, Filters, FrigateDatabase, FrigateError, event_of, parse_file_name
from frigate_s3_mirror.runtime import untrusted
from frigate_s3_mirror.runtime.untrusted import RefusedValueError

cameras = st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True)
event_ids = st.from_regex(r"[0-9]{9,10}(\.[0-9]{1,6})?-[a-z0-9]{6}", fullmatch=True)


@given(cameras, event_ids, st.sampled_from(["", "-clean"]), st.sampled_from(["jpg", "png", "webp"]))
def test_file_names_are_read_from_their_right_end(camera: str, event_id: str, clean: str, ending: str) -> None:
    """Hyphens in a camera's name do not confuse the id, unless the name itself ends like an id."""
    parts = parse_file_name(f"{camera}-{event_id}{clean}.{ending}")
    assert parts is not None
    assert parts.event_id == event_id
    assert parts.camera == camera
    assert (parts.is_clean, parts.ending) == (bool(clean), ending)


@pytest.mark.parametrize(
    "name", ["", "a.jpg", "cam-123-abcdef.gif", "cam-123-ABCDEF.jpg", "../x-1.0-abcdef.jpg", ".s3_x"]
)
def test_other_names_are_nobodys(name: str) -> None:
    """What is not Frigate's naming is not guessed at."""
    assert parse_file_name(name) is None


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=80)
times = st.floats(untrusted.EARLIEST_TIME, untrusted.LATEST_TIME, exclude_max=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
events = st.builds(
    Event, id=texts, camera=texts, label=texts, sub_label=texts | st.none(), start_time=times, end_time=times | st.none(),
    has_snapshot=st.booleans(), zones=st.lists(texts).map(tuple), score=finite | st.none(), is_manual=st.booleans(),
)  # fmt: skip


@given(events)
def test_an_event_survives_the_ledgers_json(event: Event) -> None:
    """What the gate lets in comes out of the ledger alike, and its fields bear their names."""
    assert Event.from_json(event.to_json()) == event
    assert list(json.loads(event.to_json())) == [field.name for field in fields(Event)]


@given(events, st.dictionaries(texts.map("x-{}".format), st.integers()))
def test_an_event_of_another_version_is_read(event: Event, more: dict[str, int]) -> None:
    """Values in order, which older ones wrote; names that only newer ones know; and what is lacking takes its default."""
    named = json.loads(event.to_json())
    assert Event.from_json(json.dumps(list(named.values()))) == event
    assert Event.from_json(json.dumps(named | more)) == event
    least = {name: named[name] for name in ("id", "camera", "start_time")}
    expected = Event(event.id, event.camera, "", None, event.start_time, None, True, (), None, False)
    assert Event.from_json(json.dumps(least)) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(events, st.sampled_from([field.name for field in fields(Event)]), json_values)
def test_an_event_of_nonsense_is_refused(event: Event, name: str, value: object) -> None:
    """One wrong field, or text that is no JSON: an event with fields of their types, or a refusal, and nothing else."""
    for text in (json.dumps(json.loads(event.to_json()) | {name: value}), json.dumps(value), event.to_json()[:-1]):
        try:
            found = Event.from_json(text)
        except RefusedValueError:
            continue
        assert math.isfinite(found.start_time + (found.end_time or 0.0) + (found.score or 0.0) * 0)
        assert all(isinstance(zone, str) for zone in (found.id, found.camera, found.label, *found.zones))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '{"id":"a"}', "[" * 100_000, '["a","b","c",null,1e999,null,true,[],null,false]'],
)
def test_text_that_is_no_event_is_refused(text: str) -> None:
    """Also what is nested too deeply, and what holds no finite time."""
    with pytest.raises(RefusedValueError):
        Event.from_json(text)


def test_odd_json_in_a_row_is_no_error() -> None:
    """Broken zones and data count as absent."""
    event = event_of(("1.5-abcdef", "cam", None, "", 1.0, None, 1, "{broken", "[1]", "x"))
    assert (event.zones, event.score, event.label, event.sub_label) == ((), None, "", None)


def table(path: Path, columns: str = "", rows: int = 1) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TABLE event (id TEXT PRIMARY KEY, camera, label, start_time, end_time, has_snapshot {columns})"
    )
    for n in range(rows):
        connection.execute(
            "INSERT INTO event (id, camera, label, start_time, end_time, has_snapshot) VALUES (?, ?, 'car', 1, 2, 1)",
            (f"{n}.5-abcdef", "yard" if n % 2 else "door"),
        )
    connection.commit()
    connection.close()
    return path


def test_columns_that_a_version_lacks_do_not_matter(tmp_path: Path) -> None:
    """No data, no zones, no sub_label: the event is read all the same."""
    database = FrigateDatabase(table(tmp_path / "f.db"), Filters())
    found = database.event("0.5-abcdef")
    assert found is not None
    assert (found.camera, found.zones, found.score) == ("door", (), None)
    database.close()


@pytest.mark.parametrize(
    ("cameras", "seen"), [((), 4), (("yard",), 2), (("!yard",), 2), (("d*", "!door"), 0), (("d*",), 2), (("[dy]*",), 4)]
)
def test_filters_are_globs_with_exclusion(tmp_path: Path, cameras: tuple[str, ...], seen: int) -> None:
    """Include lists, `!` leaves out."""
    database = FrigateDatabase(table(tmp_path / "f.db", rows=4), Filters(cameras))
    assert len(database.events([f"{n}.5-abcdef" for n in range(4)])) == seen
    database.close()


def test_a_foreign_database_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """The sentence names the file and the variable."""
    sqlite3.connect(tmp_path / "x.db").execute("CREATE TABLE t (a)").connection.close()
    with pytest.raises(FrigateError, match=r"is not a Frigate database.*FRIGATE_DB_PATH"):
        FrigateDatabase(tmp_path / "x.db", Filters()).open()


def test_a_missing_database_is_a_sentence(tmp_path: Path) -> None:
    """No traceback for a wrong path."""
    with pytest.raises(FrigateError, match=r"nowhere\.db cannot be read \(No such file"):
        FrigateDatabase(tmp_path / "nowhere.db", Filters()).open()


def test_a_replaced_database_is_opened_anew(tmp_path: Path) -> None:
    """After a restore the rows of the new file are seen."""
    database = FrigateDatabase(table(tmp_path / "f.db", rows=1), Filters())
    assert database.event("1.5-abcdef") is None
    table(tmp_path / "g.db", rows=2).replace(tmp_path / "f.db")
    assert database.event("1.5-abcdef") is not None
    database.close()
