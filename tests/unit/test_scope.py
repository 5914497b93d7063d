"""Which events a command is about: times as people write them, in the zone of the keys, and cameras by name."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from frigate_s3_mirror.cli import app
from frigate_s3_mirror.scope import NothingDoneError, Scope, check_camera, parse_when

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 3, 1, 20, 30, tzinfo=UTC).timestamp()  # already the second of March in Tokyo


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-03-02T00:00+09:00"),
        ("yesterday", "2026-03-01T00:00+09:00"),
        (" Yesterday ", "2026-03-01T00:00+09:00"),
        ("2 hours ago", "2026-03-01T18:30+00:00"),
        ("1 day ago", "2026-02-28T20:30+00:00"),
        ("24h", "2026-02-28T20:30+00:00"),
        ("7d", "2026-02-22T20:30+00:00"),
        ("2026-01-31", "2026-01-31T00:00+09:00"),
        ("2026-01-31T14:30", "2026-01-31T14:30+09:00"),
        ("2026-01-31 14:30", "2026-01-31T14:30+09:00"),
        ("2026-01-31T14:30Z", "2026-01-31T14:30+00:00"),
    ],
)
def test_moments_as_people_write_them(text: str, expected: str) -> None:
    """Dates and times are of the keys' zone, so that a date means the same folder."""
    assert parse_when(text, NOW, TOKYO) == datetime.fromisoformat(expected).timestamp()


def test_without_a_zone_it_is_the_machine_s(utc: None) -> None:
    """As the keys are."""
    assert parse_when("2026-01-31", NOW, None) == datetime(2026, 1, 31, tzinfo=UTC).timestamp()
    assert parse_when("yesterday", NOW, None) == datetime(2026, 2, 28, tzinfo=UTC).timestamp()


def test_a_day_of_23_hours_is_a_day() -> None:
    """The night in which the clocks are put forward."""
    berlin, now = ZoneInfo("Europe/Berlin"), datetime(2026, 3, 30, 10, tzinfo=UTC).timestamp()
    assert parse_when("today", now, berlin) - parse_when("yesterday", now, berlin) == 23 * 3600


@given(st.text(max_size=30))
def test_anything_else_is_refused_with_a_sentence(text: str) -> None:
    """A number of seconds or a ValueError that can be printed, whatever is written."""
    try:
        parse_when(text, NOW, TOKYO)
    except ValueError as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize(
    "text", ["soon", "", "2026-13-01", "0001-01-01T00:00+14:00", "999999 fortnights ago", "\x1b[2J"]
)
def test_what_is_no_moment(text: str) -> None:
    """Told with examples."""
    if text.startswith("0001"):
        assert parse_when(text, NOW, TOKYO) < 0
        return
    with pytest.raises(ValueError, match="is no time; write for example 24h, 7d, today"):
        parse_when(text, NOW, TOKYO)


def test_a_camera_that_nobody_knows_is_told_with_those_that_are() -> None:
    """Globs count; where nothing is known, nothing can be told."""
    known = ["yard", "front-door"]
    for camera in (None, "yard", "ya*", "*"):
        check_camera(Scope(camera=camera), known)
    check_camera(Scope(camera="yadr"), [])
    with pytest.raises(NothingDoneError, match="'yadr'; known are front-door, yard"):
        check_camera(Scope(camera="yadr"), known)


def test_help_begins_with_what_most_people_need() -> None:
    """And says in which zone a date is."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    order = [
        shown.index(f"│ {name} ") for name in ("run", "status", "doctor", "config", "verify", "restore", "rebuild")
    ]
    assert order == sorted(order)
    for command in ("verify", "restore"):
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert "S3_KEY_TIMEZONE" in shown
        assert "--until" in shown
