"""Loops are kept going, and problems are told when they begin, now and then, and when they are over."""

from __future__ import annotations

import asyncio
import logging

import pytest

from frigate_s3_mirror.logs import logger
from frigate_s3_mirror.runtime.problem_log import TELL_AGAIN_SECONDS, ProblemLog
from frigate_s3_mirror.runtime.supervisor import Supervisor
from onlookers import log_lines, until


def supervisor() -> Supervisor:
    return Supervisor(logger(), "S3 snapshot mirror", first_pause=0.001, longest_pause=0.01)


def test_a_loop_that_raises_is_started_anew_counted_and_told_once_for_the_same() -> None:
    """Its neighbours go on meanwhile."""

    async def scene() -> tuple[list[str], int, Supervisor]:
        kept, lives, turns = supervisor(), [0], [0]

        async def poisoned() -> None:
            lives[0] += 1
            if lives[0] <= 20:
                raise ValueError("odd row" if lives[0] <= 19 else "another row")
            await asyncio.Event().wait()

        async def neighbour() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0.001)

        with log_lines() as lines:
            tasks = [
                asyncio.create_task(kept.keep(name, loop)) for name, loop in (("scan", poisoned), ("other", neighbour))
            ]
            await until(lambda: lives[0] == 21)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        return lines, turns[0], kept

    lines, turns, kept = asyncio.run(scene())
    assert kept.restarts == {"scan": 20}
    assert lines == ["S3 snapshot mirror: scan failed, starting it anew"] * 2
    assert turns > 20


def test_a_loop_that_returns_has_done_its_work() -> None:
    """A page whose port is switched off, say."""

    async def scene() -> None:
        async def loop() -> None:
            return

        await asyncio.wait_for(supervisor().keep("page", loop), 5)

    asyncio.run(scene())


def test_the_pause_grows_and_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 10:
            raise asyncio.CancelledError

    async def loop() -> None:
        raise OSError("no")

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with log_lines(), pytest.raises(asyncio.CancelledError):
        asyncio.run(Supervisor(logger(), "x").keep("y", loop))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def problem_log(now: list[float]) -> ProblemLog:
    return ProblemLog(logger(), "It is not well: %s", "It is well again", level=logging.ERROR, monotonic=lambda: now[0])


def test_a_problem_is_told_when_it_begins_every_ten_minutes_and_when_it_is_over() -> None:
    now = [1.0]
    problem = problem_log(now)
    with log_lines() as lines:
        for second in range(0, 1500):
            now[0] = float(second)
            problem.report("no route")
        assert problem.reason == "no route"
        problem.report("no name")
        problem.clear()
        problem.clear()
    assert lines == ["It is not well: no route"] * 3 + ["It is not well: no name", "It is well again"]
    assert problem.reason is None


def test_without_words_for_its_end_what_comes_and_goes_is_not_told_each_time() -> None:
    """Some meet it and others do not."""
    now = [0.0]
    problem = ProblemLog(logger(), "Not well: %s", monotonic=lambda: now[0])
    with log_lines() as lines:
        for _ in range(5):
            assert problem.report("no folder") is (len(lines) == 1 and _ == 0)
            problem.clear()
        now[0] = TELL_AGAIN_SECONDS
        assert problem.report("no folder")
    assert len(lines) == 2
