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


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (3, 3.0), (2.5, 2.5), ("2.5", 2.5), ("-1e3", -1000.0), (True, None), (False, None), (None, None), ("x", None), ("nan", None), (10**400, None),
        (float("inf"), None), (b"1", None), ([1], None),
    ],
)  # fmt: skip
def test_what_is_a_number(value: object, found: float | None) -> None:
    assert passed(number, value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0, 0.0), (-86400.0, -86400.0), (-86400.5, None), (253370764800.0, None), (253370764799.0, 253370764799.0), (1.8e12, None), ("1.5", 1.5),
    ],
)  # fmt: skip
def test_what_is_a_time(value: object, found: float | None) -> None:
    """From the last day of 1969 to the year 9999; milliseconds are none."""
    assert passed(unix_time, value) == found
    assert time_or_none(value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("yard", "yard"), (7, "7"), (1.5, "1.5"), ("", ""), ("x" * 1024, "x" * 1024), ("x" * 1025, None), (True, None), (None, None), (b"yard", None),
        (["a"], None), ("a\0b", None), ("\ud800", None), pytest.param(10**5000, None, id="an integer of thousands of digits"),
    ],
)  # fmt: skip
def test_what_is_text(value: object, found: str | None) -> None:
    assert passed(text, value) == found


@pytest.mark.parametrize(
    ("value", "longest", "found"),
    [
        (b"a\xffb", 99, "a\\xffb"), ("\ud800", 99, "\\ud800"), ("a\0b", 99, "a\\x00b"), (None, 99, "None"), (1.5, 99, "1.5"), ([1, "a"], 99, "[1, 'a']"),
        ("x" * 20, 20, "x" * 20), ("x" * 21, 20, "x" * 8 + "...~7799e514"),
    ],
)  # fmt: skip
def test_what_any_value_is_as_text(value: object, longest: int, found: str) -> None:
    """Escaped, and at its longest with a digest of all of it."""
    assert any_text(value, longest=longest) == found
    assert len(any_text("y" * 2000)) == 1024


def test_what_a_reason_repeats() -> None:
    """Sixty characters, quoted, whatever the value is."""
    assert shown("x" * 60) == f"'{'x' * 60}'"
    assert shown("x" * 61) == f"'{'x' * 60}...'"
    assert shown([1]) == "'[1]'"
    assert shown(10**5000) == "'a int'"
    assert shown("a\nb") == "'a\\nb'"
    assert single_line(7) == "7"
    assert single_line("a\x1bé") == "a\\x1bé"


def test_json_is_bounded_and_its_constants_are_an_option() -> None:
    assert parse_json("[1]", longest=3) == [1]
    assert passed(lambda value: parse_json(value, longest=2), "[1]") is None
    assert parse_json('"' + "x" * (4 * 1024 * 1024 - 2) + '"') is not None
    assert passed(parse_json, '"' + "x" * (4 * 1024 * 1024 - 1) + '"') is None
    kept = parse_json('[NaN, Infinity, "a"]', keep_constants=True)
    assert isinstance(kept, list)
    assert math.isnan(kept[0])
    assert kept[1:] == [math.inf, "a"]
    assert passed(parse_json, "[NaN]") is None
