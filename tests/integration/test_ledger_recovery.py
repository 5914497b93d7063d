"""The ledger's own accidents, end to end: a late file, another bucket, a ledger that lost its memory."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended, started
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import conserved
from recording_proxy import Fault, FaultKind
from servers import Target


def states(frigate: SimulatedFrigate) -> dict[str, int]:
    path = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    if path.exists():
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection,
            suppress(sqlite3.OperationalError),
        ):
            return dict(connection.execute("SELECT state, count(*) FROM object GROUP BY state"))
    return {}  # not made yet


def hidden(frigate: SimulatedFrigate, events: list[SimulatedEvent], shelf: Path) -> list[tuple[Path, Path]]:
    """Take the files of events away; where they were, and where they are."""
    shelf.mkdir()
    files = [path for event in events for path in frigate.clips_dir.glob(f"*{event.id}*")]
    return [(path, path.rename(shelf / path.name)) for path in files]


def well(mirror: RunningMirror, events: list[SimulatedEvent], target: Target, tmp_path: Path) -> None:
    """Verify is content, and restore gives every picture back."""
    verified = mirror.command("verify", "--deep", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    verdict = json.loads(verified.stdout)
    assert (verdict["checked"], verdict["missing"], verdict["unknown"]) == (len(events), 0, 0)
    restored = mirror.command("restore", "--to", str(tmp_path / "restored"))
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert f"{len(events)} restored" in restored.stdout
    conserved(target, events)


@pytest.mark.parametrize("at_once", [False, True], ids=["in an outage", "at once"])
def test_files_that_come_after_their_rows_are_mirrored_like_all_others(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path, *, at_once: bool
) -> None:
    """Six rows of twenty without files; they appear, during an outage with a restart, or while S3 is well."""
    others = ended(frigate, 14)
    mirror = mirror_for(frigate, rclone_proxy)
    process = mirror.start()
    mirror.wait_for(lambda: states(frigate) == {"uploaded": 14})
    mirror.stop(process)
    events = ended(frigate, 6)
    files = hidden(frigate, events, tmp_path / "shelf")
    if not at_once:
        rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=503, code="SlowDown"))
    process = mirror.start()
    mirror.wait_for(lambda: states(frigate) == {"uploaded": 14, "awaited": 6})
    for path, shelf in files:
        shelf.rename(path)
    expected = {"uploaded": 20} if at_once else {"uploaded": 14, "pending": 6}
    mirror.wait_for(lambda: states(frigate) == expected)
    if not at_once:
        mirror.stop(process)
        rclone_proxy.proxy.heal()
        mirror.start()
        mirror.wait_for(lambda: states(frigate) == {"uploaded": 20})
    mirror.stop(mirror.processes[-1])
    assert "failed" not in states(frigate)
    well(mirror, [*others, *events], rclone_proxy, tmp_path)


@pytest.mark.parametrize("change", ["bucket", "prefix", "endpoint"])
def test_another_destination_gets_all_that_frigate_has(
    change: str,
    rclone: Target,
    rclone_target: Callable[[], Target],
    frigate: SimulatedFrigate,
    mirror_for: MakeMirror,
    tmp_path: Path,
) -> None:
    """Commands do not count the old bucket's uploads before the service ran; then all is sent; and back again nothing."""
    events = ended(frigate, 10)
    before = mirror_for(frigate, rclone)
    assert before.command("run", "--once").returncode == 0
    other, more = rclone, {}
    if change == "bucket":
        other = rclone_target()
    elif change == "prefix":
        more = {"S3_PATH_PREFIX": "other"}
    else:
        other = replace(rclone, endpoint_url=rclone.endpoint_url.replace("127.0.0.1", "localhost"))
    after = mirror_for(frigate, other, **more)
    for command in ("status", "verify"):
        done = after.command(command)
        assert done.returncode == 2
        assert "is about the uploads to" in done.stderr
    with_wrong_keys = mirror_for(frigate, other, S3_SECRET_KEY="wrong", **more)
    with_wrong_keys.command("run", "--once")
    proof = json.loads(with_wrong_keys.command("status", "--json").stdout)["proof"]["7 d"]
    assert (proof["in_frigate"], proof["uploaded"], proof["missing"]) == (10, 0, 10)
    done = after.command("run", "--once")
    assert done.returncode == 0, done.stdout
    status = json.loads(after.command("status", "--json").stdout)
    assert status["proof"]["7 d"]["uploaded"] == 10
    assert after.command("verify").returncode == 0
    back = before.command("run", "--once")
    assert back.returncode == 0
    assert "S3 upload done" not in back.stdout
    assert "0 objects are sent again" in back.stdout
    assert before.command("verify", "--deep").returncode == 0
    assert len(events) == 10


@pytest.mark.parametrize("loss", ["empty", "no -wal", "no tables"])
def test_a_ledger_without_its_memory_sends_nothing_again(
    loss: str, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A power cut left an empty file, or none of what was in the -wal: the state files say what S3 has."""
    events = ended(frigate, 30)
    mirror = started(mirror_for(frigate, rclone_proxy))
    mirror.wait_for(lambda: states(frigate) == {"uploaded": 30})
    listed = frigate.clips_dir / "cache" / ".s3_uploaded_events"
    mirror.wait_for(lambda: len(listed.read_text().splitlines()) == 30)
    mirror.stop(mirror.processes[-1], signal.SIGKILL)
    ledger = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    for ending in ("-wal", "-shm"):
        ledger.with_name(f"ledger.db{ending}").unlink()
    if loss == "empty":
        ledger.write_bytes(b"")
    elif loss == "no tables":
        ledger.unlink()
        with closing(sqlite3.connect(ledger)) as connection:
            connection.execute("PRAGMA user_version = 5")
    rclone_proxy.proxy.forget()
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    assert "imported uploaded=30" in done.stdout
    puts = [request.path for request in rclone_proxy.proxy.requests("PUT") if "/.mirror/" not in request.path]
    assert puts == []
    conserved(rclone_proxy, events)


def test_what_the_spool_keeps_goes_to_the_new_destination(
    rclone_proxy: WatchedTarget,
    rclone_target: Callable[[], Target],
    frigate: SimulatedFrigate,
    mirror_for: MakeMirror,
) -> None:
    """Frigate has deleted it meanwhile, and the bucket that it waited for is another one now."""
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=503, code="SlowDown"))
    mirror = started(mirror_for(frigate, rclone_proxy))
    events = ended(frigate, 3)
    spool = frigate.db_path.parent / ".s3-mirror" / "spool"
    mirror.wait_for(lambda: spool.is_dir() and len(list(spool.iterdir())) == 3)
    mirror.stop(mirror.processes[-1])
    pictures = {event.id: event.snapshot_path.read_bytes() for event in events if event.snapshot_path is not None}
    for event in events:
        assert event.snapshot_path is not None
        event.snapshot_path.unlink()
    other = rclone_target()
    done = mirror_for(frigate, other, S3_PATH_PREFIX="frigate/snapshots").command("run", "--once")
    assert done.returncode == 0, done.stdout
    conserved(other, events, pictures)
    assert list(spool.iterdir()) == []
