"""Which running event's picture is fetched when, what Frigate's messages mean, and numbers that are never given twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.events import Event
from frigate_s3_mirror.frigate_messages import understand
from frigate_s3_mirror.keys import is_live_key, key_for, live_key_for, parse_key
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.live_ledger import LiveLedger
from frigate_s3_mirror.live_plan import RETRY_SECONDS, ROW_PATIENCE, LivePlan
from frigate_s3_mirror.running import running_events
from frigate_s3_mirror.status import read_status

SETTINGS = load({"S3_BUCKET": "b-b", "S3_PATH_PREFIX": "p", "S3_KEY_TIMEZONE": "UTC"}).settings


def event(number: int) -> Event:
    return Event(f"{number}.5-abcdef", "yard", "person", None, float(number), None, True, (), 0.9, False)


def test_a_new_event_is_fetched_at_once_and_then_at_intervals() -> None:
    """The newest first; one that is in hand is not taken again."""
    plan = LivePlan(10.0)
    plan.see([event(1), event(2)], 100.0)
    first, second = plan.due(100.0, 5)
    assert (first.event.id, second.event.id) == (event(2).id, event(1).id)
    assert plan.due(200.0, 5) == []
    plan.done(first, "sha")
    assert plan.due(109.9, 5) == []
    assert plan.due(110.0, 5) == [first]


def test_a_picture_that_could_not_be_had_is_asked_for_soon() -> None:
    """A whole interval later the burglar may be gone."""
    plan = LivePlan(10.0)
    plan.see([event(1)], 100.0)
    (watched,) = plan.due(100.0, 5)
    plan.done(watched, None)
    assert plan.next_at() == 100.0 + RETRY_SECONDS


def test_a_hint_never_hastens_beyond_the_interval() -> None:
    """A better picture a second later waits its turn."""
    plan = LivePlan(10.0)
    plan.hint(event(1), 100.0)
    (watched,) = plan.due(100.0, 5)
    plan.done(watched, "sha")
    plan.hint(event(1), 101.0)
    assert plan.due(101.0, 5) == []
    assert plan.next_at() == 110.0


def test_the_frame_is_known_as_long_as_frigate_speaks() -> None:
    """A look at the table says nothing of it, and takes nothing back."""
    plan = LivePlan(10.0)
    plan.hint(event(1), 100.0, 99.5)
    plan.see([event(1), event(2)], 101.0)
    assert {watched.event.id: watched.frame_at for watched in plan.running.values()} == {
        event(1).id: 99.5,
        event(2).id: None,
    }
    plan.hear_no_more()
    assert plan.running[event(1).id].frame_at is None


def test_an_event_that_has_no_row_yet_is_waited_for() -> None:
    """Frigate's message may come before its row; an event that ended is dropped."""
    plan = LivePlan(10.0)
    plan.hint(event(1), 100.0)
    plan.see([], 100.0 + ROW_PATIENCE)
    assert plan.running
    plan.see([], 100.1 + ROW_PATIENCE)
    assert not plan.running
    plan.hint(event(1), 200.0)
    plan.end(event(1).id)
    assert not plan.running


@given(
    st.lists(
        st.tuples(st.sampled_from(["see", "hint", "done", "end"]), st.integers(1, 3), st.floats(0, 5)), max_size=60
    )
)
def test_no_event_is_sent_more_often_than_the_interval(steps: list[tuple[str, int, float]]) -> None:
    """Whatever is seen and said, unless it was forgotten in between; never two at once of one event."""
    plan, now, last = LivePlan(10.0), 0.0, dict.fromkeys(range(1, 4), float("-inf"))
    for action, number, pause in steps:
        now += pause
        match action:
            case "see":
                plan.see([event(n) for n in range(1, 4)], now)
            case "hint":
                plan.hint(event(number), now)
            case "end":
                plan.end(event(number).id)
                last[number] = float("-inf")
            case _:
                for watched in list(plan.running.values()):
                    if watched.in_hand:
                        plan.done(watched, "sha")
        for watched in plan.due(now, 2):
            own = int(watched.event.start_time)
            assert now - last[own] >= 10.0
            last[own] = now


@pytest.mark.parametrize(
    ("more", "runs"),
    [
        ({}, True), ({"false_positive": True}, False), ({"has_snapshot": False}, False), ({"end_time": 5.0}, False),
        ({"sub_label": ["Bob", 0.9]}, True), ({"snapshot": None}, True), ({"snapshot": "x"}, True), ({"top_score": None}, True),
    ],
)  # fmt: skip
def test_a_message_says_whether_an_event_runs(more: dict[str, object], runs: bool) -> None:
    after = {"id": "1.5-abcdef", "camera": "yard", "label": "person", "start_time": 1.5, "has_snapshot": True, **more}
    said = understand(json.dumps({"type": "update", "after": after}).encode())
    assert said is not None
    assert (said.event is not None) == runs


