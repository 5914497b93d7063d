"""What the disks do: Frigate deletes, shares vanish, the ledger's disk is full, read-only or damaged."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from conftest import MakeMirror, WatchedTarget, ended, started
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import conserved, drained, size
from servers import Target


def content(events: list[SimulatedEvent]) -> dict[str, bytes]:
    return {event.id: event.snapshot_path.read_bytes() for event in events if event.snapshot_path is not None}


def test_what_frigate_deletes_during_an_outage_is_still_sent(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Tried in vain or only waiting behind the others: the spool has them, and is empty when S3 has them."""
    mirror = mirror_for(frigate, rclone_proxy)
    started(mirror)
    spool = frigate.db_path.parent / ".s3-mirror" / "spool"
    with rclone_proxy.proxy.refusing():
        events = ended(frigate, 20)
        pictures = content(events)
        mirror.wait_for(lambda: spool.is_dir() and len(list(spool.iterdir())) == 20)
        for event in events:
            frigate.delete_event(event)
    drained(mirror)
    conserved(rclone_proxy, events, pictures)
    mirror.wait_for(lambda: list(spool.iterdir()) == [])


def test_a_full_disk_does_not_stop_uploads(
    small_disk: Path, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The ledger cannot grow: new events are sent from memory, and are in the ledger once there is room again."""
    mirror = mirror_for(frigate, rclone, S3_STATE_DIR=str(small_disk))
    started(mirror)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    events = ended(frigate, 40)
    mirror.wait_for(lambda: len(rclone.objects()) == 40)
    assert "cannot write its ledger" in mirror.log()
    assert mirror.log().count("Traceback") == 0, mirror.log()
    filler.unlink()
    drained(mirror)
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["counts"]["uploaded"] == 40)
    assert mirror.stop(mirror.processes[-1]) == 0
    again = mirror.command("run", "--once")
    assert "S3 upload done" not in again.stdout
    conserved(rclone, events)


@pytest.mark.parametrize("damage", ["head", "middle", "text"])
def test_a_damaged_ledger_is_set_aside(
    damage: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Kept under a dated name; the text files bring back what S3 has, so nothing is sent again."""
    events = ended(frigate, 60)
    mirror = mirror_for(frigate, rclone)
    process = mirror.start()
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 60)
    process.kill()
    process.wait()
    ledger = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = ledger.read_bytes()
    ledger.write_bytes(
        {"head": b"\0" * 4096 + whole[4096:], "middle": whole[:4096] + b"\xff" * (len(whole) - 4096), "text": b"not a ledger\n" * 999}[damage]
    )  # fmt: skip
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    assert "the ledger was damaged and is kept as" in done.stdout
    assert len(list(ledger.parent.glob("ledger.db.damaged-*"))) == 1
    assert "S3 upload done" not in done.stdout
    conserved(rclone, events)


def test_a_damaged_ledger_without_exports_is_made_from_the_bucket(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Ledger and text files are gone: the bucket tells, and nothing is sent again."""
    events = ended(frigate, 10)
    mirror = mirror_for(frigate, rclone_proxy)
    assert mirror.command("run", "--once").returncode == 0
    ledger = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    ledger.write_bytes(b"not a ledger\n" * 999)
    for path in (frigate.clips_dir / "cache").glob(".s3_*"):
        path.unlink()
    rclone_proxy.proxy.forget()
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    assert "10 objects of the bucket are in the new ledger" in done.stdout
    assert rclone_proxy.proxy.requests("PUT") == []
    conserved(rclone_proxy, events)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system read-only needs root")
def test_a_read_only_state_folder_is_a_sentence(
    small_disk: Path, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """At the start there is nothing that can be done without a ledger; the sentence names the variable."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = mirror_for(frigate, rclone, S3_STATE_DIR=str(small_disk)).command("run", "--once")
    assert done.returncode == 1
    assert "cannot be written (Read-only file system); S3_STATE_DIR chooses another" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unmounted_clips_folder_is_no_loss(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """An empty folder in its place: DEGRADED, nothing expires, and all goes on when it is back."""
    mirror = mirror_for(frigate, rclone_proxy, S3_SPOOL_MAX="0")
    started(mirror)
    away = frigate.clips_dir.with_name("away")
    with rclone_proxy.proxy.refusing():
        events = ended(frigate, 5)
        mirror.wait_for(lambda: "S3 uploads wait" in mirror.log())
        frigate.clips_dir.rename(away)
        frigate.clips_dir.mkdir()
    mirror.wait_for(lambda: "is its share mounted?" in json.loads(mirror.command("status", "--json").stdout)["reason"])
    shutil.rmtree(frigate.clips_dir)
    away.rename(frigate.clips_dir)
    drained(mirror, 90)
    events += ended(frigate, 1)
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == len(events))
    conserved(rclone_proxy, events)


def test_a_large_file_streams_with_flat_memory(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A "snapshot" of 200 MB (40 in the short form) goes in parts."""
    event = ended(frigate, 1)[0]
    assert event.snapshot_path is not None
    block = os.urandom(1_000_000)
    with event.snapshot_path.open("wb") as file:
        for _ in range(size(40, 200)):
            file.write(block)
    mirror = mirror_for(frigate, rclone)
    mirror.start()
    mirror.wait_for(lambda: "S3 upload done" in mirror.log(), 120)
    print(f"\npeak memory {mirror.memory_mb('VmHWM'):.0f} MB")
    assert mirror.memory_mb("VmHWM") < 150
    conserved(rclone, [event])
