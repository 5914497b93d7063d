"""Segments on a bad day: huge ones, ones that Frigate deletes or moves while they are read, uploads that are broken off."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.simulated_recordings import SimulatedSegment
from frigate_s3_mirror.keys import segment_name
from frigate_s3_mirror.storage.store import PART, parts_etag
from oracles import size
from recording_proxy import Fault, FaultKind
from servers import Target

LARGE = 40_000_000
"""Bytes; sent in five parts."""


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def recorded(
    frigate: SimulatedFrigate, *sizes: int, seconds: float = 20.0
) -> tuple[SimulatedEvent, list[SimulatedSegment]]:
    """An event that is over, and its segments of these sizes."""
    event = frigate.begin_event(start_time=time.time() - 200)
    frigate.write_files(event)
    event = frigate.complete_row(event, event.start_time + seconds)
    segments = [
        frigate.add_segment("yard", event.start_time + 2 * number, 2.0, size_bytes=size_bytes)
        for number, size_bytes in enumerate(sizes)
    ]
    return event, segments


def running(mirror_for: MakeMirror, frigate: SimulatedFrigate, target: Target, **more: str) -> RunningMirror:
    mirror = mirror_for(frigate, target, S3_ARTIFACTS="snapshot,clip", **more)
    mirror.start()
    return mirror


def key_of(target: Target, segment: SimulatedSegment) -> str | None:
    """Where the bucket has it."""
    client = target.client()
    try:
        found = client.list_objects_v2(Bucket=target.bucket).get("Contents", [])
        name = f"/{segment_name(segment.start_time)}.mp4"
        return next((item["Key"] for item in found if item["Key"].endswith(name)), None)
    finally:
        client.close()


def is_stored(target: Target, segment: SimulatedSegment, sha256: str) -> bool:
    """Whether the bucket has it, byte for byte; read a part at a time."""
    key = key_of(target, segment)
    if key is None:
        return False
    client = target.client()
    digest = hashlib.sha256()
    for chunk in client.get_object(Bucket=target.bucket, Key=key)["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
    client.close()
    return digest.hexdigest() == sha256


def sha256_of(segment: SimulatedSegment) -> str:
    with segment.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clip_counts(mirror: RunningMirror) -> dict[str, int]:
    """Parts of clips by state, as `status` tells them."""
    counts: dict[str, int] | None = json.loads(mirror.command("status", "--json").stdout)["clips"]
    return counts or {}


def unfinished(target: Target) -> int:
    """Uploads in parts that were neither completed nor aborted."""
    client = target.client()
    try:
        return len(client.list_multipart_uploads(Bucket=target.bucket).get("Uploads", []))
    finally:
        client.close()


def test_a_huge_segment_takes_no_memory(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Sent from disk in parts (2 GB in the full form), while snapshots go as ever."""
    event, (segment,) = recorded(frigate, size(300_000_000, 2_000_000_000))
    mirror = running(mirror_for, frigate, rclone, S3_STATUS_LISTEN="off")
    mirror.wait_for(lambda: "is ready" in mirror.log())
    other = frigate.end_event(frigate.begin_event(), delay=0.001)
    mirror.wait_for(lambda: other.id in mirror.log(), 10)
    mirror.wait_for(lambda: f"{segment_name(segment.start_time)}.mp4" in mirror.log(), 300)
    peak = mirror.memory_mb("VmHWM")
    print(f"\n{segment.path.stat().st_size / 1e9:.1f} GB: peak memory {peak:.0f} MB")
    assert is_stored(rclone, segment, sha256_of(segment))
    assert peak < 150
    assert event.id in mirror.log()


