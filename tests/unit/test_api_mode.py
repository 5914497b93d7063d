"""The parts of FRIGATE_SOURCE=api that decide: pages, rows, windows, and the copy that they fill."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_s3_mirror.api_expected import ExpectedRows, Seen
from frigate_s3_mirror.api_feed import ApiFeed
from frigate_s3_mirror.api_files import PICTURES, RECORDINGS, ApiPictures
from frigate_s3_mirror.api_login import LoginPause
from frigate_s3_mirror.api_pages import Page, covered_by
from frigate_s3_mirror.api_rows import event_row, recording_row, review_row
from frigate_s3_mirror.clip_windows import Span, spans
from frigate_s3_mirror.database_words import COPY_NAME
from frigate_s3_mirror.demo.simulated_api import FrigateHttp
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event, Filters, FrigateDatabase, FrigateError
from frigate_s3_mirror.frigate_api import Answer, ApiError, FrigateApi
from frigate_s3_mirror.frigate_copy import FrigateCopy
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.sources import Found, candidates

Row = dict[str, Any]


def row(number: int, start_time: float, **more: object) -> Row:
    return {
        "id": f"{start_time}-{number:06}", "camera": "yard", "label": "person", "sub_label": None, "start_time": start_time,
        "end_time": start_time + 5, "has_snapshot": True, "has_clip": True, "zones": [], "data": {"type": "object"}, **more,
    }  # fmt: skip


class FakeApi:
    """Lists events as Frigate does: newest first, begun strictly between two times, so many at most."""

    def __init__(self, rows: list[Row]) -> None:
        self.there = rows
        self.requests = 0

    def rows(self, _path: str, **query: Any) -> list[Row]:
        self.requests += 1
        assert self.requests < 500
        before, after = float(query.get("before", "inf")), float(query.get("after", "-inf"))
        found = [r for r in self.there if after < r["start_time"] < before]
        if query.get("in_progress"):
            found = [r for r in found if r["end_time"] is None]
        return sorted(found, key=lambda r: -float(r["start_time"]))[: int(query["limit"])]

    def row(self, path: str) -> Row | None:
        return next((r for r in self.there if path == f"events/{r['id']}"), None)


def feed_of(api: FakeApi, folder: Path) -> ApiFeed:
    copy = FrigateCopy(folder / COPY_NAME)
    copy.open()
    return ApiFeed(cast(FrigateApi, api), copy)


def ids(copy: FrigateCopy) -> set[str]:
    return {found[0] for found in copy.ask("SELECT id FROM event")}


TIMES = st.sampled_from([100.0, 100.5, 101.0, 101.000002, 200.25, 1795455533.500869])


@settings(max_examples=150, deadline=None)
@given(
    here=st.lists(TIMES, max_size=25), stale=st.lists(TIMES, max_size=8), limit=st.integers(1, 6),
    changes=st.lists(st.tuples(st.booleans(), TIMES, st.integers(0, 40)), max_size=12),
)  # fmt: skip
def test_a_full_pass_sees_all_and_forgets_only_what_is_gone(
    here: list[float], stale: list[float], limit: int, changes: list[tuple[bool, float, int]]
) -> None:
    """With many events that began at one time, and while others come and go between two pages."""
    api = FakeApi([row(n, time) for n, time in enumerate(here)])
    with tempfile.TemporaryDirectory() as folder:
        feed = feed_of(api, Path(folder))
        long_gone = [event_row(row(1000 + n, time)) for n, time in enumerate(stale)]
        feed.copy.put_events([event for event in long_gone if event is not None])
        throughout = {r["id"] for r in api.there}
        page: Page | None = Page(limit=limit)
        waiting = list(changes)
        while page is not None:
            _, page = feed.page(page)
            if waiting:
                comes, time, number = waiting.pop()
                if comes:
                    api.there.append(row(2000 + len(waiting), time))
                elif api.there:
                    gone = api.there.pop(number % len(api.there))
                    throughout.discard(gone["id"])
        assert throughout <= ids(feed.copy)
        assert not {event.id for event in long_gone if event is not None} & ids(feed.copy)
        feed.copy.close()


@settings(max_examples=60, deadline=None)
@given(here=st.lists(TIMES, min_size=1, max_size=30), limit=st.integers(1, 5))
def test_what_a_page_covers_it_names(here: list[float], limit: int) -> None:
    """No event lies in the covered range that the answer did not name."""
    api, page = FakeApi([row(n, time) for n, time in enumerate(here)]), Page(limit=limit)
    following: Page | None = page
    while following is not None:
        bound = {} if following.before is None else {"before": following.before}
        answer = api.rows("events", limit=following.limit, **bound)
        covered = covered_by(following, [r["start_time"] for r in answer], len(answer))
        inside = {r["id"] for r in api.there if covered.after < r["start_time"] < covered.before}
        assert inside <= {r["id"] for r in answer}
        following = covered.following


def test_a_row_that_cannot_be_understood_is_not_the_end() -> None:
    """Otherwise all older events would count as gone."""
    covered = covered_by(Page(limit=3), [5.0, 4.0], 3)
    assert covered.following is not None


def test_news_is_what_changed(tmp_path: Path) -> None:
    """Rows as before are none and write nothing; an end is, and so is what is listed as running no more."""
    running, ended = row(1, 100.0, end_time=None), row(2, 101.0)
    api = FakeApi([running, ended])
    feed = feed_of(api, tmp_path)
    reader = sqlite3.connect(feed.copy.path)
    assert feed.recent(600.0).ready == (ended["id"],)
    version = reader.execute("PRAGMA data_version").fetchone()
    assert not feed.recent(600.0).changed
    assert not feed.running().changed
    assert reader.execute("PRAGMA data_version").fetchone() == version
    reader.close()
    running["end_time"] = 130.0
    assert feed.running().gone == (running["id"],)
    assert feed.event(running["id"]) is Seen.ENDED
    api.there.remove(ended)
    assert feed.event(ended["id"]) is Seen.GONE
    assert ids(feed.copy) == {running["id"]}


def test_manual_events_are_ready_at_once(tmp_path: Path) -> None:
    """Their file is there before their row, whatever their end."""
    api = FakeApi([row(1, 100.0, end_time=None, data={"type": "api", "score": 70})])
    feed = feed_of(api, tmp_path)
    assert feed.running().ready == (api.there[0]["id"],)


def test_a_wrong_clock_leaves_no_gap(tmp_path: Path) -> None:
    """Frigate's clock is hours behind: what is new is measured by its newest event."""
    api = FakeApi([row(1, 10_000.0)])
    feed = feed_of(api, tmp_path)
    feed.page(Page())
    api.there.append(row(2, 10_005.0))
    assert feed.recent(90_000.0).ready == (api.there[1]["id"],)


