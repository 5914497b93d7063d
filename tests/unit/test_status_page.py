"""What the status page decides without a network: pages of the gallery, who may come in, bars, what is remembered."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.catalogue import Catalogue, Place, Wanted
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.web.access import Access, Throttle, local_target
from frigate_s3_mirror.web.chart import HEIGHT, WIDTH, bar_chart
from frigate_s3_mirror.web.remembered import Remembered
from frigate_s3_mirror.web.views import Filter, clock_time, frigate_link, moment, settings_shown

TOKEN = "a-long-enough-token"
ODD_PLACES = [
    "0001-01-01", "9999-12-31", "1969-12-31", "nan:1", "inf:1", "-1e999:2", f"1.5:{1 << 63}", f"1.5:-{1 << 70}", f"1:{'9' * 5000}", ":",
]  # fmt: skip


def entry(number: int, camera: str = "cam", label: str = "car", *, at: float | None = None) -> Entry:
    at = float(number) if at is None else at
    event = Event(f"{number}.5-abcdef", camera, label, None, at, at, True, (), None, False)
    return Entry(0, event, Kind.SNAPSHOT, f"{camera}-{event.id}.jpg", f"{camera}/{event.id}.jpg", State.PENDING, at)


def uploaded(taken: Entry, at: float) -> Outcome:
    return Outcome(taken, State.UPLOADED, 1, 0, 0.0, size_bytes=10, sha256="5" * 64, etag="e", uploaded_at=at)


def test_the_pages_are_all_pictures_once_newest_first(ledger: Ledger) -> None:
    """Also where many events happened in the same instant."""
    taken = ledger.record([entry(n, at=float(n // 7)) for n in range(50)], 0.0)
    ledger.settle([uploaded(one, 1.0) for one in taken])
    catalogue, seen, place = Catalogue(ledger), [], None
    while True:
        page, place = catalogue.page(Wanted(), 6, place)
        seen += page
        if place is None:
            break
        assert len(page) == 6
    assert sorted(p.row for p in seen) == sorted(one.row for one in taken)
    assert all((a.began_at, a.row) > (b.began_at, b.row) for a, b in pairwise(seen))


def test_the_filters_hold(ledger: Ledger) -> None:
    """Camera, label, time and state; the end of a time is not in it."""
    entries = [entry(1, "yard"), entry(2, "yard", "person"), entry(3, "door"), entry(4, "yard")]
    taken = ledger.record(entries, 0.0)
    ledger.settle([uploaded(one, 1.0) for one in taken[:3]])

    def found(wanted: Wanted) -> list[float]:
        return [picture.began_at for picture in Catalogue(ledger).page(wanted, 10)[0]]

    assert found(Wanted()) == [3, 2, 1]
    assert found(Wanted(camera="yard")) == [2, 1]
    assert found(Wanted(camera="yard", label="person")) == [2]
    assert found(Wanted(since=2, until=3)) == [2]
    assert found(Wanted(state=State.PENDING)) == [4]
    assert Catalogue(ledger).names() == (["door", "yard"], ["car", "person"])
    assert Catalogue(ledger).by_camera() == {"door": {"uploaded": 1}, "yard": {"pending": 1, "uploaded": 2}}


def test_the_activity_has_every_stretch_of_the_day(ledger: Ledger) -> None:
    """48 half hours, gaps with zeros, nothing older; by the time of the upload, not of the event."""
    now = 1_700_000_000.0
    taken = ledger.record([entry(n) for n in range(4)], 0.0)
    ledger.settle([uploaded(one, at) for one, at in zip(taken, (now, now - 1, now - 7200, now - 90_000), strict=True)])
    buckets = Catalogue(ledger).activity(now)
    assert len(buckets) == 48
    assert {b.start - a.start for a, b in pairwise(buckets)} == {1800}
    assert buckets[-1].start <= now < buckets[-1].start + 1800
    assert [(b.uploads, b.bytes) for b in buckets if b.uploads] == [(1, 10), (2, 20)]


@given(st.floats(0, 4e9), st.integers(1, 1 << 60), st.sampled_from(["yard", "a b&c", ""]), st.dates())
def test_a_page_s_address_says_what_it_was_made_of(at: float, row: int, camera: str, day: object) -> None:
    """What the gallery links to is what it understands again."""
    from urllib.parse import parse_qsl

    chosen = Filter.of({"camera": camera, "day": str(day), "state": "failed"})
    assert chosen.day in {day, None}
    again = Filter.of(dict(parse_qsl(chosen.query(Place(at, row)))))
    assert again == replace(chosen, after=Place(at, row))


@given(st.dictionaries(st.sampled_from(["state", "camera", "label", "day", "after"]), st.text(max_size=20)))
def test_any_query_is_a_filter(query: dict[str, str]) -> None:
    """Nonsense is left out, never an error."""
    assert Filter.of(query).state in State


def test_the_token_is_needed_whole() -> None:
    """As a bearer; a session made under another token is none."""
    access = Access(TOKEN)
    assert access.may_look({"authorization": f"Bearer {TOKEN}"}, None)
    assert access.may_look({"authorization": f"bearer {TOKEN}"}, None)
    for wrong in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        "Bearer \u00fc",
    ):
        assert not access.may_look({"authorization": wrong}, None), wrong
    session = access.new_session()
    assert access.may_look({}, session)
    assert not access.may_look({}, session[:-1] + ("0" if session[-1] != "0" else "1"))
    assert not Access(TOKEN + "x").is_session(session)


def test_a_form_belongs_to_its_session() -> None:
    """Neither another session's token nor another site's request does anything."""
    access = Access(None)
    session, other = access.new_session(), access.new_session()
    token = access.form_token(session)
    assert access.may_act({}, session, token)
    assert access.may_act({"sec-fetch-site": "same-origin"}, session, token)
    assert not access.may_act({"sec-fetch-site": "cross-site"}, session, token)
    assert not access.may_act({}, other, token)
    assert not access.may_act({}, None, token)
    assert not access.may_act({}, session, "")
    assert not access.may_act({}, session, session.rpartition(".")[2])


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("127.0.0.1:9380", True), ("localhost", True), ("[::1]:9380", True), ("127.8.8.8", True), ("nas", True), ("NAS:80", True),
        ("evil.example", False), ("127.0.0.1.evil.example", False), ("", False), ("10.0.0.1", False), ("[", False),
    ],
)  # fmt: skip
def test_without_a_token_only_own_names_are_served(host: str, is_known: bool) -> None:
    """DNS rebinding brings a foreign name; with a token names do not matter."""
    assert Access(None).knows_host(host, "nas") is is_known
    assert Access(TOKEN).knows_host(host, "nas")


@given(st.lists(st.floats(0, 1e12), min_size=1, max_size=60))
def test_bars_stay_in_the_chart(values: list[float]) -> None:
    """Each value above zero is seen, none leaves the frame, and they do not overlap."""
    chart = bar_chart(values, ["" for _ in values], str, str)
    for value, bar in zip(values, chart.bars, strict=True):
        assert (bar.height > 0) == (value > 0)
        assert bar.height <= HEIGHT
        assert abs(bar.y + bar.height - HEIGHT) < 0.02
    assert all(a.x + a.width <= b.x + 0.02 for a, b in pairwise(chart.bars))
    assert chart.bars[-1].x + chart.bars[-1].width <= WIDTH


def test_what_is_dear_is_remembered_longer() -> None:
    """An answer that took 60 ms is not looked for again in the next second; errors are not remembered."""
    looks: list[float] = []

    def find() -> int:
        time.sleep(0.06)
        looks.append(time.monotonic())
        if len(looks) == 1:
            raise OSError
        return len(looks)

    answer = Remembered(find)
    with pytest.raises(OSError):  # noqa: PT011
        answer()
    assert answer() == 2
    assert answer() == 2
    assert answer._until - time.monotonic() > 1.0


def test_no_secret_is_among_the_settings_shown() -> None:
    """Every variable on the page is one that may be seen."""
    environ = {
        "S3_BUCKET": "b-b", "S3_ENDPOINT_URL": "http://127.0.0.1:9", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "hush-hush",
        "S3_STATUS_TOKEN": "hush-hush-hush", "S3_NOTIFY_URL": "json://hush", "FRIGATE_UI_URL": "http://nvr:5000/sub/",
    }  # fmt: skip
    settings = load(environ).settings
    assert "hush" not in str(settings_shown(settings))
    assert frigate_link(settings, "1.5-a&b") == "http://nvr:5000/sub/explore?event_id=1.5-a%26b"


@given(st.sampled_from(["day", "after"]), st.text(max_size=30) | st.sampled_from(ODD_PLACES))
def test_any_query_is_a_question_to_the_ledger(name: str, value: str) -> None:
    """The ends of the calendar, infinities and numbers beyond SQLite's integers give a page, not an error."""
    chosen = Filter.of({name: value})
    for zone in (None, ZoneInfo("Pacific/Kiritimati"), ZoneInfo("Pacific/Pago_Pago")):
        wanted = chosen.wanted(zone)
        assert wanted.since is None or wanted.since < (wanted.until or 0)
    assert chosen.after is None or (math.isfinite(chosen.after.began_at) and abs(chosen.after.row) < 1 << 63)


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf, 1e18, -7e10, 3e11, 1e400])
def test_what_is_no_time_is_told_as_such(at: float) -> None:
    """A row that an older version took in from odd metadata spoils no page."""
    assert clock_time(at) == "at no known time"
    assert moment(at) == ""


