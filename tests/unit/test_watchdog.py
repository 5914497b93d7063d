"""The watchdog is called when S3 took something, and at no other time."""

from __future__ import annotations

import asyncio
import socket

from hypothesis import given
from hypothesis import strategies as st

from frigate_s3_mirror.health import Condition, Health
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.watchdog import EVERY_SECONDS, Pulse, Watchdog, call
from http_listener import listening
from onlookers import JumpingClock, Running, log_lines, outcome, until

OK = Condition(Health.OK)
BAD = Condition(Health.DEGRADED, "S3 is away.")
steps = st.lists(st.tuples(st.floats(0.1, 200), st.sampled_from(["proved", "ok", "bad", "look"])), max_size=80)


@given(steps)
def test_a_call_needs_health_and_a_fresh_proof_and_comes_once_a_minute(history: list[tuple[float, str]]) -> None:
    """Whatever happens in whatever order; each proof serves for one call."""
    pulse, now, is_ok, proved_at, calls = Pulse(), 0.0, False, None, [-1e9]
    for wait, what in history:
        now += wait
        if what == "proved":
            pulse.proved(now)
            proved_at = now
        elif what != "look":
            is_ok = what == "ok"
            pulse.health(OK if is_ok else BAD)
        if pulse.wait(now) == 0:
            pulse.called(now)
            assert is_ok
            assert proved_at is not None
            assert calls[-1] < proved_at >= now - EVERY_SECONDS
            assert now - calls[-1] >= EVERY_SECONDS
            calls.append(now)


def test_each_proof_of_a_busy_mirror_is_followed_by_a_call_within_a_minute() -> None:
    """An upload every second: a call a minute."""
    pulse, calls = Pulse(), 0
    pulse.health(OK)
    for second in range(600):
        pulse.proved(float(second))
        if pulse.wait(float(second)) == 0:
            pulse.called(float(second))
            calls += 1
    assert calls == 10


def test_an_upload_calls_the_watchdog_and_more_of_them_do_not_call_it_again() -> None:
    """Three uploads, a loss and an idle check within a minute are one GET; after a minute it is the next."""

    async def scene() -> None:
        with listening() as server:
            clock = JumpingClock()
            watchdog = Watchdog(f"http://127.0.0.1:{server.port}/ping/secret-uuid", clock)
            async with Running(watchdog):
                watchdog.settled([outcome(1, State.UPLOADED)])
                watchdog.health_changed(OK, 0.0)
                await until(lambda: len(server.paths) == 1)
                watchdog.settled([outcome(2, State.UPLOADED), outcome(3, State.EXPIRED)])
                watchdog.health_changed(BAD, 0.0)
                clock.ahead += EVERY_SECONDS
                watchdog.proved()
                watchdog.health_changed(OK, 0.0)
                await until(lambda: len(server.paths) == 2)
            assert server.paths == ["/ping/secret-uuid"] * 2

    asyncio.run(scene())


def test_what_did_not_reach_s3_calls_nobody() -> None:
    """Failed, lost and waiting entries are no proof: only the idle check after them is."""

    async def scene() -> None:
        with listening() as server:
            clock = JumpingClock()
            watchdog = Watchdog(f"http://127.0.0.1:{server.port}/first", clock)
            async with Running(watchdog):
                watchdog.health_changed(OK, 0.0)
                watchdog.settled([outcome(n, state) for n, state in enumerate(set(State) - {State.UPLOADED})])
                assert watchdog._pulse.wait(clock.monotonic()) is None
                watchdog.proved()
                await until(lambda: len(server.paths) == 1)

    asyncio.run(scene())


def test_a_watchdog_in_trouble_is_told_once_and_without_its_address() -> None:
    """Two answers of 503, then 200: a line when it begins, a line when it is over."""

    async def scene() -> list[str]:
        with listening() as server, log_lines() as lines:
            server.statuses = [503, 503]
            clock = JumpingClock()
            watchdog = Watchdog(f"http://127.0.0.1:{server.port}/ping/secret-uuid", clock)
            async with Running(watchdog):
                watchdog.health_changed(OK, 0.0)
                for number in range(1, 4):
                    watchdog.proved()
                    await until(lambda: len(server.paths) == number)  # noqa: B023
                    clock.ahead += EVERY_SECONDS
                await until(lambda: any("again" in line for line in lines))
            return lines

    assert asyncio.run(scene()) == [
        "S3 snapshot mirror: the watchdog of S3_HEARTBEAT_URL was not reached: it answered with status 503",
        "S3 snapshot mirror: the watchdog of S3_HEARTBEAT_URL is reached again",
    ]


def test_no_words_of_a_failure_hold_the_address() -> None:
    """Nothing listens, a name is wrong, a port is no number, what answers is no HTTP."""
    with socket.socket() as free, socket.create_server(("127.0.0.1", 0)) as rude:
        free.bind(("127.0.0.1", 0))
        assert call(f"http://127.0.0.1:{free.getsockname()[1]}/secret-uuid") == "Connection refused"
        for url in ("http://user:secret-uuid@127.0.0.1:x/", "http://127.0.0.1:80/ secret-uuid", "http://[secret-uuid/"):
            assert "secret" not in str(call(url))
            assert call(url) is not None
        rude.settimeout(10)

        async def scene() -> str | None:
            asked = asyncio.get_running_loop().run_in_executor(
                None, call, f"http://127.0.0.1:{rude.getsockname()[1]}/s"
            )
            connection, _ = await asyncio.get_running_loop().run_in_executor(None, rude.accept)
            with connection:
                connection.recv(4096)
                connection.sendall(b"secret-uuid\r\n\r\n")
            return await asked

        assert asyncio.run(scene()) == "BadStatusLine"
