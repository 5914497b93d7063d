"""What a heartbeat means to those who read it later."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from frigate_s3_mirror.fleet import LONGEST_HEARTBEAT, SILENT, STARTING, UNREADABLE, is_well, judge, silent_first
from frigate_s3_mirror.fleet_view import render

NOW = 1_000_000.0


def heartbeat(site: str = "a", **more: object) -> bytes:
    content = {"site": site, "version": "1", "at": NOW - 5, "interval": 300, "health": "OK", "reason": ""}
    return json.dumps({**content, **more}).encode()


@pytest.mark.parametrize(
    ("age", "interval", "state"),
    [(0, 300, "OK"), (659, 300, "OK"), (661, 300, SILENT), (71, 5, SILENT), (69, 5, "OK"), (-3600, 300, "OK")],
)
def test_two_missed_heartbeats_are_silence(age: float, interval: float, state: str) -> None:
    """And a minute of grace; a clock that is ahead is no silence."""
    assert judge("k", heartbeat(at=NOW - age, interval=interval), NOW).state == state


def test_the_health_is_what_the_site_said() -> None:
    """With its reason; a silent one's is its last words."""
    assert judge("k", heartbeat(health="DEGRADED", reason="No bucket."), NOW).reason == "No bucket."
    silent = judge("k", heartbeat(health="DEGRADED", reason="No bucket.", at=0), NOW)
    assert (silent.state, silent.reason) == (SILENT, "Its last words: DEGRADED. No bucket.")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"site": "a", "version": "1"}',
        heartbeat(at="x"),
        heartbeat(health="FINE"),
    ],
)
def test_what_is_no_heartbeat_is_told(content: bytes) -> None:
    """Damaged or foreign objects are a line of their own, never an error."""
    assert judge("k", content, NOW).state == UNREADABLE


def test_a_newer_version_s_heartbeat_is_understood() -> None:
    """Fields that are not known yet are passed over."""
    assert judge("k", heartbeat(news={"a": 1}), NOW).state == "OK"


def test_the_silent_ones_come_first() -> None:
    """Then what is down, degraded, well; among the silent the longest first."""
    sites = [
        judge("ok", heartbeat(), NOW),
        judge("down", heartbeat(health="DOWN"), NOW),
        judge("late", heartbeat(at=5), NOW),
        judge("broken", b"", NOW),
        judge("degraded", heartbeat(health="DEGRADED"), NOW),
        judge("later", heartbeat(at=2), NOW),
    ]
    assert [site.key for site in silent_first(sites)] == ["later", "late", "broken", "down", "degraded", "ok"]


def test_what_a_site_says_cannot_steer_the_terminal() -> None:
    """Escape sequences of whoever may write to the bucket are shown as what they are."""
    site = judge("k", heartbeat(site="a\x1b[2Jb", reason="c\rd", version="1\x07"), NOW)
    assert site.said is not None
    assert (site.said.site, site.reason, site.said.version) == ("a\\x1b[2Jb", "c\\rd", "1\\x07")


FIELDS = (
    "site", "version", "at", "interval", "health", "reason", "health_since", "started_at", "backlog", "lag_seconds",
    "failed", "expired", "missing_24h", "last_upload_at", "last_upload_key",
)  # fmt: skip
HOSTILE = (
    "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9e15", "-9e15", "1e300", "9" * 5000, "[" * 50_000, "null", "true",
    "{}", "[]", '""', '"nan"', '"\\ud800"', '"\\u0000"', '"\\u001b[2J"', "0", "-1", "0.5", '"' + "x" * 5000 + '"', '"[red]"', '"[/b]"',
)  # fmt: skip


def with_field(name: str, value: str) -> bytes:
    """The heartbeat whose field has this JSON, whatever it is."""
    return heartbeat(**{name: "@"}).replace(b'"@"', value.encode())


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_one_poisoned_heartbeat_hides_no_other(name: str, value: str) -> None:
    """All twenty others are in the table, and nobody lives for ever."""
    poisoned = with_field(name, value)
    sites = [judge(f"{n:02}", heartbeat(site=f"site-{n:02}"), NOW, NOW) for n in range(20)]
    sites.append(judge("poisoned", poisoned, NOW, NOW))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(render(silent_first(sites), NOW))
    shown = capture.get()
    assert all(f"site-{n:02}" in shown for n in range(20))
    assert "\x1b" not in shown
    json.dumps([site.to_dict() for site in sites])
    years_later = judge("poisoned", poisoned, NOW + 1e9, NOW)
    assert years_later.state in {SILENT, UNREADABLE}


@given(st.binary(max_size=200) | st.from_regex(r'\{"site": .{0,80}\}').map(str.encode))
def test_any_bytes_are_a_site(content: bytes) -> None:
    """Never an exception, always a line."""
    site = judge("k", content, NOW, NOW)
    assert site.reason.isprintable()
    assert site.state == UNREADABLE or site.said is not None


def test_a_clock_that_is_ahead_is_told_and_judged_by_s3_s() -> None:
    """As long as S3 took its heartbeat lately it lives, and its health counts."""
    alive = judge("k", heartbeat(at=NOW + 9e6), NOW, NOW - 10)
    assert (alive.state, alive.heard_at) == ("OK", NOW - 10)
    assert "Its clock is 104 d 4 h ahead." in alive.reason
    dead = judge("k", heartbeat(at=NOW + 9e6), NOW, NOW - 10_000)
    assert (dead.state, dead.heard_at) == (SILENT, NOW - 10_000)
    assert judge("k", heartbeat(at=NOW + 9e6), NOW).state == SILENT  # nobody knows when it was written


def test_a_site_that_starts_is_starting() -> None:
    """It has compared nothing yet, so nothing is missing; and that does not last for ever."""
    starting = judge("k", heartbeat(missing_24h=None, started_at=NOW - 20), NOW)
    assert (starting.state, is_well(starting)) == (STARTING, True)
    assert judge("k", heartbeat(missing_24h=0, started_at=NOW - 20), NOW).state == "OK"
    assert judge("k", heartbeat(missing_24h=None, started_at=NOW - 5000), NOW).state == "OK"
    assert judge("k", heartbeat(missing_24h=None, started_at=NOW - 20, health="DOWN"), NOW).state == "DOWN"


def test_a_heartbeat_of_any_length_is_not_read() -> None:
    """What is longer than any heartbeat is none."""
    assert judge("k", heartbeat(reason="x" * LONGEST_HEARTBEAT), NOW).state == UNREADABLE
