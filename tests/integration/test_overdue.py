"""What counts as missing by proof, asked of real databases: odd rows hide nothing, and what never had a file is no miss."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from conftest import ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry, Outcome
from frigate_s3_mirror.events import Filters, FrigateDatabase
from frigate_s3_mirror.kinds import Kind
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME
from frigate_s3_mirror.lifecycle import State
from frigate_s3_mirror.overdue import Overdue, OverdueScan

ALL = Filters().sql()
ODD_ROWS = {
    "milliseconds": "UPDATE event SET start_time = start_time * 1000, end_time = end_time * 1000 WHERE id = ?",
    "endless": "UPDATE event SET start_time = 9e999 WHERE id = ?",
    "before time": "UPDATE event SET start_time = -7e10 WHERE id = ?",
    "deep": "UPDATE event SET data = replace(hex(zeroblob(50000)), '0', '[') WHERE id = ?",
    "no UTF-8": "UPDATE event SET label = CAST(x'ff00' AS TEXT), camera = CAST(x'c328' AS TEXT) WHERE id = ?",
    "text": "UPDATE event SET start_time = 'yesterday' WHERE id = ?",
    "no JSON": "UPDATE event SET data = '{', zones = '[' WHERE id = ?",
}


@pytest.fixture
def ledger(tmp_path: Path, frigate: SimulatedFrigate) -> Ledger:
    found = Ledger(tmp_path / FILE_NAME)
    found.open()
    return found


@pytest.mark.parametrize("odd", ODD_ROWS)
def test_one_odd_row_among_twenty_hides_none_of_its_neighbours(
    odd: str, ledger: Ledger, frigate: SimulatedFrigate
) -> None:
    """Nothing is recorded, as if a scan had stumbled: the twenty are missing, or all of them."""
    events = ended(frigate, 21)
    with closing(sqlite3.connect(frigate.db_path)) as connection:
        connection.execute(ODD_ROWS[odd], (events[7].id,))
        connection.commit()
    scan = OverdueScan(ledger.path, frigate.db_path)
    found = scan.count(-1.0, time.time() + 700, 600.0, ALL)
    assert found.upto_mark == 0
    assert found.total in {20, 21}
    scan.close()
    ledger.close()


def test_what_is_recorded_is_missing_only_while_it_waits(ledger: Ledger, frigate: SimulatedFrigate) -> None:
    """Uploaded, failed, lost, absent and skipped ones are told elsewhere, or are no loss."""
    events = ended(frigate, len(State) + 2)
    database = FrigateDatabase(frigate.db_path, Filters())
    now = time.time()
    for one, state in zip(events, State, strict=False):
        (event,) = database.events([one.id])
        entry = Entry(0, event, Kind.SNAPSHOT, f"{one.id}.jpg", f"{one.id}.jpg", State.PENDING, now)
        taken = ledger.record([entry], now)
        uploaded = (
            {"uploaded_at": now, "sha256": "5" * 64, "size_bytes": 1, "etag": "e"} if state is State.UPLOADED else {}
        )
        if state is not State.PENDING:
            ledger.settle([Outcome(taken[0], state, 0, 0, 0.0, "because", **uploaded)])  # type: ignore[arg-type]
    scan = OverdueScan(ledger.path, frigate.db_path)
    assert scan.count(-1.0, now + 700, 600.0, ALL) == Overdue(0, 3)  # the pending one, and two that nobody recorded
    assert scan.count(-1.0, now, 600.0, ALL) == Overdue(0, 0)  # too young
    assert scan.count(now + 100, now + 700, 600.0, ALL) == Overdue(3, 3)
    with closing(sqlite3.connect(frigate.db_path)) as connection:
        connection.execute("UPDATE event SET has_snapshot = 0")
        connection.commit()
    assert scan.count(-1.0, now + 700, 600.0, ALL) == Overdue(0, 1)  # Frigate took the files of the others away
    scan.close()
    database.close()
    ledger.close()
