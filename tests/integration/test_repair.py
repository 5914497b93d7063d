"""`verify` beside a service at work, and what `--repair` sends again: the right bytes under each key, or a word why not."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, started
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.entries import Entry
from http_messages import Message, Server
from recording_proxy import Fault, FaultKind, RecordingProxy
from servers import Target

PREFIX = "frigate/snapshots"
ALL_KINDS = {"S3_ARTIFACTS": "snapshot,clean,thumbnail,metadata,clip", "S3_CLIP_PRE": "5s", "S3_CLIP_POST": "5s"}


class HoldingProxy(RecordingProxy):
    """Holds the answers to listings back until it is told to let go: what a bucket of a million objects does."""

    def __init__(self, upstream_url: str) -> None:
        super().__init__(upstream_url)
        self.holds, self.let_go = threading.Event(), threading.Event()

    def _answer(self, request: Message, fault: Fault | None, server: Server) -> Message | None:
        answer = super()._answer(request, fault, server)
        if "list-type=2" in request.first_line[1]:
            self.holds.set()
            self.let_go.wait(60)
        return answer


@pytest.fixture
def holding(rclone: Target) -> Iterator[WatchedTarget]:
    with HoldingProxy(rclone.endpoint_url) as proxy:
        yield WatchedTarget(**vars(replace(rclone, endpoint_url=proxy.endpoint_url)), proxy=proxy)


def past_event(frigate: SimulatedFrigate, ago: float = 300.0, camera: str = "yard") -> SimulatedEvent:
    event = frigate.begin_event(camera=camera, start_time=time.time() - ago)
    return frigate.complete_row(frigate.write_files(event), event.start_time + 20)


def verified(mirror: RunningMirror, *arguments: str) -> tuple[int, dict[str, object]]:
    done = mirror.command("verify", "--json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("arguments", [(), ("--repair",), ("--deep", "--repair")], ids=["plain", "repair", "deep"])
def test_a_service_at_work_is_no_loss(
    holding: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, arguments: tuple[str, ...]
) -> None:
    """While the listing takes its time, events end, segments come, playlists are made: nothing is missed or sent twice."""
    assert isinstance(holding.proxy, HoldingProxy)
    mirror = mirror_for(frigate, holding, **ALL_KINDS)
    before = past_event(frigate)
    frigate.add_segment(before.camera, before.start_time)
    started(mirror)
    mirror.wait_for(lambda: any("clip.m3u8" in key for key in holding.stored()))
    command = [sys.executable, "-m", "frigate_s3_mirror", "verify", "--json", *arguments]
    with subprocess.Popen(command, env=mirror.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as verifying:
        mirror.wait_for(holding.proxy.holds.is_set)
        meanwhile = [past_event(frigate, ago=600.0 + 60 * n) for n in range(5)]
        for event in meanwhile:
            frigate.add_segment(event.camera, event.start_time)
            frigate.add_segment(event.camera, event.start_time + 10)
        live = [frigate.end_event(frigate.begin_event(camera="front-door"), delay=0.001) for _ in range(5)]
        playlists = [f"/{event.id}/clip.m3u8" for event in meanwhile]
        mirror.wait_for(lambda: all(any(key.endswith(end) for key in holding.stored()) for end in playlists), 60)
        mirror.wait_for(lambda: all(expected_key(event, PREFIX) in holding.stored() for event in live))
        frigate.end_event(frigate.begin_event(camera="front-door"), delay=0.001)
        holding.proxy.let_go.set()
        stdout, stderr = verifying.communicate(timeout=120)
    assert verifying.returncode == 0, stdout.decode() + stderr.decode()
    found = json.loads(stdout)
    assert [found[name] for name in ("missing", "different", "unmirrored", "waiting", "requeued")] == [0] * 5
    assert {key: n for key, n in holding.stored().items() if n > 1 and "/.mirror/" not in f"/{key}"} == {}


def test_a_lagging_listing_is_asked_twice(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """What a listing lacks and S3 has is not missing; where the key may not read, its own listing tells."""
    mirror = mirror_for(frigate, rclone_proxy)
    frigate.bulk(20, size_bytes=2000)
    assert mirror.command("run", "--once").returncode == 0
    connection = sqlite3.connect(frigate.db_path.parent / ".s3-mirror" / "ledger.db")
    with connection:  # as if the listing were older than the ledger: the object is there, in another place
        connection.execute("UPDATE object SET key = 'frigate/elsewhere/' || event_id || '.jpg' WHERE id IN (3, 4)")
    rows = connection.execute("SELECT event_id, key FROM object WHERE id = 3").fetchall()
    connection.close()
    client = rclone_proxy.client()
    body = next(
        event.snapshot_path.read_bytes() for event in frigate.events if event.snapshot_path and event.id == rows[0][0]
    )
    client.put_object(Bucket=rclone_proxy.bucket, Key=rows[0][1], Body=body)
    client.close()
    for fault in (None, Fault(FaultKind.ANSWER, status=403, code="AccessDenied", methods=frozenset({"HEAD"}))):
        if fault is not None:
            rclone_proxy.proxy.inject(fault)
        returncode, found = verified(mirror)
        assert (returncode, found["checked"], found["missing"]) == (1, 20, 1)


def test_a_playlist_that_is_made_again_lacks_nothing(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Also when its segments are queued again at the same time, and one of them cannot be sent any more."""
    event = past_event(frigate)
    segments = [frigate.add_segment(event.camera, event.start_time + offset) for offset in (0, 10)]
    mirror = mirror_for(frigate, rclone, **ALL_KINDS)
    assert mirror.command("run", "--once").returncode == 0
    (playlist,) = [key for key in rclone.objects() if key.endswith("clip.m3u8")]
    whole = rclone.objects()[playlist]
    client = rclone.client()
    for key in [key for key in rclone.objects() if f"/{event.id}/" in key]:
        client.delete_object(Bucket=rclone.bucket, Key=key)
    client.close()
    segments[1].path.unlink()
    returncode, found = verified(mirror, "--repair")
    assert (returncode, found["missing"], found["requeued"], found["beyond_repair"]) == (1, 3, 2, [event.id])
    mirror.command("run", "--once")
    assert rclone.objects()[playlist] == whole


