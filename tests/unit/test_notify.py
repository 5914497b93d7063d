"""People get few messages, and those arrive."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.announcer import GATHER, LOSSES_EVERY, PATIENCE, QUIET, Announcer, Message
from frigate_s3_mirror.environment import load
from frigate_s3_mirror.health import Condition, Health
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.notify import Notifier
from http_listener import Listener, listening
from onlookers import JumpingClock, Running, log_lines, outcome, until

# One of Apprise's many plugins still looks for it.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
OK = Condition(Health.OK)
DEGRADED = Condition(Health.DEGRADED, "S3 is away.")
DOWN = Condition(Health.DOWN, "Frigate is away.")
happenings = st.sampled_from([OK, DEGRADED, DOWN, "lost", "nothing"])


def driven(history: Sequence[tuple[float, object]]) -> list[tuple[float, Message]]:
    """What an announcer has to say when each step comes so many seconds after the one before, and when."""
    announcer, now = Announcer("home", 0.0), 0.0
    said: list[tuple[float, Message]] = []

    def let_speak(until_when: float) -> None:
        nonlocal now
        while (at := announcer.next_at()) is not None and at <= until_when:
            now = max(now, at)
            messages = announcer.due(now)
            assert messages, "it wanted to speak and had nothing to say"
            said.extend((now, message) for message in messages)
        now = until_when

    for number, (wait, what) in enumerate(history):
        let_speak(now + wait)
        if isinstance(what, Condition):
            announcer.health(what, now)
        elif what == "lost":
            announcer.settled([outcome(number, State.EXPIRED), outcome(number, State.FAILED)], now)
        let_speak(now)
    let_speak(now + 2 * LOSSES_EVERY)
    return said


@given(st.lists(st.tuples(st.integers(0, 1000), happenings), max_size=200))
def test_never_a_flood(history: list[tuple[float, object]]) -> None:
    """Trouble at most every half hour, its end only after its beginning, losses at most once an hour: 7 in any hour."""
    said = driven(history)
    losses = [at for at, message in said if "lost" in message.body]
    health = [(at, message.is_good) for at, message in said if "lost" not in message.body]
    assert [good for _, good in health] == [bool(n % 2) for n in range(len(health))]
    troubles = [at for at, good in health if not good]
    assert all(later - earlier >= QUIET for earlier, later in itertools.pairwise(troubles))
    assert all(later - earlier >= LOSSES_EVERY for earlier, later in itertools.pairwise(losses))
    for begin, _ in said:
        assert sum(begin <= at < begin + 3600 for at, _ in said) <= 7


@given(st.lists(st.tuples(st.integers(0, 1000), happenings), max_size=100))
def test_every_loss_is_told_once(history: list[tuple[float, object]]) -> None:
    """The counts of all messages together are the losses."""
    counts = [int(message.body.split()[0]) for _, message in driven(history) if "lost" in message.body]
    assert sum(counts) == sum(what == "lost" for _, what in history)


def test_trouble_of_five_minutes_is_told_once_and_its_end_once() -> None:
    """DEGRADED, then DOWN, then OK: the first moment counts, the last reason is told."""
    said = driven([(10, OK), (100, DEGRADED), (200, DOWN), (4000, DEGRADED), (50, OK)])
    assert [(at, message.body) for at, message in said] == [
        (110 + PATIENCE, "Not well for 5 min, now DOWN: Frigate is away."),
        (4360, "All is well again: health is OK."),
    ]
    assert {message.title for _, message in said} == {"Frigate S3 mirror home"}


def test_short_trouble_is_told_to_nobody() -> None:
    """Neither the trouble nor its end."""
    assert driven([(10, OK), (100, DEGRADED), (PATIENCE - 1, OK), (9999, OK)]) == []


def test_a_service_that_never_gets_well_is_told() -> None:
    """Nothing was ever heard of its health."""
    said = driven([(0, "nothing")])
    assert [(at, message.is_good) for at, message in said] == [(PATIENCE, False)]


def test_losses_are_gathered_by_camera() -> None:
    """All of the first minute in one message, cameras with most losses first; later ones wait for the hour."""
    announcer = Announcer("home", 0.0)
    announcer.health(OK, 0.0)
    lost = [outcome(n, State.EXPIRED, f"cam{n % 7}") for n in range(15)]
    announcer.settled([*lost, lost[0]], 100.0)
    assert announcer.due(100.0 + GATHER - 1) == []
    (message,) = announcer.due(100.0 + GATHER)
    assert message.body.startswith("15 snapshots were lost before S3 had them: cam0 (3), cam1 (2), cam2 (2)")
    assert "and 2 more cameras" in message.body
    announcer.settled([outcome(99, State.EXPIRED, "yard")], 200.0)
    assert announcer.next_at() == 100.0 + GATHER + LOSSES_EVERY
    (message,) = announcer.due(100.0 + GATHER + LOSSES_EVERY)
    assert message.body.startswith("1 snapshot was lost before S3 had them: yard (1).")


# -- the way out, through Apprise to a real server ---------------------------------------------------------------------


def notifier(urls: str, clock: JumpingClock) -> Notifier:
    base = {"S3_BUCKET": "bucket", "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret", "S3_SITE": "home"}
    settings = load({**base, "S3_NOTIFY_URL": urls}).settings
    return Notifier(settings, clock, next_tries=(0.01, 0.02, 0.03))


def address(server: Listener, word: str = "hidden") -> str:
    return f"json://user:{word}@127.0.0.1:{server.port}/{word}"


async def announced(urls: str, *, arrived: int, server: Listener) -> None:
    """Trouble that lasts is announced, and so is its end."""
    clock = JumpingClock()
    observer = notifier(urls, clock)
    async with Running(observer):
        clock.ahead += PATIENCE
        observer.health_changed(DEGRADED, 0.0)
        await until(lambda: len(server.bodies) == arrived)
        observer.health_changed(OK, 0.0)
        await until(lambda: len(server.bodies) == 2 * arrived)


def test_messages_arrive_at_every_address() -> None:
    """Two addresses, two messages each, with title and text; nothing is logged."""
    with listening() as server, log_lines() as lines:
        asyncio.run(announced(f"{address(server)} {address(server)}", arrived=2, server=server))
        sent = [json.loads(body) for body in server.bodies]
    assert [message["type"] for message in sent] == ["warning", "warning", "success", "success"]
    assert sent[0]["title"] == "Frigate S3 mirror home"
    assert sent[0]["message"].startswith("Not well for 5 min")
    assert sent[0]["message"].endswith("now DEGRADED: S3 is away.")
    assert lines == []


def test_an_address_that_apprise_does_not_know_is_told_by_number() -> None:
    """The good one beside it still works, and the bad one's text is nowhere."""
    with listening() as server, log_lines() as lines:
        asyncio.run(announced(f"nosuch://hidden {address(server)}", arrived=1, server=server))
    assert lines == ["S3 snapshot mirror: Apprise does not understand address 1 of S3_NOTIFY_URL"]