def test_the_copy_reads_as_frigates_own(tmp_path: Path) -> None:
    """An event out of the copy equals the one out of Frigate's database, but for nothing."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.16") as frigate:
        made = [
            frigate.end_event(frigate.begin_event(sub_label="Ann")),
            frigate.manual_event(30),
            frigate.begin_event(),
        ]
        connection = sqlite3.connect(frigate.db_path)
        connection.row_factory = sqlite3.Row
        rows = [dict(found) for found in connection.execute("SELECT * FROM event")]
        connection.close()
        for found in rows:
            found |= {
                "zones": json.loads(found["zones"]),
                "data": json.loads(found["data"]) | {"path_data": [[1, 2]] * 99},
            }
        copy = FrigateCopy(tmp_path / COPY_NAME)
        copy.put_events([event for event in map(event_row, rows) if event is not None])
        own, copied = FrigateDatabase(frigate.db_path, Filters()), FrigateDatabase(copy.path, Filters())
        events = own.events([event.id for event in made])
        assert sorted(events, key=lambda e: e.id) == sorted(copied.events([e.id for e in made]), key=lambda e: e.id)
        assert [event.id for event in copied.running(0.0)] == [made[2].id]
        for database in (own, copied):
            database.close()
        copy.close()


@pytest.mark.parametrize("damage", [b"", b"rubbish" * 1000, None])
def test_a_copy_that_is_no_use_is_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    """Damaged, empty, or of another version."""
    copy = FrigateCopy(tmp_path / COPY_NAME)
    copy.put_recordings([])
    good = event_row(row(1, 100.0))
    assert good is not None
    copy.put_events([good])
    copy.close()
    if damage is None:
        connection = sqlite3.connect(copy.path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        copy.path.write_bytes(damage)
    copy.open()
    assert (copy.times_made, ids(copy)) == (2, set())
    copy.close()
    again = FrigateCopy(copy.path)
    again.open()
    assert again.times_made == 0
    again.close()


def test_a_copy_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    """It names the variable that is to be changed."""
    (tmp_path / "file").touch()
    with pytest.raises(FrigateError, match="check S3_STATE_DIR"):
        FrigateCopy(tmp_path / "file" / COPY_NAME).open()
    with pytest.raises(FrigateError, match="check S3_STATE_DIR"):
        FrigateDatabase(tmp_path / COPY_NAME, Filters()).open()


@pytest.mark.parametrize(
    "broken", [{}, {"id": 5}, {"id": "x", "camera": "c", "start_time": "soon"}, {"id": "x", "camera": "c"}]
)
def test_what_is_no_row_is_none(broken: Row) -> None:
    """Of any table; nothing raises."""
    assert event_row(broken) is None
    assert recording_row(broken, "yard") is None
    assert review_row(broken) is None


def test_a_recordings_path_follows_from_its_start() -> None:
    """In UTC, as Frigate names it."""
    found = recording_row({"id": "1", "start_time": 1795455533.0, "end_time": 1795455543.0}, "front-door")
    assert found is not None
    assert found.path == "2026-11-23/17/front-door/38.53.mp4"
    assert RECORDINGS.fullmatch(found.path)


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/b.jpg", ".s3_failed_events", "thumbs/../x.webp", "a.jpg/", "thumbs/c/..webp", "x.mp4"]
)
def test_only_names_of_frigates_are_asked_for(name: str) -> None:
    """Whatever stands in a row."""
    assert not PICTURES.fullmatch(name)
    assert not RECORDINGS.fullmatch(name)


def test_all_candidates_are_names_of_frigates(tmp_path: Path) -> None:
    """What is looked for can be asked for."""
    with SimulatedFrigate(tmp_path) as frigate:
        made = frigate.end_event(frigate.begin_event("back-yard"))
        database = FrigateDatabase(frigate.db_path, Filters())
        event = database.event(made.id)
        database.close()
    assert event is not None
    for kind in Kind:
        assert all(PICTURES.fullmatch(name) for name in candidates(event, kind))


WINDOWS = st.lists(
    st.builds(
        lambda camera, begins, length: Span(camera, begins, begins + length), st.sampled_from(["a", "b"]),
        st.integers(0, 10**6), st.integers(1, 90_000),
    )
)  # fmt: skip


@given(WINDOWS)
def test_every_window_is_inside_of_what_is_asked_for(windows: list[Span]) -> None:
    """In pieces that are not too long."""
    ordered = sorted(windows, key=lambda span: (span.camera, span.begins))
    asked = spans(ordered)
    assert all(0 < span.ends - span.begins <= 3 * 3600 for span in asked)
    for window in windows:
        covered = window.begins
        for span in asked:
            if span.camera == window.camera and span.begins <= covered <= span.ends:
                covered = span.ends
        assert covered >= window.ends


def asked_until(rows: ExpectedRows, seen: Seen, now: float = 0.0) -> list[float]:
    """When event "a" is asked for while it always is seen like this."""
    times = []
    while rows.next_at() < float("inf"):
        now = max(now, rows.next_at())
        assert rows.due(now) == ["a"]
        times.append(now)
        rows.settle("a", seen, now)
    return times


@pytest.mark.parametrize(
    ("seen", "is_known", "most"),
    [
        (Seen.ENDED, False, 1),
        (Seen.RUNNING, False, 12),
        (Seen.GONE, True, 1),
        (Seen.GONE, False, 12),
        (Seen.UNKNOWN, True, 12),
    ],
)
def test_an_end_is_waited_for_a_little(seen: Seen, is_known: bool, most: int) -> None:
    """A row may end a little after Frigate said so; one that is known and gone was deleted. Nothing is asked for ever."""
    rows = ExpectedRows()
    rows.ended("a", 0.0, is_known=is_known)
    times = asked_until(rows, seen)
    assert times[0] == 0.0
    assert len(times) <= most
    assert times[-1] <= 6.0
    assert (len(times) > 1) == (most > 1)


def test_a_running_event_is_asked_for_once() -> None:
    """However often Frigate says that its picture is better; and again when it is over, or is to be checked."""
    rows = ExpectedRows()
    for _ in range(3):
        rows.runs("a", 0.0)
        assert asked_until(rows, Seen.RUNNING) in ([0.0], [])
    rows.check("a", 60.0)
    assert asked_until(rows, Seen.RUNNING, 60.0) == [60.0]
    rows.ended("a", 61.0)
    assert asked_until(rows, Seen.GONE, 61.0) == [61.0]  # the user deleted it
    rows.runs("a", 70.0)
    rows.ended("a", 70.0)
    assert asked_until(rows, Seen.ENDED, 70.0) == [70.0]


class FakeFiles:
    """Answers HEAD by name; remembers who was asked for."""

    address = "http://frigate:5000"

    def __init__(self, **answers: Answer) -> None:
        self.answers, self.asked = answers, list[str]()

    def head(self, path: str) -> Answer:
        self.asked.append(path)
        return self.answers.get(path.rsplit(".", 1)[-1], Answer(404, b"", {"content-type": "text/html"}))

    def refusal(self, status: int) -> ApiError:
        return ApiError(f"refused with {status}")

    def odd_status(self, status: int) -> ApiError:
        return ApiError(f"starting or stopped ({status})")


EVENT = Event("1.5-abcdef", "yard", "person", None, 1.0, 9.0, True, (), None, False)


def found(api: FakeFiles, event: Event, folder: Path) -> Found | None:
    return ApiPictures(cast(FrigateApi, api), folder).find(event, Kind.SNAPSHOT)


def test_a_picture_is_looked_for_in_the_order_of_the_disk(tmp_path: Path) -> None:
    """Its time is the file's, or the event's where the server does not tell."""
    api = FakeFiles(webp=Answer(200, b"", {"last-modified": "Mon, 23 Nov 2026 17:38:49 GMT"}), png=Answer(200, b"", {}))
    assert found(api, EVENT, tmp_path) == Found("yard-1.5-abcdef-clean.webp", 1795455529.0)
    assert api.asked == ["/clips/yard-1.5-abcdef.jpg", "/clips/yard-1.5-abcdef-clean.webp"]
    assert found(FakeFiles(png=Answer(200, b"", {})), EVENT, tmp_path) == Found("yard-1.5-abcdef-clean.png", 9.0)
    assert found(FakeFiles(), EVENT, tmp_path) is None


def test_nobody_asks_for_the_file_of_a_running_event(tmp_path: Path) -> None:
    """Frigate's nginx would remember for two minutes that there is none. That of a manual event is there."""
    api = FakeFiles(jpg=Answer(200, b"", {}))
    assert found(api, replace(EVENT, end_time=None), tmp_path) is None
    assert found(api, replace(EVENT, camera="../x"), tmp_path) is None
    assert api.asked == []
    assert found(api, replace(EVENT, end_time=None, is_manual=True), tmp_path) is not None


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(200, b"", {"content-type": "text/html; charset=utf-8"}), "answered with a web page; is FRIGATE_URL"),
        (Answer(502, b"", {}), "starting or stopped"),
        (Answer(302, b"", {}), "answered with status 302"),
        (Answer(403, b"", {}), "refused with 403"),
    ],
)
def test_what_is_no_file_is_an_error_and_not_a_missing_file(answer: Answer, sentence: str, tmp_path: Path) -> None:
    """A proxy that does not pass /clips/ on, for one, must not make pictures look absent."""
    with pytest.raises(FrigateError, match=sentence):
        found(FakeFiles(jpg=answer), EVENT, tmp_path)


