"""Clips: the segments of an event's recording leave while the event runs, with the real service and real S3 servers."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, started
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.simulated_recordings import SimulatedSegment
from frigate_s3_mirror.keys import segment_name
from recording_proxy import Fault, FaultKind
from servers import Target

CLIPS = {"S3_ARTIFACTS": "snapshot,clip", "S3_CLIP_PRE": "5s", "S3_CLIP_POST": "5s"}


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    """Its rows bear the paths of its container, as a sidecar sees them."""
    with SimulatedFrigate(
        tmp_path / "frigate", version="0.17", cameras=("yard", "front-door"), media_path="/media/frigate"
    ) as simulated:
        yield simulated


def around(frigate: SimulatedFrigate, event: SimulatedEvent, *offsets: float) -> list[SimulatedSegment]:
    """Segments that begin so many seconds after the event's start."""
    return [frigate.add_segment(event.camera, event.start_time + offset) for offset in offsets]


def ended(frigate: SimulatedFrigate, seconds: float = 20.0, camera: str = "yard", ago: float = 200.0) -> SimulatedEvent:
    """An event of the past that took so long."""
    event = frigate.begin_event(camera=camera, start_time=time.time() - ago)
    frigate.write_files(event)
    return frigate.complete_row(event, event.start_time + seconds)


def clip_of(target: Target, event: SimulatedEvent) -> dict[str, bytes]:
    """What lies in the event's folder: names below it, with their content."""
    folder = f"/{event.id}/"
    found = {}
    for key, content in target.objects().items():
        if folder in key:
            before, name = key.split(folder)
            assert before.startswith(f"frigate/snapshots/{event.camera}/20")
            found[name] = content
    return found


def expected(segments: list[SimulatedSegment]) -> dict[str, bytes]:
    return {f"{segment_name(segment.start_time)}.mp4": segment.path.read_bytes() for segment in segments}


def playlist_names(content: bytes) -> list[str]:
    return [line for line in content.decode().splitlines() if not line.startswith("#")]


def clips(mirror_for: MakeMirror, frigate: SimulatedFrigate, target: Target, **more: str) -> RunningMirror:
    return mirror_for(frigate, target, **{**CLIPS, **more})


