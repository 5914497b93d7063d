"""Backoff, breaker and the life of an entry are pure decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from frigate_s3_mirror.events import Event
from frigate_s3_mirror.lifecycle import ABSENT_AFTER, State, Step, Verdict, after_error, after_search, judge
from frigate_s3_mirror.pacer import Pacer
from frigate_s3_mirror.retry import LONGEST_RETRY_AFTER, Breaker, Circuit, Concurrency, ErrorClass, full_jitter

chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), chances)
def test_backoff_is_bounded_in_both_directions(attempt: int, chance: float) -> None:
    """Never negative, never beyond the cap, whatever the count."""
    assert 0 <= full_jitter(attempt, chance, first=0.5, longest=60) <= 60


@given(chances)
def test_backoff_doubles_its_bound(chance: float) -> None:
    """The wait for one attempt is twice that of the one before, until the cap."""
    assert full_jitter(3, chance) == pytest.approx(2 * full_jitter(2, chance))


def test_the_words_of_status_and_ledger_stay_what_they_are() -> None:
    """Ledgers on disk, `/api/status` and Home Assistant know them."""
    assert [str(state) for state in State] == [
        "pending",
        "uploaded",
        "failed",
        "expired",
        "skipped",
        "awaited",
        "absent",
    ]
    assert [str(circuit) for circuit in Circuit] == ["closed", "open", "half-open"]
    assert [str(error) for error in ErrorClass] == ["transient", "configuration", "object"]


@pytest.mark.parametrize(
    ("attempt", "bound"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (9, 60.0), (10**9, 60.0)]
)
def test_backoff_begins_with_half_a_second_and_ends_at_a_minute(attempt: int, bound: float) -> None:
    """By chance anything between nothing and the bound."""
    assert [full_jitter(attempt, chance) for chance in (0.0, 0.5)] == [0.0, bound / 2]


@pytest.mark.parametrize(
    ("rounds", "shortest", "longest"), [(1, 15.0, 30.0), (2, 30.0, 60.0), (4, 120.0, 240.0), (5, 150.0, 300.0), (99, 150.0, 300.0)]
)  # fmt: skip
def test_what_a_person_must_mend_is_probed_every_five_minutes_at_last(
    rounds: int, shortest: float, longest: float
) -> None:
    """From half a minute on, and at most halved by chance; what is urgent asks every quarter of a minute."""
    for chance, wait in ((0.0, shortest), (1.0, longest)):
        breaker, now = Breaker(), 0.0
        for _ in range(rounds):
            now = breaker.opened_until
            breaker.may_start(now)
            breaker.failed(ErrorClass.CONFIGURATION, now, chance)
        assert breaker.opened_until - now == pytest.approx(wait)
        assert breaker.next_start() == breaker.opened_until
        assert breaker.next_start(urgent=True) - now == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("asked", "chance", "wait"),
    [(0.0, 0.0, 0.25), (0.0, 1.0, 0.5), (0.4, 0.0, 0.4), (7.0, 0.5, 7.0), (float("nan"), 1.0, 0.5), (-5.0, 0.0, 0.25), (999.0, 0.0, 300.0)],
)  # fmt: skip
def test_the_pause_that_a_server_asks_for_is_kept(asked: float, chance: float, wait: float) -> None:
    """At once, at the first such answer, from a short one of our own up to five minutes; urgent ones wait five seconds."""
    breaker = Breaker()
    breaker.failed(ErrorClass.TRANSIENT, 10.0, chance, asked)
    assert breaker.circuit is Circuit.OPEN
    assert breaker.opened_until == pytest.approx(10.0 + wait)
    assert breaker.next_start() == breaker.opened_until
    assert breaker.next_start(urgent=True) == pytest.approx(
        10.0 + wait
    )  # if that is sooner, or later, than the five seconds


def test_a_success_lets_the_waits_begin_anew() -> None:
    """Failures, rounds and the class of the error are forgotten; whether it was news is told."""
    breaker = Breaker()
    for _ in range(3):
        breaker.failed(ErrorClass.TRANSIENT, 0.0, 1.0)
    assert (breaker.failures, breaker.rounds, breaker.error_class) == (3, 1, ErrorClass.TRANSIENT)
    assert breaker.opened_until == 0.5
    assert breaker.may_start(0.5)
    breaker.failed(ErrorClass.TRANSIENT, 0.5, 1.0)  # the probe failed, too: the wait is doubled
    assert (breaker.rounds, breaker.opened_until) == (2, 1.5)
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert (breaker.failures, breaker.rounds, breaker.error_class) == (0, 0, None)
    for _ in range(2):
        breaker.failed(ErrorClass.TRANSIENT, 9.0, 1.0)
    assert breaker.circuit is Circuit.CLOSED


def test_late_answers_of_a_wave_do_not_prolong_an_open_breaker() -> None:
    """Eight were under way when it opened; the other five say nothing new."""
    breaker = Breaker()
    for _ in range(8):
        breaker.failed(ErrorClass.TRANSIENT, 1.0, 1.0)
    breaker.failed(ErrorClass.CONFIGURATION, 1.1, 1.0)
    assert (breaker.rounds, breaker.opened_until) == (1, 1.5)


def test_an_attempt_that_says_nothing_leaves_a_closed_breaker_closed() -> None:
    breaker = Breaker()
    breaker.untold()
    assert (breaker.circuit, breaker.opened_until) == (Circuit.CLOSED, 0.0)
    for _ in range(3):
        breaker.failed(ErrorClass.TRANSIENT, 0.0, 1.0)
    assert not breaker.may_start(0.25)
    assert not breaker.may_start(0.4, urgent=False)
    assert breaker.may_start(0.5)


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


class BreakerLife(RuleBasedStateMachine):
    """Attempts start as the breaker lets them, and come to anything; among them the one that is the probe."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker, self.now, self.in_flight = Breaker(), 0.0, 0

    @rule(urgent=st.booleans())
    def starts(self, urgent: bool) -> None:
        self.in_flight += self.breaker.may_start(self.now, urgent=urgent)

    @rule(seconds=st.floats(0, 400))
    def waits(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.in_flight)
    @rule(chance=chances, error=st.sampled_from([ErrorClass.TRANSIENT, ErrorClass.CONFIGURATION]), asked=st.none() | st.floats())  # fmt: skip
    def fails(self, chance: float, error: ErrorClass, asked: float | None) -> None:
        self.in_flight -= 1
        self.breaker.failed(error, self.now, chance, asked)

    @precondition(lambda self: self.in_flight)
    @rule()
    def succeeds(self) -> None:
        self.in_flight -= 1
        self.breaker.succeeded()
        assert self.breaker.circuit is Circuit.CLOSED

    @precondition(lambda self: self.in_flight)
    @rule()
    def says_nothing(self) -> None:
        self.in_flight -= 1
        self.breaker.untold()

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Unless a probe is under way, the next may start within the longest pause there is."""
        assert self.breaker.opened_until <= self.now + LONGEST_RETRY_AFTER
        if self.in_flight == 0:
            assert replace(self.breaker).may_start(self.now + LONGEST_RETRY_AFTER)


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_a_probe_that_says_nothing_is_not_the_last_one() -> None:
    """The four lines that lock it up when `untold` does nothing."""
    breaker = Breaker()
    breaker.failed(ErrorClass.CONFIGURATION, 0.0, 0.0)
    assert breaker.may_start(1000.0)
    breaker.untold()
    assert breaker.may_start(1000.0)


@given(chances, st.one_of(st.floats(-1e9, 0.4), st.just(0.0)))
def test_a_server_that_asks_for_no_pause_gets_one_all_the_same(chance: float, asked: float) -> None:
    """`Retry-After: 0`, or a date that is past: the waits grow, but not beyond some seconds."""
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(10):
        breaker.failed(ErrorClass.TRANSIENT, now, chance, asked)
        waits.append(breaker.opened_until - now)
        now = breaker.opened_until
        assert breaker.may_start(now)
    assert all(wait >= 0.2499 for wait in waits)
    assert waits == pytest.approx(sorted(waits))
    assert 3.99 <= waits[-1] <= 8.01


@given(st.floats(0, 1e12) | st.just(float("inf")), chances)
def test_a_server_is_left_alone_as_long_as_it_asks_but_not_for_ever(asked: float, chance: float) -> None:
    """Also by what is urgent."""
    breaker = Breaker()
    breaker.failed(ErrorClass.TRANSIENT, 0.0, chance, asked)
    wanted = min(asked, LONGEST_RETRY_AFTER)
    assert wanted <= breaker.opened_until <= LONGEST_RETRY_AFTER
    assert breaker.next_start(urgent=True) >= wanted


def test_an_urgent_upload_is_the_probe_every_few_seconds() -> None:
    """After a long outage the pause may have a minute left; a new event does not wait for its end."""
    breaker, now = Breaker(), 0.0
    for _ in range(12):
        breaker.failed(ErrorClass.TRANSIENT, now, 0.99)
        now = max(now, breaker.opened_until)
        breaker.may_start(now)
    breaker.failed(ErrorClass.TRANSIENT, now, 0.99)
    assert breaker.opened_until - now > 50
    assert not breaker.may_start(now + 4.9, urgent=True)
    assert not breaker.may_start(now + 20)
    assert breaker.may_start(now + 5.0, urgent=True)
    assert not breaker.may_start(now + 5.0, urgent=True)


def test_concurrency_is_halved_once_for_a_burst_and_won_back_one_by_one() -> None:
    """AIMD: eight, four for eight answers of one second, two after the next, never below one; and back."""
    concurrency = Concurrency(8)
    for _ in range(8):
        concurrency.slow_down(10.0)
    assert (concurrency.allows(3), concurrency.allows(4)) == (True, False)
    for second in range(11, 20):
        concurrency.slow_down(float(second))
    assert (concurrency.allows(0), concurrency.allows(1)) == (True, False)
    for _ in range(40):
        concurrency.succeeded()
    assert (concurrency.allows(7), concurrency.allows(8)) == (True, False)


def test_concurrency_begins_with_the_most_and_is_halved_once_a_second() -> None:
    """Eight, four, four within the second, two after it; a success at two at a time is worth half a place."""
    concurrency = Concurrency(8)
    assert concurrency.now == 8.0
    for at, now in ((10.0, 4.0), (10.9, 4.0), (11.0, 2.0)):
        concurrency.slow_down(at)
        assert concurrency.now == now
    concurrency.succeeded()
    assert concurrency.now == 2.5
    concurrency.now = 7.99
    concurrency.succeeded()
    assert concurrency.now == 8.0


def event(end: float | None, *, has_snapshot: bool = True) -> Event:
    return Event("1.0-abcdef", "cam", "car", None, 0.0, end, has_snapshot, (), None, False)


@pytest.mark.parametrize(
    ("end", "has_snapshot", "modified_at", "closed", "verdict"),
    [
        (None, True, None, False, Verdict.WATCH),  # a tracked object in progress
        (None, True, 95.0, False, Verdict.WATCH),  # its file may still be written
        (None, True, 80.0, False, Verdict.RECORD),  # an endless manual event
        (None, True, 99.9, True, Verdict.RECORD),  # its closing was seen
        (None, True, 90.0, False, Verdict.RECORD),  # ten seconds without a change are enough
        (None, True, 90.01, False, Verdict.WATCH),
        (None, True, 100.0, False, Verdict.WATCH),  # written just now
        (None, True, 100.01, False, Verdict.RECORD),  # a clock that was set back says nothing
        (None, False, None, False, Verdict.WATCH),
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
    assert judge(event(None), 95.0, 100.0) is Verdict.WATCH  # nobody said that it was closed
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


def test_the_pauses_of_an_entry_grow_with_its_failures() -> None:
    """Counted and uncounted ones each for themselves, up to five minutes; behind an open breaker it waits for nothing."""

    def step(error: ErrorClass, attempts: int, deferrals: int, *, waits: bool = False) -> Step:
        return after_error(error, attempts, deferrals, most=5, now=100.0, chance=1.0, service_waits=waits)

    assert step(ErrorClass.TRANSIENT, 2, 0) == Step(State.PENDING, 2, 1, 100.5)
    assert step(ErrorClass.TRANSIENT, 2, 3) == Step(State.PENDING, 2, 4, 104.0)
    assert step(ErrorClass.CONFIGURATION, 0, 99) == Step(State.PENDING, 0, 100, 400.0)
    assert step(ErrorClass.TRANSIENT, 0, 3, waits=True) == Step(State.PENDING, 0, 4, 100.0)
    assert step(ErrorClass.OBJECT, 0, 7) == Step(State.PENDING, 1, 7, 101.0)
    assert step(ErrorClass.OBJECT, 3, 7) == Step(State.PENDING, 4, 7, 108.0)
    assert step(ErrorClass.OBJECT, 4, 7) == Step(State.FAILED, 5, 7, 100.0)


def test_the_search_for_a_file_slows_down_and_ends_after_ten_minutes() -> None:
    """One second, two, four, at most a minute; on either side of a clock that was set."""
    for searches, pause in ((0, 1.0), (1, 2.0), (5, 32.0), (6, 60.0), (50, 60.0)):
        assert after_search(1000.0, searches, 1599.0) == Step(State.AWAITED, 0, searches + 1, 1599.0 + pause)
    for now in (400.0, 1600.0):
        assert after_search(1000.0, 4, now) == Step(State.ABSENT, 0, 4, now)
    assert after_search(1000.0, 4, 400.1).state is State.AWAITED


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
        now += pacer.busy_for(now)
        assert sent <= limit * now + 1e-3
        pacer.book(pacer.start(now), size)
        sent += size
