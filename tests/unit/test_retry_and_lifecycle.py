"""Backoff, breaker and the life of an entry are pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.lifecycle import ABSENT_AFTER, State, Verdict, after_error, after_search, judge
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import Breaker, Circuit, ErrorClass, full_jitter

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), chances)
def test_backoff_is_bounded_in_both_directions(attempt: int, chance: float) -> None:
    """Never negative, never beyond the cap, whatever the count."""
    assert 0 <= full_jitter(attempt, chance, first=0.5, longest=60) <= 60


@given(chances)
def test_backoff_doubles_its_bound(chance: float) -> None:
    """The wait for one attempt is twice that of the one before, until the cap."""
    assert full_jitter(3, chance) == pytest.approx(2 * full_jitter(2, chance))


def test_three_failures_in_a_row_open_the_breaker_and_one_probe_closes_it() -> None:
    """Closed, open, half-open with a single probe, closed."""
    breaker = Breaker()
    for _ in range(3):
        assert breaker.may_start(0.0)
        breaker.failed(ErrorClass.TRANSIENT, 0.0, 0.9)
    assert breaker.circuit is Circuit.OPEN
    assert not breaker.may_start(breaker.opened_until - 0.01)
    assert breaker.may_start(breaker.opened_until)
    assert not breaker.may_start(breaker.opened_until)
    assert breaker.succeeded()
    assert breaker.may_start(0.0)


def test_a_configuration_error_opens_it_at_once_for_long() -> None:
    """Probing a wrong key every second helps nobody."""
    breaker = Breaker()
    breaker.failed(ErrorClass.CONFIGURATION, 100.0, 0.0)
    assert breaker.opened_until >= 115.0


@given(
    st.lists(st.sampled_from(["ok", "transient", "configuration", "untold", "start", "later"]), max_size=60), chances
)
def test_the_breaker_never_locks_up(actions: list[str], chance: float) -> None:
    """Whatever attempts came to (at last nothing: their files were gone), waiting long enough lets the next one start."""
    breaker, now, flying = Breaker(), 0.0, 0
    for action in [*actions, *["untold"] * len(actions)]:
        match action:
            case "start":
                flying += breaker.may_start(now)
            case "later":
                now += 10
            case _ if flying == 0:
                continue
            case "ok":
                breaker.succeeded()
            case "untold":
                breaker.untold()
            case _:
                breaker.failed(ErrorClass(action), now, chance)
        flying -= action not in {"start", "later"}
    assert flying == 0
    assert breaker.may_start(now + 10_000)


def event(end: float | None, *, has_snapshot: bool = True) -> Event:
    return Event("1.0-abcdef", "cam", "car", None, 0.0, end, has_snapshot, (), None, False)


@pytest.mark.parametrize(
    ("end", "has_snapshot", "modified_at", "closed", "verdict"),
    [
        (None, True, None, False, Verdict.WATCH),  # a tracked object in progress
        (None, True, 95.0, False, Verdict.WATCH),  # its file may still be written
        (None, True, 80.0, False, Verdict.RECORD),  # an endless manual event
        (None, True, 99.9, True, Verdict.RECORD),  # its closing was seen
        (99.0, True, 99.0, False, Verdict.RECORD),  # the normal end
        (500.0, True, 99.0, False, Verdict.RECORD),  # a manual event's end lies in the future
        (99.0, True, None, False, Verdict.AWAIT),  # a row without its file
        (99.0, False, None, False, Verdict.IGNORE),  # no snapshot
        (99.0, False, 98.0, False, Verdict.RECORD),  # flag cleared at stop, file there
        (None, True, 5000.0, False, Verdict.RECORD),  # a file from the future, after a clock jump
    ],
)
def test_when_a_snapshot_is_due(
    end: float | None, has_snapshot: bool, modified_at: float | None, closed: bool, verdict: Verdict
) -> None:
    """At 100 s, for every combination that Frigate leaves behind."""
    assert judge(event(end, has_snapshot=has_snapshot), modified_at, 100.0, closed=closed) is verdict


def test_a_manual_event_is_awaited_whatever_its_flag_says() -> None:
    """Its file is written at its beginning; without one it becomes absent, and the proof does not miss it for ever."""
    manual = replace(event(99.0, has_snapshot=False), is_manual=True)
    assert judge(manual, None, 100.0) is Verdict.AWAIT
    assert judge(manual, 50.0, 100.0) is Verdict.RECORD


@given(st.sampled_from([ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION]), st.integers(0, 10**6), chances, st.booleans())
def test_outages_never_count_against_an_event(error: ErrorClass, deferrals: int, chance: float, waits: bool) -> None:
    """However long S3 is away, the entry stays pending with no attempt counted."""
    step = after_error(error, 2, deferrals, most=3, now=100.0, chance=chance, service_waits=waits)
    assert (step.state, step.attempts) == (State.PENDING, 2)
    assert 100.0 <= step.next_attempt_at <= 400.0


@given(st.integers(1, 20), chances)
def test_a_refused_object_fails_after_exactly_so_many_attempts(most: int, chance: float) -> None:
    """S3_MAX_FAILED_RETRIES attempts, then failed."""
    attempts = tries = 0
    state = State.PENDING
    while state is State.PENDING:
        step = after_error(ErrorClass.OBJECT, attempts, 0, most=most, now=0.0, chance=chance, service_waits=False)
        state, attempts, tries = step.state, step.attempts, tries + 1
    assert (state, tries) == (State.FAILED, most)


@given(st.floats(0, ABSENT_AFTER - 1), st.integers(0, 100))
def test_a_missing_file_is_looked_for_again_then_called_absent(age: float, searches: int) -> None:
    """Within ten minutes it is awaited, later absent."""
    step = after_search(1000.0, searches, 1000.0 + age)
    assert step.state is State.AWAITED
    assert step.next_attempt_at > 1000.0 + age
    assert after_search(1000.0, searches, 1000.0 + ABSENT_AFTER).state is State.ABSENT


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50), st.integers(1, 10**6))
def test_the_average_rate_stays_under_the_limit(sizes: list[int], limit: int) -> None:
    """All that was sent before a start, divided by the time until then, is at most the limit."""
    pacer, now, sent = Pacer(limit), 0.0, 0
    for size in sizes:
        now += pacer.reserve(size, now)
        assert sent <= limit * now + 1e-3
        sent += size
