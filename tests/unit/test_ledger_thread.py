"""The ledger's thread: nothing that was handed to it gets lost without a word, and damage is noticed on every way."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_thread import LedgerThread


@pytest.fixture
def calls(ledger: Ledger) -> Iterator[LedgerThread]:
    thread = LedgerThread(ledger, SystemClock())
    yield thread
    thread.close()


class Broken:
    """A ledger call that fails."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *_: object) -> None:
        raise self.error


def damaged(path: Path) -> sqlite3.Error:
    """What SQLite says of a file that is none of its own."""
    path.write_bytes(b"not a ledger\n" * 999)
    connection = sqlite3.connect(path)
    try:
        connection.execute("SELECT * FROM sqlite_master")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), KeyError("x"), OSError("full"), sqlite3.OperationalError("locked")]
)
def test_a_call_that_nobody_waits_for_is_told_when_it_fails(
    error: Exception, calls: LedgerThread, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next ones go on, in their order."""
    done: list[int] = []

    async def run() -> None:
        for number in range(3):
            calls.soon(Broken(error))
            calls.soon(done.append, number)
        await calls.call(done.append, 3)

    asyncio.run(run())
    assert done == [0, 1, 2, 3]
    assert caplog.text.count("a call of the ledger failed") == 3
    assert str(error) in caplog.text
    assert calls.damage is None


@pytest.mark.parametrize("soon", [True, False])
def test_damage_is_noticed_on_every_way(soon: bool, calls: LedgerThread, tmp_path: Path) -> None:
    """Told once, in the event loop's thread, and the next start checks the file."""
    error = damaged(tmp_path / "other.db")
    told: list[str] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        calls.on_damage = lambda: told.append("in loop" if asyncio.get_running_loop() is loop else "elsewhere")
        for _ in range(2):
            if soon:
                calls.soon(Broken(error))
                await calls.call(int)
                await asyncio.sleep(0)
            else:
                with pytest.raises(sqlite3.DatabaseError):
                    await calls.call(Broken(error))

    asyncio.run(run())
    assert told == ["in loop"]
    assert calls.damage == "file is not a database"
    assert (tmp_path / "ledger.db.suspect").exists()


@pytest.mark.parametrize(
    "error", [sqlite3.IntegrityError("CHECK"), sqlite3.DataError("big"), sqlite3.OperationalError("full")]
)
def test_a_refused_value_is_no_damage(error: sqlite3.Error, calls: LedgerThread) -> None:
    """The file is whole: the service must not end for it."""

    async def run() -> None:
        with pytest.raises(type(error)):
            await calls.call(Broken(error))

    asyncio.run(run())
    assert calls.damage is None
