"""What `status` makes of facts that a service noted, or something else wrote."""

from __future__ import annotations

import fcntl
import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from frigate_s3_mirror.environment import load
from frigate_s3_mirror.ledger import Ledger
from frigate_s3_mirror.ledger_file import FILE_NAME, LOCK_NAME
from frigate_s3_mirror.status import read_status
from frigate_s3_mirror.status_view import render

FACTS = (
    "health",
    "reason",
    "health_since",
    "alive_at",
    "started_at",
    "stopped_at",
    "s3_answered_at",
    "version",
    "limits",
    "pid",
)
ODD: tuple[object, ...] = (
    None,
    "",
    "x",
    "\x1b[2J\n",
    [],
    {},
    [[1]],
    True,
    -1,
    1e300,
    float("inf"),
    float("nan"),
    10**400,
)


@pytest.mark.parametrize("fact", FACTS)
@pytest.mark.parametrize("is_running", [True, False])
def test_one_odd_fact_among_good_ones_ends_nothing(tmp_path: Path, fact: str, is_running: bool) -> None:
    """The status is JSON, and can be shown."""
    now = time.time()
    ledger = Ledger(tmp_path / FILE_NAME)
    ledger.open()
    settings = load({"S3_BUCKET": "b-b", "S3_STATE_DIR": str(tmp_path)}).settings
    with (tmp_path / LOCK_NAME).open("wb") as lock:
        if is_running:
            fcntl.flock(lock, fcntl.LOCK_EX)
        for odd in ODD:
            good = {
                "health": "OK",
                "reason": "",
                "health_since": now - 5,
                "alive_at": now,
                "started_at": now - 9,
                "pid": 1,
            }
            ledger.note(**good, s3_answered_at=now, version="1", limits=[], stopped_at=None)
            ledger.note(**{fact: odd})
            status = read_status(settings, now)
            assert status.running is is_running
            json.dumps(status.to_dict(), allow_nan=False)
            Console(file=io.StringIO()).print(render(status, now))
    ledger.close()
