"""Retry-After says how long, in seconds or by a date, and never too long."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from frigate_s3_mirror.storage.retry_after import LONGEST, parse_retry_after

AT = datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC).timestamp()
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None), ("", None), ("0", 0.0), ("1", 1.0), (" 120 ", 120.0), ("86399", 86_399.0), ("86400", 86_400.0), ("86401", 86_400.0),
        ("9" * 15, 86_400.0), ("9" * 16, None), ("1.5", None), ("-1", None), ("+1", None), ("\u0661", None), ("soon", None), ("1 2", None),
    ],
)  # fmt: skip
def test_a_number_of_seconds(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text) == seconds
    assert LONGEST == 86_400.0


@pytest.mark.parametrize(
    ("now", "seconds"), [(AT - 90.0, 90.0), (AT, 0.0), (AT + 0.5, 0.0), (AT + 1e6, 0.0), (AT - 1e6, 86_400.0)]
)
def test_a_date(now: float, seconds: float) -> None:
    """From now on; one that is past means at once."""
    assert parse_retry_after(DATE, now) == seconds


def test_a_date_is_counted_from_the_clock() -> None:
    soon = datetime.fromtimestamp(time.time() + 600, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    found = parse_retry_after(soon)
    assert found is not None
    assert 500 < found <= 600
