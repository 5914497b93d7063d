"""The gate for values from outside lets through plain values or raises its one exception, whatever comes in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.runtime.untrusted import (
    RefusedValueError,
    any_text,
    decoded,
    number,
    parse_json,
    shown,
    single_line,
    text,
    time_or_none,
    unix_time,
)

Found = TypeVar("Found")
ODD = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary()
    | st.text(st.characters(), max_size=200)
    | st.sampled_from(
        ["nan", "inf", "-inf", "9e999", "1_0", "", " ", "\ud800", "²", 10**400, -(10**5000), 1e18, -7e10, 3e11]
    )
    | st.lists(st.integers(), max_size=3)
)


def passed(gate: Callable[[Any], Found], value: object) -> Found | None:
    """What the gate makes of a value, None for a refusal whose reason is one printable line."""
    try:
        return gate(value)
    except RefusedValueError as error:
        reason = str(error)
    assert reason.isprintable()
    return None


@given(ODD)
def test_a_number_is_finite_or_refused(value: object) -> None:
    """No NaN, no infinity, no exception but the gate's own."""
    found = passed(number, value)
    assert found is None or math.isfinite(found)


@given(ODD)
def test_a_time_makes_a_date_in_every_zone(value: object) -> None:
    """What passes as a time can be a key's date anywhere on Earth."""
    seconds = passed(unix_time, value)
    if seconds is None:
        return
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"):
        assert datetime.fromtimestamp(seconds, ZoneInfo(zone)).year >= 1969


@given(ODD)
def test_text_can_be_stored_and_sent(value: object) -> None:
    """What passes as text is valid UTF-8 without NUL."""
    found = passed(text, value)
    assert found is None or "\0" not in found.encode().decode()


@given(st.text(st.characters()) | st.binary())
def test_no_text_breaks_the_json_gate(value: str | bytes) -> None:
    """Anything at all is a value or a refusal."""
    passed(parse_json, value)


@pytest.mark.parametrize(
    "value",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "NaN",
        '{"x": [Infinity]}',
        "-Infinity",
        "1" * 5000,
        '"\\ud800',
        b"\xff",
        "1.2.3",
        "",
    ],
)
def test_hostile_json_is_refused(value: str | bytes) -> None:
    """Deep nesting, constants that are no JSON, huge integers, bytes that are no UTF-8."""
    with pytest.raises(RefusedValueError):
        parse_json(value)


def test_json_that_is_too_long_is_refused() -> None:
    """A bound on the text bounds memory and time."""
    with pytest.raises(RefusedValueError, match="too long"):
        parse_json(json.dumps("x" * 100), longest=50)


@given(st.text(st.characters()))
def test_a_single_line_is_printable(value: str) -> None:
    """No line break, escape sequence or bell reaches a log or a terminal, and what is printable stays."""
    line = single_line(value)
    assert line.isprintable()
    if value.isprintable():
        assert line == value
    assert shown(value).isprintable()


@given(st.text() | st.binary() | st.integers() | st.floats() | st.none() | st.lists(st.text()), st.integers(20, 200))
def test_any_text_can_be_stored_sent_and_told_apart(value: object, longest: int) -> None:
    """Whatever it is: UTF-8, without NUL, bounded; valid text stays as it is."""
    found = any_text(value, longest=longest)
    assert found.encode().decode() == found
    assert "\0" not in found
    assert len(found) <= longest
    if isinstance(value, str) and value.isprintable() and len(value) <= longest:
        assert found == value


def test_long_texts_that_differ_stay_different() -> None:
    assert any_text("x" * 5000 + "a") != any_text("x" * 5000 + "b")


@given(st.binary(max_size=200))
def test_text_of_a_database_is_read_whatever_its_bytes_are(raw: bytes) -> None:
    """And `text` refuses what was no UTF-8."""
    found = decoded(raw)
    assert found.encode("utf-8", "surrogateescape") == raw


def test_a_time_or_none() -> None:
    assert time_or_none("5") == 5.0
    assert time_or_none(1e300) is time_or_none(None) is time_or_none("x") is None