@given(st.one_of(st.binary(max_size=80), st.recursive(st.none() | st.text() | st.floats(), lambda c: st.lists(c) | st.dictionaries(st.sampled_from(["after", "id", "type", "snapshot"]), c)).map(lambda v: json.dumps(v).encode())))  # fmt: skip
def test_any_message_is_understood_or_passed_over(payload: bytes) -> None:
    understand(payload)


def test_live_keys_are_beside_the_final_one() -> None:
    """They are told apart from snapshots, so restore, rebuild and verify leave them alone."""
    key = live_key_for(event(1), 3, "jpg", SETTINGS)
    assert key == key_for(event(1), Kind.SNAPSHOT, "jpg", SETTINGS).replace(".jpg", "-live-3.jpg")
    assert is_live_key(key)
    assert parse_key(key) is None
    assert not is_live_key(key_for(event(1), Kind.SNAPSHOT, "jpg", SETTINGS))


@pytest.fixture
def live_ledger(ledger: Ledger) -> Iterator[LiveLedger]:
    opened = LiveLedger(ledger.path)
    opened.open()
    yield opened
    opened.close()


def send(live: LiveLedger, number: int) -> None:
    given_number, _ = live.begin(event(number), lambda n: f"key-{n}", float(number))
    live.done(event(number).id, given_number, 9, f"sha-{given_number}", float(number))


def final(ledger: Ledger, number: int, sha256: str | None = "5" * 64) -> None:
    entry = Entry(0, event(number), Kind.SNAPSHOT, "a.jpg", "key", State.PENDING, float(number))
    (taken,) = ledger.record([entry], 0.0)
    ledger.settle([Outcome(taken, State.UPLOADED, 0, 0, 0.0, size_bytes=1, sha256=sha256, etag="e", uploaded_at=1.0)])


def test_a_number_is_never_given_twice(live_ledger: LiveLedger) -> None:
    """Also when the picture never arrived: it may be in the bucket all the same."""
    assert live_ledger.begin(event(1), str, 1.0) == (1, "1")
    send(live_ledger, 1)
    assert live_ledger.begin(event(1), str, 1.0) == (3, "3")
    assert live_ledger.begin(event(2), str, 1.0) == (1, "1")
    assert live_ledger.last_sha256(event(1).id) == "sha-2"
    assert live_ledger.last_sha256(event(2).id) is None


def test_only_what_has_a_verified_final_one_is_superfluous(ledger: Ledger, live_ledger: LiveLedger) -> None:
    """The first stays when it shall; what is deleted is not named again."""
    for number in (1, 1, 1, 2, 3):
        send(live_ledger, number)
    final(ledger, 1)
    final(ledger, 2, sha256=None)
    assert [p.number for p in live_ledger.superfluous(keep_first=False)] == [1, 2, 3]
    assert [p.number for p in live_ledger.superfluous(keep_first=True)] == [2, 3]
    live_ledger.deleted(live_ledger.superfluous(keep_first=True)[0])
    assert [p.number for p in live_ledger.superfluous(keep_first=True)] == [3]
    assert [p.number for p in live_ledger.of_event(event(1).id)] == [1, 3]


def test_what_is_in_progress_has_no_final_one(ledger: Ledger, live_ledger: LiveLedger) -> None:
    """Its newest picture, the newest event first."""
    for number in (1, 2, 2, 3):
        send(live_ledger, number)
    final(ledger, 3)
    assert [(p.event_id, p.number) for p in live_ledger.in_progress(0.0)] == [(event(2).id, 2), (event(1).id, 1)]
    assert live_ledger.in_progress(5.0) == []


@pytest.mark.parametrize(
    "odd",
    [
        "began_at = 9e999",
        "uploaded_at = -9e999",
        "uploaded_at = 1e18",
        "camera = CAST(x'ff80' AS TEXT), label = char(27) || '[2J'",
        "key = '', sha256 = NULL, size_bytes = -1",
    ],
)
def test_one_odd_picture_among_twenty_hides_no_other(ledger: Ledger, live_ledger: LiveLedger, odd: str) -> None:
    """Neither from `status` and the page, nor from the deletion of what is superfluous."""
    for number in range(1, 22):
        send(live_ledger, number)
    ledger.connection.execute(f"UPDATE live SET {odd} WHERE event_id = ?", (event(7).id,))  # noqa: S608
    others = {event(number).id for number in range(1, 22) if number != 7}
    assert others <= {picture.event_id for picture in live_ledger.in_progress(0.0)}
    settings = load({
        "S3_BUCKET": "b-b", "S3_STATE_DIR": str(ledger.path.parent), "S3_LIVE": "true", "FRIGATE_URL": "http://127.0.0.1:9",
    }).settings  # fmt: skip
    status = read_status(settings, 30.0)
    json.dumps(status.to_dict(), allow_nan=False)
    assert others <= {found.event_id for found in running_events(settings, 30.0)}
    for number in range(1, 22):
        final(ledger, number)
    assert others <= {picture.event_id for picture in live_ledger.superfluous(keep_first=False)}