def test_a_day_of_the_gallery_is_one_of_its_keys(ledger: Ledger) -> None:
    """An event from before midnight to after it is found under the day that its key bears, in the keys' time zone."""
    zone = ZoneInfo("Europe/Berlin")
    begun = datetime(2026, 11, 24, 23, 30, tzinfo=zone).timestamp()
    event = Event("1.5-abcdef", "door", "person", None, begun, begun + 3.5 * 3600, True, (), None, False)
    taken = ledger.record([replace(entry(1), event=event, happened_at=begun + 3.5 * 3600)], 0.0)
    ledger.settle([uploaded(one, begun + 4 * 3600) for one in taken])

    def found(day: str) -> list[str]:
        page, _ = Catalogue(ledger).page(Filter.of({"day": day}).wanted(zone), 10)
        return [clock_time(picture.began_at, zone) for picture in page]

    assert found("2026-11-24") == ["2026-11-24 23:30:00"]
    assert found("2026-11-25") == []


def test_guessing_is_slow_and_locks_nobody_out() -> None:
    """Ten wrong tokens at once, then one a second; other addresses wait for nothing, and after a minute it is over."""
    throttle = Throttle()
    for _ in range(10):
        assert throttle.wait_seconds("10.0.0.1", 100.0) == 0.0
        throttle.failed("10.0.0.1", 100.0)
    waits = [throttle.wait_seconds("10.0.0.1", 100.0) for _ in range(200)]
    assert waits[:4] == [0.0, 1.0, 2.0, 3.0]
    assert set(waits[4:]) == {None}
    assert throttle.wait_seconds("10.0.0.2", 100.0) == 0.0
    assert throttle.wait_seconds("10.0.0.1", 104.5) == 0.0
    assert throttle.wait_seconds("10.0.0.1", 161.0) == 0.0


def test_the_throttle_remembers_a_bounded_number_of_addresses() -> None:
    """Somebody with many addresses costs no memory."""
    throttle = Throttle()
    for number in range(5000):
        throttle.failed(f"2001:db8::{number:x}", float(number))
    assert len(throttle._by_address) == 1000


@pytest.mark.parametrize(
    ("target", "goes_to"),
    [
        ("/gallery?camera=garage", "/gallery?camera=garage"),
        ("/event/1.5-abcdef", "/event/1.5-abcdef"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
        ("/sign-in", "/"),
        ("/x\r\nSet-Cookie: a=b", "/"),
        ("/" + "x" * 3000, "/"),
    ],
)
def test_signing_in_goes_on_to_a_page_of_ours(target: str, goes_to: str) -> None:
    """A deep link survives the sign-in; another site's address does not."""
    assert local_target(target) == goes_to
