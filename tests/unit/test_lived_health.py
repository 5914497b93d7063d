"""Health is what is left when nothing is wrong and all that should move does: a table, and what no state may break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.health import (
    DUE_SECONDS,
    MISSING_SECONDS,
    Condition,
    Facts,
    Health,
    Lane,
    Unmoved,
    judge_health,
)
from frigate_s3_mirror.runtime.ticks import Stall, Ticks
from frigate_s3_mirror.unmoved import Movement

WELL = Facts(has_proof=True, lanes=(Lane(), Lane()), scan_interval=5.0)
LONG = 10**6


def with_lane(**more: object) -> Facts:
    return replace(WELL, lanes=(Lane(), replace(Lane(), **more)))  # type: ignore[arg-type]


TABLE: dict[str, tuple[Facts, Health, bool, str]] = {
    "all is well": (WELL, Health.OK, False, ""),
    "a backlog that moves": (with_lane(due=Unmoved(100_000, DUE_SECONDS - 1)), Health.OK, False, ""),
    "a large file on its way": (with_lane(due=Unmoved(1, 3000), in_flight=1), Health.OK, False, ""),
    "others wait behind it": (with_lane(due=Unmoved(9, 899), in_flight=2), Health.OK, False, ""),
    "missing, and just found": (replace(WELL, missing=Unmoved(9, MISSING_SECONDS)), Health.OK, False, ""),
    "nothing sent yet": (replace(WELL, has_proof=False), Health.DEGRADED, False, "Nothing to do"),
    "no database": (replace(WELL, frigate_problem="No database."), Health.DOWN, True, "No database."),
    "no folder": (replace(WELL, folder_problem="No folder."), Health.DEGRADED, True, "No folder."),
    "S3 is away": (with_lane(s3_problem="S3 is away."), Health.DEGRADED, False, "S3 is away. Nothing to do"),
    "wrong key": (with_lane(s3_problem="No key.", is_configuration=True), Health.DEGRADED, True, "No key. You must act"),
    "an outcome cannot be written": (with_lane(ledger_problem="Disk full."), Health.DEGRADED, True, "Disk full. You must"),
    "nothing can be written": (replace(WELL, ledger_problem="Disk full."), Health.DEGRADED, True, "Disk full. You must"),
    "a loop stands still": (replace(WELL, stalled=[Stall("scan", 999, 300)]), Health.DEGRADED, True, "'scan' has not"),
    "threads are gone": (with_lane(dead_workers=2), Health.DEGRADED, True, "2 upload threads are gone"),
    "due, and nobody takes it": (with_lane(due=Unmoved(15, DUE_SECONDS + 1)), Health.DEGRADED, True, "15 uploads are due"),
    "all threads hang": (with_lane(due=Unmoved(9, 901), in_flight=8), Health.DEGRADED, True, "9 uploads are due"),
    "one hangs for an hour": (with_lane(due=Unmoved(1, 3601), in_flight=1), Health.DEGRADED, True, "1 uploads are due"),
    "missing by proof": (replace(WELL, missing=Unmoved(21, MISSING_SECONDS + 6)), Health.DEGRADED, True, "21 snapshots"),
    "filters let nothing through": (replace(WELL, filter_problem="None."), Health.DEGRADED, True, "None."),
    "nobody reads the log": (replace(WELL, nobody_reads_the_log=True), Health.DEGRADED, True, "Nobody reads the log"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_each_state_has_its_word_and_says_whether_to_act(name: str) -> None:
    """The reason of all that is not OK says what the user has to do, or that there is nothing to do."""
    facts, health, must_act, begins = TABLE[name]
    condition = judge_health(facts)
    assert (condition.health, condition.must_act) == (health, must_act)
    assert condition.reason.startswith(begins) or begins == "Nothing to do"
    if health is not Health.OK:
        assert "ou must act" in condition.reason or "Nothing to do" in condition.reason
        assert ("Nothing to do" in condition.reason) is not must_act


def test_the_words_of_health_stay_what_they_are() -> None:
    """Healthchecks, MQTT and Home Assistant know them."""
    assert [str(health) for health in Health] == ["OK", "DEGRADED", "DOWN"]


@pytest.mark.parametrize(
    ("facts", "is_ok"),
    [
        (with_lane(due=Unmoved(1, 300.0)), True), (with_lane(due=Unmoved(1, 300.1)), False),
        (with_lane(due=Unmoved(2, 900.0), in_flight=1), True), (with_lane(due=Unmoved(2, 900.1), in_flight=1), False),
        (with_lane(due=Unmoved(1, 3600.0), in_flight=1), True), (with_lane(due=Unmoved(1, 3600.1), in_flight=1), False),
        (replace(WELL, missing=Unmoved(1, 605.0), scan_interval=5.0), True), (replace(WELL, missing=Unmoved(1, 605.1), scan_interval=5.0), False),
        (Facts(has_proof=True, missing=Unmoved(1, 600.0)), True), (Facts(has_proof=True, missing=Unmoved(1, 600.1)), False),
    ],
)  # fmt: skip
def test_where_patience_ends(facts: Facts, is_ok: bool) -> None:
    """Five minutes, a quarter of an hour behind others, an hour under way; ten minutes and a scan for what is missing."""
    assert (judge_health(facts).health is Health.OK) is is_ok


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (with_lane(due=Unmoved(3, 301.0)), "for more than 5 min"), (with_lane(due=Unmoved(3, 901.0), in_flight=1), "for more than 15 min"),
        (replace(WELL, missing=Unmoved(3, 9999.0)), "for more than 10 min"), (replace(WELL, stalled=[Stall("scan", 999.0, 300.0)]), "more than 5 min"),
    ],
)  # fmt: skip
def test_a_reason_says_how_long(facts: Facts, said: str) -> None:
    assert said in judge_health(facts).reason


def test_the_worst_explains_the_others() -> None:
    """Each reason is told while those before it are put right, one after the other."""
    facts = Facts(
        has_proof=False, frigate_problem="1.", folder_problem="2.", filter_problem="8.",
        lanes=[Lane(), Lane(s3_problem="3.", dead_workers=2, ledger_problem="4.", due=Unmoved(9, 9999.0))],
        ledger_problem="4b.", missing=Unmoved(7, 9999.0), stalled=[Stall("scan", 999.0, 300.0)], nobody_reads_the_log=True,
    )  # fmt: skip
    mended = [
        ("1.", {"frigate_problem": None}), ("2.", {"folder_problem": None}), ("3.", {"lanes": [replace(facts.lanes[1], s3_problem=None)]}),
        ("4.", {"lanes": [Lane(dead_workers=2, due=Unmoved(9, 9999.0))]}), ("4b.", {"ledger_problem": None}), ("'scan'", {"stalled": ()}),
        ("2 upload threads", {"lanes": [Lane(due=Unmoved(9, 9999.0))]}), ("9 uploads are due", {"lanes": ()}),
        ("7 snapshots of", {"missing": Unmoved()}), ("8.", {"filter_problem": None}), ("Nobody reads", {"nobody_reads_the_log": False}),
        ("S3 has not taken", {"has_proof": True}),
    ]  # fmt: skip
    for begins, change in mended:
        assert judge_health(facts).reason.startswith(begins)
        facts = replace(facts, **change)  # type: ignore[arg-type]
    assert judge_health(facts) == Condition(Health.OK, "", must_act=False)


unmoved = st.builds(Unmoved, st.integers(0, 5), st.floats(0, LONG))
sentences = st.none() | st.just("Something is wrong.")
lanes = st.builds(
    Lane, due=unmoved, in_flight=st.integers(0, 9), dead_workers=st.integers(0, 2), s3_problem=sentences,
    is_configuration=st.booleans(), ledger_problem=sentences,
)  # fmt: skip
all_facts = st.builds(
    Facts, has_proof=st.booleans(), frigate_problem=sentences, folder_problem=sentences, filter_problem=sentences,
    lanes=st.tuples(lanes, lanes), ledger_problem=sentences, missing=unmoved, scan_interval=st.floats(1, 600),
    stalled=st.lists(st.builds(Stall, st.sampled_from(["scan", "heartbeat"]), st.floats(301, LONG), st.just(300.0)), max_size=2),
    nobody_reads_the_log=st.booleans(),
)  # fmt: skip


@given(all_facts)
def test_ok_never_stands_beside_something_that_should_move_and_does_not(facts: Facts) -> None:
    """Whatever else is true."""
    condition = judge_health(facts)
    stuck = any(lane.due.count and lane.due.seconds > 3600 for lane in facts.lanes)
    stuck |= any(lane.due.count and lane.due.seconds > 300 and not lane.in_flight for lane in facts.lanes)
    missing = facts.missing.count and facts.missing.seconds > 600 + facts.scan_interval
    unwritable = facts.ledger_problem or any(lane.ledger_problem for lane in facts.lanes)
    away = any(lane.s3_problem for lane in facts.lanes) or facts.frigate_problem or facts.folder_problem
    dead = any(lane.dead_workers for lane in facts.lanes)
    wrong = [stuck, missing, unwritable, away, dead, facts.stalled, facts.filter_problem, facts.nobody_reads_the_log]
    assert (condition.health is Health.OK) == (not any(wrong) and facts.has_proof)
    assert (condition == Condition(Health.OK)) == (condition.reason == "")


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.floats(1, 400)), max_size=40))
def test_what_waits_is_unmoved_exactly_since_it_last_got_less(history: list[tuple[int, int, float]]) -> None:
    """A model of rows: newcomers have higher numbers and go first, as uploads do; the old ones are what is watched."""
    movement, now, rows, newest = Movement(), 0.0, set[int](), 0
    marked: set[int] = set()
    since = 0.0
    for arrive, leave, pause in history:
        now += pause
        rows |= set(range(newest + 1, newest + arrive + 1))
        newest += arrive
        rows -= set(sorted(rows, reverse=True)[:leave])
        marked_before = len(marked)
        left = {row for row in rows if row <= movement.mark}
        movement.see(len(left), len(rows), max(rows, default=0), now)
        if not left or len(left) < marked_before:
            marked, since = set(rows), now
        else:
            marked = left
        found = movement.unmoved(now + 1)
        assert found.count == len(marked)
        assert found.seconds == (pytest.approx(now + 1 - since) if marked else 0.0)


def test_nothing_is_unmoved_before_the_first_look() -> None:
    """And a mark of nothing lies before all rows."""
    movement = Movement()
    assert (movement.unmoved(5.0), movement.mark) == (Unmoved(), -1.0)
    movement.see(0, 3, 7.0, 10.0)
    assert (movement.unmoved(12.0), movement.mark) == (Unmoved(3, 2.0), 7.0)
    movement.see(5, 6, 9.0, 13.0)  # some came back that were waiting for something else
    assert movement.unmoved(14.0) == Unmoved(5, 4.0)
    movement.begin_anew()
    assert (movement.unmoved(15.0), movement.mark) == (Unmoved(), -1.0)


def test_the_oldest_that_never_gets_its_turn_shows_however_many_pass_by() -> None:
    """Fifteen claimed by dead threads, and a hundred newer ones that went well."""
    movement = Movement()
    movement.see(0, 15, 15, 0.0)
    for second in range(1, 400):
        movement.see(15, 16, 15 + second, float(second))
    assert movement.unmoved(400.0) == Unmoved(15, 400.0)
    movement.see(14, 14, 414, 401.0)
    assert movement.unmoved(401.0) == Unmoved(14, 0.0)
    movement.begin_anew()
    assert movement.unmoved(9999.0) == Unmoved()


def test_a_loop_that_fails_again_and_again_gives_no_sign_of_life() -> None:
    """To be started anew is none; one that nobody expects, or that has ended, is never missed."""
    now = [0.0]
    ticks = Ticks(lambda: now[0])
    ticks.tick("nobody expects this")
    ticks.expect_once("scan", 300.0)
    ticks.expect_once("api", 60.0)
    now[0] = 301.0
    ticks.expect_once("scan", 300.0)
    ticks.tick("api")
    assert ticks.stalled() == [Stall("scan", 301.0, 300.0)]
    ticks.tick("scan")
    assert ticks.stalled() == []
    now[0] = 1000.0
    assert [stall.name for stall in ticks.stalled()] == ["scan", "api"]
    ticks.forget("scan")
    assert [stall.name for stall in ticks.stalled()] == ["api"]