def test_a_refused_login_waits_longer_each_time_and_at_least_as_long_as_asked() -> None:
    """A minute, two, four, up to fifteen; a login that goes well begins anew."""
    pause, now = LoginPause(), 1000.0
    waits = []
    for _ in range(7):
        pause.refused(now, "no")
        assert not pause.is_over(pause.until - 0.01)
        waits.append(pause.until - now)
        now = pause.until
        assert pause.is_over(now)
    assert waits == [60, 120, 240, 480, 900, 900, 900]
    pause.accepted()
    pause.refused(now, "no", wanted_seconds=300)
    assert pause.until == now + 300
    pause.refused(now, "no", wanted_seconds=1e9)
    assert pause.until == now + 900


ODD = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(
        [10**400, -(10**400), "nan", "\ud800", [], {}, [["x"]], {"type": 10**5000}, "x" * 5000, 1e18, -7e10]
    )
)
COLUMNS = ["id", "camera", "label", "sub_label", "start_time", "end_time", "zones", "data", "top_score", "severity"]


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(COLUMNS), ODD, max_size=4))
def test_no_row_of_the_api_stops_its_neighbours(odd: Row) -> None:
    """Whatever one row holds, the copy takes the others, and it takes what it can of that one."""
    poisoned = row(99, 500.0) | odd
    event_row(poisoned), review_row(poisoned), recording_row(poisoned, "yard")  # nothing is raised
    rows = [row(n, float(n)) for n in range(1, 21)]
    with tempfile.TemporaryDirectory() as folder:
        copy = FrigateCopy(Path(folder) / COPY_NAME)
        copy.open()
        api = FakeApi([])
        api.rows = lambda _path, **_query: [*rows[:10], poisoned, *rows[10:]]  # type: ignore[method-assign]
        ApiFeed(cast(FrigateApi, api), copy).running()
        there = {found[0] for found in copy.ask("SELECT id FROM event")}
        copy.close()
    assert there >= {str(r["id"]) for r in rows}


def test_another_program_is_no_frigate() -> None:
    """Whatever it answers."""
    with FrigateHttp() as other:
        loaded = load({"S3_BUCKET": "bucket", "FRIGATE_URL": other.url}).settings
        with pytest.raises(ApiError, match="is no Frigate; check FRIGATE_URL"):
            FrigateApi(loaded).version()
        other.status = 200
        with pytest.raises(ApiError, match="sent no rows for events"):
            FrigateApi(loaded).rows("events")
