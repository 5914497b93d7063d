"""The heartbeat object and `fleet`, with real services and a real bucket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import Fault, FaultKind
from servers import Target


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def content(target: Target, key: str) -> dict[str, Any]:
    client = target.client()
    try:
        found: dict[str, Any] = json.loads(client.get_object(Bucket=target.bucket, Key=key)["Body"].read())
    finally:
        client.close()
    return found


def put(target: Target, key: str, body: bytes) -> None:
    client = target.client()
    client.put_object(Bucket=target.bucket, Key=key, Body=body)
    client.close()


def ready(mirror: RunningMirror) -> None:
    mirror.start()
    mirror.wait_for(lambda: "health=OK" in mirror.log())


def test_the_heartbeat_says_how_the_mirror_does(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Written at the start and at each change of health, with the numbers of that moment."""
    mirror = mirror_for(frigate, rclone_proxy, S3_SITE="farm house", S3_HEARTBEAT_INTERVAL="1h")
    ready(mirror)
    key = "frigate/snapshots/.mirror/farm-house.json"
    assert content(rclone_proxy, key)["site"] == "farm house"
    frigate.end_event(frigate.begin_event(), delay=0.001)
    mirror.wait_for(lambda: "S3 upload done" in mirror.log())
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=403, code="AccessDenied", path_part="/yard/"))
    event = frigate.end_event(frigate.begin_event(), delay=0.001)
    mirror.wait_for(lambda: "health=DEGRADED" in mirror.log())
    rclone_proxy.proxy.heal()
    mirror.wait_for(lambda: event.id in mirror.log().split("health=DEGRADED")[1], 60)
    mirror.wait_for(lambda: content(rclone_proxy, key)["last_upload_at"] is not None, 60)
    said = content(rclone_proxy, key)
    assert (said["health"], said["missing_24h"], said["failed"], said["interval"]) == ("OK", 0, 0, 3600)
    assert said["last_upload_key"].startswith("frigate/snapshots/yard/")
    assert abs(time.time() - said["at"]) < 60
    assert rclone_proxy.secret_key not in json.dumps(said)
    beats = [e for e in rclone_proxy.proxy.requests("PUT") if ".mirror" in e.path]
    assert len(beats) <= 4


def test_flapping_health_does_not_flood_the_bucket(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """At most one heartbeat in ten seconds, however often it changes."""
    mirror = mirror_for(frigate, rclone_proxy, S3_HEARTBEAT_INTERVAL="1h")
    ready(mirror)
    began = time.monotonic()
    for _ in range(3):
        with rclone_proxy.proxy.refusing():
            for _ in range(3):
                frigate.end_event(frigate.begin_event(), delay=0.001)
            mirror.wait_for(lambda: mirror.log().rfind("health=DEGRADED") > mirror.log().rfind("health=OK"))
        mirror.wait_for(lambda: mirror.log().rfind("health=OK") > mirror.log().rfind("health=DEGRADED"), 60)
    beats = [e for e in rclone_proxy.proxy.requests("PUT") if ".mirror" in e.path and e.status == 200]
    assert len(beats) <= 2 + (time.monotonic() - began) / 10


def test_the_fleet_is_read_from_the_bucket(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Two sites that run, one that fell silent, one that is damaged; in prefixes beside and above each other."""
    for site, prefix in (("north", "sites/north"), ("south", "sites/south")):
        mirror = mirror_for(
            frigate, rclone, S3_SITE=site, S3_PATH_PREFIX=prefix, S3_STATE_DIR=str(frigate.clips_dir.parent / f"state-{site}")
        )  # fmt: skip
        ready(mirror)
    reader = mirror_for(frigate, rclone, S3_PATH_PREFIX="sites/south", COLUMNS="80")
    fine = reader.command("fleet")
    assert fine.returncode == 0, fine.stdout + fine.stderr
    put(rclone, ".mirror/west.json", json.dumps({"site": "west", "version": "1", "at": time.time() - 7200}).encode())
    put(rclone, "sites/.mirror/broken.json", b"<html>")
    put(
        rclone,
        "far/away/below/.mirror/east.json",
        json.dumps({"site": "east", "version": "1", "at": time.time()}).encode(),
    )
    put(rclone, "sites/south/.mirror/doctor-south.json", b"{}")
    done = reader.command("fleet")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1].split()[:2] == ["west", "SILENT"], done.stdout
    assert "This is no heartbeat of the mirror's." in done.stdout
    assert max(map(len, lines)) <= 80
    states = {
        site["key"]: site["state"] for site in json.loads(reader.command("fleet", "--json", "--everywhere").stdout)
    }
    assert states == {
        ".mirror/west.json": "SILENT", "sites/.mirror/broken.json": "UNREADABLE", "far/away/below/.mirror/east.json": "OK",
        "sites/north/.mirror/north.json": "OK", "sites/south/.mirror/south.json": "OK",
    }  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr


def test_a_key_that_may_not_list_is_told_what_to_allow(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Write-only keys write heartbeats, and cannot read the fleet's."""
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=403, code="AccessDenied", methods=frozenset({"GET"})))
    done = mirror_for(frigate, rclone_proxy).command("fleet")
    assert done.returncode == 2
    assert "allow s3:ListBucket" in done.stderr


def test_an_empty_fleet_is_no_success(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Nor a bucket that is not there."""
    reader = mirror_for(frigate, rclone)
    for more in ((), ("--everywhere",), ("--json",)):
        done = reader.command("fleet", *more)
        assert done.returncode == 2, done.stdout
        assert "No site has written a heartbeat" in done.stdout + done.stderr
    reader.environment["S3_BUCKET"] = "nosuchbucket"
    done = reader.command("fleet")
    assert done.returncode == 2
    assert "there is no bucket 'nosuchbucket'; create it, or check S3_BUCKET and S3_ENDPOINT_URL." in done.stderr


def test_a_huge_heartbeat_is_not_read(
    moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Its site is unreadable, the other twenty are shown, in little memory."""
    now = time.time()
    for number in range(20):
        said = {"site": f"site-{number:02}", "version": "1", "at": now, "interval": 3600}
        put(moto_proxy, f"frigate/snapshots/.mirror/{number:02}.json", json.dumps(said).encode())
    put(moto_proxy, "frigate/snapshots/.mirror/huge.json", b"[" * 60_000_000)
    done = mirror_for(frigate, moto_proxy).command("fleet")
    assert done.returncode == 1, done.stderr
    assert all(f"site-{number:02}" in done.stdout for number in range(20))
    assert "The answer is longer than" in done.stdout
