"""What happens to Frigate's database and to the eyes on its folder, while the mirror runs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from conftest import CAMERAS, MakeMirror, RunningMirror, ended, started
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import conserved, drained, size
from servers import Target

INOTIFY_LIMITS = Path("/proc/sys/fs/inotify")


@contextmanager
def lowered(name: str, value: str) -> Iterator[None]:
    """One of inotify's limits, lowered for a while; skips the test where the system does not let us."""
    limit = INOTIFY_LIMITS / name
    try:
        before = limit.read_text()
        limit.write_text(value)
    except OSError as error:
        pytest.skip(f"inotify's limits cannot be lowered here: {error}")
    try:
        yield
    finally:
        limit.write_text(before)


def status(mirror: RunningMirror) -> dict[str, object]:
    content: dict[str, object] = json.loads(mirror.command("status", "--json").stdout)
    return content


def test_a_long_write_of_frigates_delays_nothing(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A write transaction that stays open for seconds: what was committed before is mirrored meanwhile."""
    mirror = started(mirror_for(frigate, rclone))
    events = ended(frigate, 1)
    with closing(sqlite3.connect(frigate.db_path, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE event SET label = 'dog'")
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 1)
        other.execute("ROLLBACK")
    events += ended(frigate, 3)
    drained(mirror)
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 4)
    conserved(rclone, events)


def test_a_vacuum_changes_nothing(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Row numbers are new afterwards; nothing is sent again."""
    mirror = started(mirror_for(frigate, rclone))
    events = ended(frigate, 20)
    drained(mirror)
    with closing(sqlite3.connect(frigate.db_path, isolation_level=None, timeout=10)) as other:
        other.execute("DELETE FROM event WHERE id = ?", (events[0].id,))
        other.execute("VACUUM")
    events += ended(frigate, 2)
    drained(mirror)
    assert mirror.log().count("S3 upload done") == 22
    conserved(rclone, events)


def test_an_older_backup_is_no_reason_to_forget(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Frigate is restored to a state without the newest events: those stay mirrored, later ones are mirrored, too."""
    first = ended(frigate, 3)
    backup = frigate.db_path.with_name("backup.db")
    with closing(sqlite3.connect(frigate.db_path)) as connection:
        connection.execute("VACUUM INTO ?", (str(backup),))
    mirror = started(mirror_for(frigate, rclone))
    second = ended(frigate, 3)
    drained(mirror)
    frigate.close()
    for ending in ("-wal", "-shm"):
        Path(f"{frigate.db_path}{ending}").unlink(missing_ok=True)
    shutil.copy(backup, frigate.db_path.with_name("new.db"))
    frigate.db_path.with_name("new.db").replace(frigate.db_path)
    with SimulatedFrigate(frigate.db_path.parents[1], version="0.17", cameras=CAMERAS, seed=2) as restored:
        third = ended(restored, 3)
        drained(mirror)
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 9)
        conserved(rclone, [*first, *second, *third])


def test_a_corrupt_database_is_down_and_comes_back(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """DOWN with the reason while it cannot be read; deleted and made anew by Frigate, all goes on."""
    mirror = started(mirror_for(frigate, rclone))
    first = ended(frigate, 2)
    drained(mirror)
    frigate.close()
    for ending in ("-wal", "-shm"):
        Path(f"{frigate.db_path}{ending}").unlink(missing_ok=True)
    broken = frigate.db_path.with_name("broken.db")
    broken.write_bytes(b"this is no database\n" * 1000)
    broken.replace(frigate.db_path)
    mirror.wait_for(lambda: status(mirror)["health"] == "DOWN")
    assert "cannot be read" in str(status(mirror)["reason"])
    frigate.db_path.unlink()
    with SimulatedFrigate(frigate.db_path.parents[1], version="0.17", cameras=CAMERAS, seed=3) as again:
        second = ended(again, 2)
        mirror.wait_for(lambda: "Successfully reconnected to database" in mirror.log())
        drained(mirror)
        mirror.wait_for(lambda: status(mirror)["health"] == "OK")
        conserved(rclone, [*first, *second])
    assert "Traceback" not in mirror.log()


def test_frigates_wal_can_be_truncated_while_we_read(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """No read transaction of ours lingers: a truncating checkpoint is not busy, again and again."""
    frigate.bulk(size(3_000, 30_000), 0, 5, files=False)
    mirror = mirror_for(frigate, rclone)
    mirror.start()
    busy = 0
    with closing(sqlite3.connect(frigate.db_path, timeout=1)) as other:
        for _ in range(40):
            busy += other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            time.sleep(0.05)
    assert busy <= 2  # a page is being read in that very moment


def test_without_inotify_the_scan_does_it(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The user's watch limit is reached: told once, and new pictures are found all the same."""
    with lowered("max_user_instances", "0"):
        mirror = started(mirror_for(frigate, rclone))
        events = ended(frigate, 4)
        drained(mirror)
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 4)
    assert mirror.log().count("new snapshots are found by scanning until it works") == 1
    conserved(rclone, events)


def test_lost_notifications_are_found_by_a_scan(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The service is stopped while more files are closed than the queue holds: an overflow, and a scan after it."""
    with lowered("max_queued_events", "16"):
        mirror = started(mirror_for(frigate, rclone))
        mirror.processes[-1].send_signal(19)  # SIGSTOP
        events = ended(frigate, 60)
        mirror.processes[-1].send_signal(18)  # SIGCONT
        drained(mirror)
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 60)
    assert "inotify lost events; scanning" in mirror.log()
    conserved(rclone, events)
