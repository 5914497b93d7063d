"""Rows of which Frigate's API cannot tell: all others are listed, and the work is done once."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frigate_s3_mirror.api_odd_rows import OddRows
from frigate_s3_mirror.frigate_api import RowsUntoldError


class StumblingApi:
    """Frigate's list: newest first, begun strictly between two times; an odd one among them spoils the whole answer."""

    def __init__(self, good: set[float], odd: set[float]) -> None:
        self.rows = sorted([*good, *odd], reverse=True)
        self.odd, self.asked = odd, 0

    def ask(self, limit: int, before: float | None, after: float | None) -> list[dict[str, Any]]:
        self.asked += 1
        after = float("-inf") if after is None else after
        found = [at for at in self.rows if after < at and (before is None or at < before)][:limit]
        if self.odd & set(found):
            raise RowsUntoldError("status 500")
        return [{"start_time": at} for at in found]


def listed(api: StumblingApi, rows: OddRows, limit: int = 1000, before: float | None = None) -> list[float]:
    return [row["start_time"] for row in rows.listed(api.ask, limit, before, None)]


TIMES = st.integers(1_700_000_000, 1_700_100_000).map(float)


@settings(max_examples=50)
@given(st.sets(TIMES, min_size=20, max_size=20), st.sets(TIMES | st.just(float("inf")), max_size=3), st.integers(1, 30))
def test_all_but_the_odd_ones_are_listed_newest_first(good: set[float], odd: set[float], limit: int) -> None:
    """However many of them there are, whatever the size of the page."""
    good -= odd
    api, rows = StumblingApi(good, odd), OddRows()
    wanted = sorted(good, reverse=True)
    assert listed(api, rows, limit) == wanted[:limit]
    assert listed(api, rows) == wanted
    asked = api.asked
    assert listed(api, rows) == wanted
    assert api.asked - asked <= len(odd) + 1  # what is known is worked around


def test_a_mended_row_is_listed_when_it_is_looked_for_anew(caplog: pytest.LogCaptureFixture) -> None:
    """And it was told once."""
    api, rows = StumblingApi({10.0, 30.0}, {20.0}), OddRows()
    with caplog.at_level(logging.WARNING):
        assert listed(api, rows) == listed(api, rows) == [30.0, 10.0]
    assert len(caplog.records) == 1
    api.odd.clear()
    assert listed(api, rows) == [30.0, 10.0]
    rows.forget()
    assert listed(api, rows) == [30.0, 20.0, 10.0]


def test_a_frigate_that_can_tell_of_nothing_is_not_asked_for_ever() -> None:
    """Its error goes on to whoever asked."""
    api = StumblingApi(set(), {float(at) for at in range(1_700_000_000, 1_700_001_000)})
    with pytest.raises(RowsUntoldError):
        listed(api, OddRows())
    assert api.asked < 10_000