def test_a_failed_send_is_tried_again_and_only_there() -> None:
    """The first address answers with 500 twice: it gets its message at the third try, the other one gets it once."""

    async def scene(broken: Listener, good: Listener) -> None:
        clock = JumpingClock()
        observer = notifier(f"{address(broken)} {address(good)}", clock)
        async with Running(observer):
            clock.ahead += PATIENCE
            observer.health_changed(DEGRADED, 0.0)
            await until(lambda: len(broken.bodies) == 3 and len(good.bodies) == 1)

    with listening() as broken, listening() as good, log_lines() as lines:
        broken.statuses = [500, 500]
        asyncio.run(scene(broken, good))
    assert lines == [
        "S3 snapshot mirror: a message to address 1 of S3_NOTIFY_URL could not be sent; trying again up to 3 times"
    ]


def test_a_message_that_cannot_be_sent_is_given_up_after_four_tries(caplog: pytest.LogCaptureFixture) -> None:
    """Two lines, none of any library with the address, and the next message is sent again."""

    async def scene(server: Listener, lines: list[str]) -> None:
        clock = JumpingClock()
        observer = notifier(address(server), clock)
        async with Running(observer):
            clock.ahead += PATIENCE
            observer.health_changed(DEGRADED, 0.0)
            await until(lambda: len(lines) == 2)
            observer.health_changed(OK, 0.0)
            await until(lambda: len(server.bodies) == 5)

    caplog.set_level(logging.DEBUG)
    with listening() as server, log_lines() as lines:
        server.statuses = [500] * 4
        asyncio.run(scene(server, lines))
    assert lines[1] == "S3 snapshot mirror: a message to address 1 of S3_NOTIFY_URL was given up"
    assert not any("hidden" in line for line in lines)
    assert "hidden" not in caplog.text