@pytest.mark.parametrize("what", ["deletes", "moves"])
def test_frigate_takes_a_segment_away_while_it_is_read(
    what: str, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """What was opened is read to its end: the bucket gets it whole."""
    rclone_proxy.proxy.inject(Fault(FaultKind.HANG, methods=frozenset({"POST", "PUT"}), path_part=".mp4"))
    _, (segment,) = recorded(frigate, LARGE)
    sha256 = sha256_of(segment)
    mirror = running(mirror_for, frigate, rclone_proxy)
    mirror.wait_for(lambda: _is_open(mirror, segment.path))
    if what == "deletes":
        frigate.delete_segment(segment)
    else:
        segment.path.rename(segment.path.with_name("elsewhere.mp4"))
    rclone_proxy.proxy.heal()
    rclone_proxy.proxy.release()
    mirror.wait_for(lambda: is_stored(rclone_proxy, segment, sha256) or "S3 upload lost" in mirror.log(), 60)
    # A first try that was broken off opens the file anew, and then it is gone: a loss that is told, not a silent one.
    assert is_stored(rclone_proxy, segment, sha256) or clip_counts(mirror)["expired"] == 1
    assert "Traceback" not in mirror.log()


def test_a_segment_that_is_gone_is_a_loss_that_is_told(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """S3 was away too long; the other segments go, and the playlist names those."""
    event, segments = recorded(frigate, 50_000, 50_000, 50_000)
    with rclone_proxy.proxy.refusing():
        mirror = running(mirror_for, frigate, rclone_proxy)
        mirror.wait_for(lambda: "S3 uploads wait" in mirror.log())
        mirror.wait_for(lambda: clip_counts(mirror).get("pending") == 3)
        frigate.delete_segment(segments[1])
    mirror.wait_for(lambda: any(key.endswith("clip.m3u8") for key in rclone_proxy.objects()), 90)
    (playlist,) = [content for key, content in rclone_proxy.objects().items() if key.endswith("clip.m3u8")]
    assert playlist.decode().count(".mp4") == 2
    assert segment_name(segments[1].start_time) not in playlist.decode()
    assert f"S3 upload lost event={event.id}" in mirror.log()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.ANSWER, 1, path_part="partNumber=2", status=500, code="InternalError"),
        Fault(FaultKind.RESET_BEFORE, 1, path_part="partNumber=3"),
        Fault(FaultKind.ANSWER, 1, methods=frozenset({"POST"}), path_part="uploadId=", status=503),
    ],
    ids=["a part is refused", "the connection breaks", "the end is refused"],
)
def test_an_upload_that_fails_in_the_middle_leaves_no_parts(
    fault: Fault, moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """It is sent again, whole, and nothing unfinished stays in the bucket."""
    moto_proxy.proxy.inject(fault)
    _, (segment,) = recorded(frigate, LARGE)
    mirror = running(mirror_for, frigate, moto_proxy)
    mirror.wait_for(lambda: f"{segment_name(segment.start_time)}.mp4" in mirror.log(), 90)
    assert is_stored(moto_proxy, segment, sha256_of(segment))
    assert any(exchange.fault for exchange in moto_proxy.proxy.requests("PUT", "POST"))
    assert unfinished(moto_proxy) == 0


def test_what_a_kill_leaves_of_a_large_upload_is_cleaned_up(
    moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The next start aborts its own unfinished upload, and nobody else's, and sends the segment."""
    client = moto_proxy.client()
    key = "frigate/snapshots/else.mp4"
    theirs = client.create_multipart_upload(Bucket=moto_proxy.bucket, Key=key)["UploadId"]
    moto_proxy.proxy.inject(Fault(FaultKind.HANG, path_part="partNumber=3"))
    _, (segment,) = recorded(frigate, LARGE)
    mirror = running(mirror_for, frigate, moto_proxy)
    mirror.wait_for(lambda: unfinished(moto_proxy) == 2)
    mirror.stop(mirror.processes[-1], signal.SIGKILL)
    moto_proxy.proxy.heal()
    moto_proxy.proxy.release()
    mirror.start()
    mirror.wait_for(lambda: is_stored(moto_proxy, segment, sha256_of(segment)), 90)
    assert "S3 clips: 1 unfinished uploads of before are cleaned up" in mirror.log()
    left = client.list_multipart_uploads(Bucket=moto_proxy.bucket)["Uploads"]
    client.close()
    assert [upload["UploadId"] for upload in left] == [theirs]


def test_the_etag_of_an_object_in_parts_is_foretold(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """So it is compared with what S3 answers, as the MD5 of small ones is."""
    _, (segment,) = recorded(frigate, LARGE)
    assert mirror_for(frigate, moto, S3_ARTIFACTS="snapshot,clip").command("run", "--once").returncode == 0
    client = moto.client()
    etag = client.head_object(Bucket=moto.bucket, Key=key_of(moto, segment) or "")["ETag"].strip('"')
    client.close()
    content = segment.path.read_bytes()
    parts = [content[start : start + PART] for start in range(0, len(content), PART)]
    assert etag == parts_etag([hashlib.md5(part).digest() for part in parts])  # noqa: S324


def _is_open(mirror: RunningMirror, path: Path) -> bool:
    folder = Path(f"/proc/{mirror.processes[-1].pid}/fd")
    found = []
    for link in folder.iterdir():
        try:
            found.append(link.readlink())
        except OSError:  # closed meanwhile
            continue
    return path in found