@pytest.mark.parametrize("version", ["0.13", "0.14", "0.16", "0.17", "0.18"])
@pytest.mark.parametrize("way", ["rebuild", "damaged ledger"])
def test_what_is_sent_again_after_a_rebuild_is_the_same(
    moto: Target, version: str, way: str, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """Every kind, from its own source: no thumbnail becomes a snapshot, no document is given up."""
    with SimulatedFrigate(tmp_path / "frigate", version=version, cameras=("front-door", "yard")) as frigate:
        event = past_event(frigate)
        past_event(frigate, 400.0, "front-door")
        for offset in (0, 10):
            frigate.add_segment(event.camera, event.start_time + offset)
        mirror = mirror_for(frigate, moto, **ALL_KINDS)
        assert mirror.command("run", "--once").returncode == 0
        original = moto.objects()
        _lose_the_ledger(frigate, whole=way == "rebuild")
        command = ("rebuild",) if way == "rebuild" else ("run", "--once")
        done = mirror.command(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        client = moto.client()
        for key in original:
            client.delete_object(Bucket=moto.bucket, Key=key)
        client.close()
        returncode, found = verified(mirror, "--repair")
        assert (returncode, found["missing"], found["requeued"], found["beyond_repair"]) == (
            1,
            len(original),
            len(original),
            [],
        )
        done = mirror.command("run", "--once")
        assert done.returncode == 0, done.stdout
        assert moto.objects() == original
        assert verified(mirror, "--deep")[0] == 0


def _lose_the_ledger(frigate: SimulatedFrigate, *, whole: bool) -> None:
    state = frigate.db_path.parent / ".s3-mirror"
    for path in (frigate.clips_dir / "cache").glob(".s3_*"):
        path.unlink()
    if whole:
        shutil.rmtree(state)
    else:
        (state / "ledger.db").write_bytes(b"no database" * 1000)


def test_a_ledger_that_names_the_wrong_source_is_not_believed(
    moto: Target, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """Ledgers that older versions made from a bucket name the snapshot for thumbnail and document."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.14", cameras=("yard",)) as frigate:
        event = past_event(frigate)
        mirror = mirror_for(frigate, moto, S3_ARTIFACTS="snapshot,clean,thumbnail,metadata")
        assert mirror.command("run", "--once").returncode == 0
        original = moto.objects()
        connection = sqlite3.connect(frigate.db_path.parent / ".s3-mirror" / "ledger.db")
        with connection:
            connection.execute("UPDATE object SET source = ?", (f"yard-{event.id}.jpg",))
        connection.close()
        client = moto.client()
        for key in original:
            client.delete_object(Bucket=moto.bucket, Key=key)
        client.close()
        assert verified(mirror, "--repair")[1]["requeued"] == len(original)
        assert mirror.command("run", "--once").returncode == 0
        assert moto.objects() == original


def test_what_nobody_can_know_is_not_guessed(moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """A flat key without metadata does not say its camera: it is adopted, and told as beyond repair when it is gone."""
    mirror = mirror_for(frigate, moto, S3_KEY_TEMPLATE="{prefix}/{event_id}")
    past_event(frigate)
    assert mirror.command("run", "--once").returncode == 0
    (key,) = moto.objects()
    client = moto.client()
    client.put_object(Bucket=moto.bucket, Key=key, Body=b"bare")
    _lose_the_ledger(frigate, whole=True)
    assert mirror.command("rebuild").returncode == 0
    client.delete_object(Bucket=moto.bucket, Key=key)
    client.close()
    returncode, found = verified(mirror, "--repair")
    assert (returncode, found["missing"], found["requeued"]) == (1, 1, 0)
    assert "cannot be sent again" in mirror.command("verify", "--repair").stdout


def test_a_changed_object_that_may_not_be_replaced_is_told_at_once(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """With S3_OVERWRITE=never nothing is queued that would be refused; with =changed it is replaced."""
    mirror = mirror_for(frigate, moto, S3_OVERWRITE="never")
    event = past_event(frigate)
    assert mirror.command("run", "--once").returncode == 0
    key = expected_key(event, PREFIX)
    original = moto.objects()[key]
    client = moto.client()
    client.put_object(Bucket=moto.bucket, Key=key, Body=b"changed")
    client.close()
    returncode, found = verified(mirror, "--repair")
    assert (returncode, found["different"], found["requeued"], found["left_alone"]) == (1, 1, 0, 1)
    assert "set S3_OVERWRITE=changed" in " ".join(mirror.command("verify", "--repair").stdout.split())
    mirror.environment["S3_OVERWRITE"] = "changed"
    assert verified(mirror, "--repair")[1]["requeued"] == 1
    assert mirror.command("run", "--once").returncode == 0
    assert moto.objects()[key] == original
    assert verified(mirror, "--deep")[0] == 0


@pytest.mark.skipif(
    "was_uploaded" not in Entry.__dataclass_fields__, reason="the ledger does not say yet what S3 had before"
)
def test_a_changed_object_is_replaced_unless_that_is_forbidden(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Without S3_OVERWRITE, what the mirror itself sent before is sent over what is there now."""
    mirror = mirror_for(frigate, moto)
    event = past_event(frigate)
    assert mirror.command("run", "--once").returncode == 0
    key = expected_key(event, PREFIX)
    original = moto.objects()[key]
    client = moto.client()
    client.put_object(Bucket=moto.bucket, Key=key, Body=b"changed")
    client.close()
    assert verified(mirror, "--repair")[1]["requeued"] == 1
    assert mirror.command("run", "--once").returncode == 0
    assert moto.objects()[key] == original


def test_what_was_given_up_and_came_back_is_told(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Absent and expired are looked at in the folder, not believed."""
    mirror = mirror_for(frigate, rclone)
    for ago in (90_000.0, 90_100.0, 90_200.0):
        past_event(frigate, ago)
    assert mirror.command("run", "--once").returncode == 0
    connection = sqlite3.connect(frigate.db_path.parent / ".s3-mirror" / "ledger.db")
    with connection:
        connection.execute("UPDATE object SET state = 'absent' WHERE id = 1")
        connection.execute("UPDATE object SET state = 'expired' WHERE id = 2")
    connection.close()
    returncode, found = verified(mirror)
    assert (returncode, found["checked"], found["unmirrored"]) == (1, 1, 2)


def test_what_waits_is_told_as_waiting(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """It is not in the bucket, and nothing is wrong with it either."""
    mirror = mirror_for(frigate, rclone_proxy)
    past_event(frigate)
    assert mirror.command("run", "--once").returncode == 0
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=503, code="ServiceUnavailable"))
    past_event(frigate)
    mirror.command("run", "--once")
    returncode, found = verified(mirror)
    assert (returncode, found["unmirrored"], found["waiting"]) == (1, 0, 1)


def test_what_frigate_changed_while_no_service_ran_is_told_and_sent_again(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Two pictures of twenty: one that was written again, one whose id stands for another event. Copies are no change."""
    mirror = mirror_for(frigate, moto)
    events = [past_event(frigate, 90_000.0 + 60 * n) for n in range(20)]
    assert mirror.command("run", "--once").returncode == 0
    before = moto.objects()
    for event in events:
        assert event.snapshot_path is not None
        os.utime(event.snapshot_path, (event.start_time + 500, event.start_time + 500))
    assert verified(mirror)[0] == 0
    again, other = events[3], events[7]
    assert again.snapshot_path is not None
    again.snapshot_path.write_bytes(again.snapshot_path.read_bytes() + b"more")
    os.utime(again.snapshot_path, (again.start_time + 500, again.start_time + 500))
    with closing(sqlite3.connect(frigate.db_path)) as connection, connection:
        connection.execute("UPDATE event SET start_time = start_time - 200000 WHERE id = ?", (other.id,))
    returncode, found = verified(mirror)
    assert (returncode, found["changed"], found["different"], found["unmirrored"]) == (1, 2, 0, 0)
    assert verified(mirror, "--since", "1h")[0] == 2
    mirror.environment["S3_OVERWRITE"] = "never"
    assert [verified(mirror, "--repair")[1][name] for name in ("requeued", "left_alone")] == [0, 2]
    assert moto.objects() == before
    del mirror.environment["S3_OVERWRITE"]
    assert [verified(mirror, "--repair")[1][name] for name in ("requeued", "beyond_repair")] == [2, []]
    assert mirror.command("run", "--once").returncode == 0
    after = moto.objects()
    assert after[expected_key(again, PREFIX)] == again.snapshot_path.read_bytes()
    assert len(after) == len(before) + 1
    assert after[expected_key(other, PREFIX)] == before[expected_key(other, PREFIX)], "both are kept"
    assert verified(mirror, "--deep")[0] == 0