@pytest.mark.parametrize("version", ["0.13", "0.14", "0.16", "0.18"])
def test_a_clip_is_what_overlaps_the_event_and_its_margins(
    s3: Target, version: str, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """Whole segments, byte for byte, and a playlist in their order; neighbours and other cameras stay where they are."""
    with SimulatedFrigate(tmp_path / "frigate", version=version, cameras=("yard", "front-door")) as frigate:
        event = ended(frigate, seconds=20)
        around(frigate, event, -26, 36)  # too early, too late
        wanted = around(frigate, event, -12, -2, 8, 18)
        frigate.add_segment("front-door", event.start_time)
        done = clips(mirror_for, frigate, s3).command("run", "--once")
        assert done.returncode == 0, done.stdout
        found = clip_of(s3, event)
        playlist = found.pop("clip.m3u8")
        assert found == expected(wanted)
        assert playlist_names(playlist) == sorted(found)
        assert playlist.startswith(b"#EXTM3U\n#EXTINF:10.000,")
        assert "Traceback" not in done.stdout


def test_segments_leave_while_the_event_runs(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Each as it is closed; the playlist when the event is over and Frigate has recorded past its end."""
    mirror = started(clips(mirror_for, frigate, rclone))
    event = frigate.begin_event(camera="yard")
    first = around(frigate, event, -4)
    mirror.wait_for(lambda: clip_of(rclone, event) == expected(first))
    second = around(frigate, event, 6)
    mirror.wait_for(lambda: clip_of(rclone, event) == expected([*first, *second]))
    frigate.write_files(event)
    frigate.complete_row(event, event.start_time + 8)
    around(frigate, event, 16)  # begins after the clip's end: nothing more can come
    mirror.wait_for(lambda: "clip.m3u8" in clip_of(rclone, event))
    assert mirror.stop(mirror.processes[-1]) == 0


def test_what_is_left_of_a_clip_when_everything_is_killed(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """All that was closed; a restart sends the rest once, and nothing twice."""
    mirror = started(clips(mirror_for, frigate, rclone))
    event = frigate.begin_event(camera="yard")
    segments = around(frigate, event, -4)
    mirror.wait_for(lambda: len(clip_of(rclone, event)) == 1)
    mirror.stop(mirror.processes[-1], signal.SIGKILL)
    segments += around(frigate, event, 6, 16)
    mirror.start()
    mirror.wait_for(lambda: clip_of(rclone, event) == expected(segments))
    assert mirror.log().count("S3 upload done") == 3


def test_nothing_is_sent_twice(rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Neither by a second look nor by a second run; two events of one camera have a clip each."""
    one, two = ended(frigate), ended(frigate)
    around(frigate, one, 0, 10)
    mirror = clips(mirror_for, frigate, rclone_proxy)
    for _ in range(2):
        assert mirror.command("run", "--once").returncode == 0
    stored = rclone_proxy.stored()
    assert sorted(clip_of(rclone_proxy, one)) == sorted(clip_of(rclone_proxy, two))
    assert set(stored.values()) - {1} <= {2}  # the heartbeat object is written by each run
    assert [key for key, count in stored.items() if count > 1 and "/.mirror/" not in f"/{key}"] == []


def test_clips_only_of_what_is_wanted(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """By label, camera and what the review calls it; snapshots of all go as ever."""
    alert, detection, neither = (ended(frigate, ago=ago) for ago in (900, 600, 300))
    cat = frigate.begin_event(camera="front-door", label="cat", start_time=time.time() - 100)
    frigate.write_files(cat)
    cat = frigate.complete_row(cat, cat.start_time + 10)
    for event in (alert, detection, neither, cat):
        around(frigate, event, 0)
    for event, severity in ((alert, "alert"), (detection, "detection"), (cat, "alert")):
        frigate.end_review(frigate.begin_review([event], severity), event.end_time)

    def with_clips(**more: str) -> set[str]:
        mirror = clips(mirror_for, frigate, rclone, S3_STATE_DIR=str(frigate.db_path.with_name(str(len(more)))), **more)
        mirror.environment["S3_PATH_PREFIX"] = f"frigate/snapshots/{'-'.join(more) or 'all'}"
        assert mirror.command("run", "--once").returncode == 0
        keys = [key for key in rclone.objects() if key.startswith(mirror.environment["S3_PATH_PREFIX"] + "/")]
        assert sum(key.endswith(".jpg") for key in keys) == 4
        return {key.split("/")[-2] for key in keys if key.endswith(".mp4")}

    assert with_clips() == {alert.id, detection.id, neither.id, cat.id}
    assert with_clips(S3_CLIP_SEVERITY="alert") == {alert.id, cat.id}
    assert with_clips(S3_CLIP_SEVERITY="alert,detection", S3_CLIP_LABELS="!cat") == {alert.id, detection.id}
    assert with_clips(S3_CLIP_CAMERAS="front-*", S3_CLIP_LABELS="", S3_CLIP_POST="1s") == {cat.id}


def test_a_review_that_becomes_an_alert_brings_its_clip(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Frigate raises a detection while the event runs: then also the segments of before go."""
    mirror = started(clips(mirror_for, frigate, rclone, S3_CLIP_SEVERITY="alert"))
    event = frigate.begin_event(camera="yard")
    review = frigate.begin_review([event], "detection")
    segments = around(frigate, event, -4, 6)
    time.sleep(2.5)
    assert clip_of(rclone, event) == {}
    frigate.raise_review(review)
    mirror.wait_for(lambda: clip_of(rclone, event) == expected(segments))


def test_an_old_frigate_without_reviews_loses_nothing(rclone: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """S3_CLIP_SEVERITY has no effect on 0.13, and the log says so."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.13", cameras=("yard",)) as frigate:
        event = ended(frigate)
        around(frigate, event, 0)
        mirror = started(clips(mirror_for, frigate, rclone, S3_CLIP_SEVERITY="alert"))
        mirror.wait_for(lambda: len(clip_of(rclone, event)) == 2)
        assert mirror.log().count("has no review items, so S3_CLIP_SEVERITY has no effect") == 1


def test_a_parked_car_does_not_send_its_days(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """S3_CLIP_MAX bounds the clip of one event, from its beginning."""
    event = ended(frigate, seconds=3000, ago=3100)
    segments = around(frigate, event, *range(0, 3000, 10))
    done = clips(mirror_for, frigate, rclone, S3_CLIP_MAX="60s").command("run", "--once")
    assert done.returncode == 0, done.stdout
    found = clip_of(rclone, event)
    assert len(found) == 7
    assert set(found) - {"clip.m3u8"} == set(expected(segments[:6]))


def test_the_status_tells_of_clips_apart(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Backlog, lag and counts are about pictures."""
    event = ended(frigate)
    around(frigate, event, 0, 10)
    mirror = clips(mirror_for, frigate, rclone)
    assert mirror.command("run", "--once").returncode == 0
    told = json.loads(mirror.command("status", "--json").stdout)
    assert (told["counts"]["uploaded"], told["clips"]["uploaded"], told["backlog"]) == (1, 3, 0)
    verified = json.loads(mirror.command("verify", "--deep", "--json").stdout)
    assert (verified["fine"], verified["checked"], verified["unknown"]) == (True, 4, 0)


def test_the_ledger_comes_back_from_the_bucket_with_its_clips(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """After `rebuild` nothing of a clip is sent again."""
    event = ended(frigate)
    around(frigate, event, 0, 10)
    mirror = clips(mirror_for, frigate, rclone)
    assert mirror.command("run", "--once").returncode == 0
    for path in (frigate.db_path.parent / ".s3-mirror").iterdir():
        if path.is_file():
            path.unlink()
    rebuilt = mirror.command("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr
    again = mirror.command("run", "--once")
    assert again.returncode == 0, again.stdout
    assert "S3 upload done" not in again.stdout


@pytest.mark.parametrize("knows", [True, False], ids=["ledger", "bucket alone"])
def test_a_clip_comes_back_when_it_is_asked_for(
    knows: bool, tmp_path: Path, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """`restore --clips` writes segments and playlist into a folder that plays; without it, pictures only."""
    event = ended(frigate)
    segments = around(frigate, event, 0, 10)
    mirror = clips(mirror_for, frigate, rclone)
    assert mirror.command("run", "--once").returncode == 0
    if not knows:
        mirror.environment["S3_STATE_DIR"] = str(tmp_path / "new machine")
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    for folder, more in ((plain, ()), (whole, ("--clips",))):
        done = mirror.command("restore", "--to", str(folder), *more)
        assert done.returncode == 0, done.stdout + done.stderr
    assert [path.suffix for path in plain.rglob("*") if path.is_file()] == [".jpg"]
    (playlist,) = whole.rglob("clip.m3u8")
    found = {path.name: path.read_bytes() for path in playlist.parent.iterdir()}
    assert playlist.parent.name == event.id
    assert found.items() >= expected(segments).items()
    assert set(playlist_names(playlist.read_bytes())) == set(expected(segments))


def test_tags_let_the_bucket_forget_clips_earlier(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Only where a retention of their own is set; the rules that `lifecycle` writes fit the tags."""
    event = ended(frigate)
    around(frigate, event, 0)
    mirror = clips(mirror_for, frigate, moto, S3_RETENTION_DAYS="365", S3_CLIP_RETENTION_DAYS="30")
    assert mirror.command("run", "--once").returncode == 0
    client = moto.client()
    tagged = {
        key.rsplit(".", 1)[1]: client.get_object_tagging(Bucket=moto.bucket, Key=key)["TagSet"]
        for key in moto.objects()
    }
    assert tagged == {
        "jpg": [],
        "mp4": [{"Key": "frigate", "Value": "clip"}],
        "m3u8": [{"Key": "frigate", "Value": "clip"}],
    }
    done = mirror.command("lifecycle", "--apply")
    assert done.returncode == 0, done.stderr
    rules = {rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=moto.bucket)["Rules"]}
    client.close()
    assert rules["frigate-s3-mirror"]["Expiration"]["Days"] == 365
    assert rules["frigate-s3-mirror-clip"]["Expiration"]["Days"] == 30
    assert rules["frigate-s3-mirror-clip"]["Filter"]["And"]["Tags"] == [{"Key": "frigate", "Value": "clip"}]
    policy = json.loads(mirror.command("iam-policy").stdout)["Statement"]
    assert "s3:PutObjectTagging" in policy[0]["Action"]
    assert policy[1]["Action"] == ["s3:ListBucketMultipartUploads"]


def test_a_clip_that_s3_refuses_holds_up_no_snapshot(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Clips have threads and a breaker of their own: while S3 hangs on segments, pictures go as ever."""
    mirror = started(clips(mirror_for, frigate, rclone_proxy, S3_UPLOAD_THREADS="1"))
    rclone_proxy.proxy.inject(Fault(FaultKind.HANG, path_part=".mp4"))
    running = frigate.begin_event(camera="yard")
    around(frigate, running, -4, 6, 16)
    mirror.wait_for(lambda: bool(rclone_proxy.proxy.requests("PUT")))
    time.sleep(1.5)
    began = time.monotonic()
    final = frigate.end_event(frigate.begin_event(camera="front-door"), delay=0.001)
    mirror.wait_for(lambda: final.id in mirror.log())
    assert time.monotonic() - began < 3.0
    rclone_proxy.proxy.heal()
    rclone_proxy.proxy.release()
    mirror.wait_for(lambda: len(clip_of(rclone_proxy, running)) == 3, 60)


def test_a_recordings_folder_that_is_not_mounted_is_told(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Once, of however many segments, and `run --once` ends; when the folder is there, its segments go by themselves."""
    event = ended(frigate)
    segments = around(frigate, event, 0, 10)
    elsewhere = frigate.recordings_dir.with_name("elsewhere")
    frigate.recordings_dir.rename(elsewhere)
    mirror = clips(mirror_for, frigate, rclone)
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert done.stdout.count("S3 uploads wait: Frigate's recordings folder") == 1
    assert "2 are not in the bucket yet; the next run sends them" in done.stdout
    assert "will be retried" not in done.stdout
    started(mirror)
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "DEGRADED")
    told = json.loads(mirror.command("status", "--json").stdout)
    assert "FRIGATE_RECORDINGS_DIR" in told["reason"]
    assert (told["clips"]["pending"], told["clips"]["expired"]) == (2, 0)
    elsewhere.rename(frigate.recordings_dir)
    mirror.wait_for(lambda: clip_of(rclone, event).items() >= expected(segments).items(), 60)
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "OK", 60)


def test_doctor_looks_at_the_recordings(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """None yet, a readable one, and a folder that is not mounted; only where clips are wanted."""

    def finding(**more: str) -> dict[str, str]:
        told = clips(mirror_for, frigate, rclone, **more).command("doctor", "--json").stdout
        return next(({**f} for f in json.loads(told)["checks"] if f["name"] == "recordings"), {})

    assert finding()["verdict"] == "skipped"
    assert clips(mirror_for, frigate, rclone).command("run", "--once").returncode == 0
    assert "recorded nothing" in finding()["seen"]
    frigate.add_segment("yard", time.time() - 20)
    assert (finding()["verdict"], finding(S3_ARTIFACTS="snapshot")) == ("ok", {})
    away = finding(FRIGATE_RECORDINGS_DIR="/no/such/folder")
    assert away["verdict"] == "failed"
    assert "FRIGATE_RECORDINGS_DIR" in away["fix"]
