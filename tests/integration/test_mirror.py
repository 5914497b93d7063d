"""The whole program, run as its users run it, against real S3 servers and a Frigate that writes as the real one does."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from conftest import CAMERAS, MakeMirror, WatchedTarget
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX, conserved
from servers import Target

pytestmark = pytest.mark.usefixtures("utc")
"""Keys bear dates."""
RECORDINGS = Path(
    os.environ.get("FRIGATE_RECORDINGS", Path(__file__).resolve().parents[3] / "shared" / "frigate-recordings")
)


def finished(frigate: SimulatedFrigate, count: int) -> list[SimulatedEvent]:
    return [frigate.end_event(frigate.begin_event(camera=CAMERAS[n % 2], label="person")) for n in range(count)]


@pytest.mark.parametrize("version", ["0.13", "0.14", "0.16", "0.17", "0.18"])
def test_every_version_of_frigate_is_mirrored_byte_for_byte(
    s3: Target, version: str, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """jpg up to 0.17, the clean webp on 0.18; manual events, rows without files and no-snapshot events among them."""
    with SimulatedFrigate(tmp_path / "frigate", version=version, cameras=CAMERAS) as frigate:
        events = finished(frigate, 4)
        events.append(frigate.manual_event(duration=30))
        frigate.no_snapshot_event()
        frigate.killed_event()
        frigate.begin_event()
        done = mirror_for(frigate, s3).command("run", "--once")
        assert done.returncode == 0, done.stdout
        conserved(s3, events)


def test_a_second_run_sends_nothing(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """What the ledger holds is never sent again, not even to a server that is gone."""
    finished(frigate, 5)
    mirror = mirror_for(frigate, rclone_proxy)
    assert mirror.command("run", "--once").returncode == 0
    with rclone_proxy.proxy.refusing():
        again = mirror.command("run", "--once")
    assert again.returncode == 0, again.stdout
    assert "upload done" not in again.stdout


def test_objects_carry_type_and_metadata(s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Also for a label that no header can hold as it is."""
    event = frigate.end_event(frigate.begin_event(label="\u2603 snow man", sub_label="Ann"))
    assert mirror_for(frigate, s3, S3_STORAGE_CLASS="STANDARD").command("run", "--once").returncode == 0
    client = s3.client()
    head = client.head_object(Bucket=s3.bucket, Key=expected_key(event, PREFIX))
    client.close()
    metadata = {name.lower(): value for name, value in head["Metadata"].items()}
    assert event.snapshot_path is not None
    assert head["ContentType"] == "image/jpeg"
    assert metadata["event-id"] == event.id
    assert metadata["label"] == "%E2%98%83 snow man"
    assert metadata["sub-label"] == "Ann"
    assert metadata["sha256"] == hashlib.sha256(event.snapshot_path.read_bytes()).hexdigest()


def test_the_running_service_mirrors_as_events_end(
    s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """New, manual, endless and late events; then SIGTERM ends it with 0."""
    mirror = mirror_for(frigate, s3)
    process = mirror.start()
    mirror.wait_for(lambda: "is ready" in mirror.log())
    long_one = frigate.begin_event()
    events = [*finished(frigate, 3), frigate.manual_event(duration=None), frigate.manual_event(duration=20)]
    events.append(frigate.end_event(long_one))
    mirror.wait_for(lambda: len(s3.objects()) == len(events))
    assert mirror.stop(process) == 0
    conserved(s3, events)
    assert (
        "S3 Upload Stats - Success: 6, Failed: 0, Retry Queue: 0, Tracked Events: 6, Failed Events: 0, Health: OK"
        in mirror.log()
    )


def test_the_scan_alone_does_the_job_where_inotify_is_blind(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Files that come by rename from elsewhere, and an event that ran since before the start."""
    running = frigate.begin_event()
    mirror = mirror_for(frigate, rclone)
    process = mirror.start()
    mirror.wait_for(lambda: "is ready" in mirror.log())
    blind = frigate.clips_dir.with_name("elsewhere")
    os.rename(frigate.clips_dir, blind)  # noqa: PTH104  # the watch follows the folder away ...
    shutil.copytree(blind, frigate.clips_dir)  # ... and the new one in its place is not watched
    event = frigate.end_event(running)
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    assert mirror.stop(process) == 0
    conserved(rclone, [event])


def test_kill_9_at_any_moment_loses_nothing_and_repeats_little(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Killed five times while events stream; afterwards everything is there."""
    mirror = mirror_for(frigate, rclone)
    events: list[SimulatedEvent] = []
    for _ in range(5):
        process = mirror.start()
        events += finished(frigate, 8)
        mirror.stop(process, signal.SIGKILL)
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    conserved(rclone, events)


def test_an_outage_counts_against_nobody(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """With S3 away the events wait, status says why, and the next run sends them."""
    events = finished(frigate, 5)
    mirror = mirror_for(frigate, rclone)
    good = mirror.environment["S3_ENDPOINT_URL"]
    mirror.environment["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    process = mirror.start()
    mirror.wait_for(lambda: "S3 uploads wait: The S3 server refuses connections" in mirror.log())
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "DEGRADED")
    status = json.loads(mirror.command("status", "--json").stdout)
    assert status["counts"]["pending"] == 5
    assert status["counts"]["failed"] == 0
    assert "refuses connections" in status["reason"]
    mirror.stop(process)
    mirror.environment["S3_ENDPOINT_URL"] = good
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone, events)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("S3_BUCKET", "no-such-bucket", "there is no bucket"),
        ("S3_ACCESS_KEY", "wrong-key", "S3 does not know this access key"),
        ("S3_SECRET_KEY", "wrong-secret", "check S3_SECRET_KEY"),
        ("FRIGATE_DB_PATH", "/no/such/frigate.db", "check FRIGATE_DB_PATH"),
        ("FRIGATE_CLIPS_DIR", "/no/such/clips", "check FRIGATE_CLIPS_DIR"),
    ],
)
def test_what_is_wrong_outside_gets_a_sentence(
    variable: str, value: str, sentence: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """`run --once` exits 1 and says what to do; no traceback, and no secret."""
    finished(frigate, 2)
    done = mirror_for(frigate, rclone, **{variable: value}).command("run", "--once")
    assert done.returncode == 1, done.stdout
    assert sentence in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert rclone.secret_key not in done.stdout + done.stderr


def test_wrong_settings_exit_with_78(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """A supervisor knows then that starting again is pointless."""
    done = mirror_for(frigate, rclone, S3_UPLOAD_THREADS="many").command("run")
    assert done.returncode == 78
    assert "S3_UPLOAD_THREADS must be a number, not 'many'." in done.stdout


def test_hostile_files_are_refused_and_the_rest_goes_on(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """A link out of the folder, a pipe, a folder and an empty file fail with a reason; the good one is mirrored."""
    *bad, good = finished(frigate, 5)
    paths = [event.snapshot_path for event in bad]
    for path in paths:
        assert path is not None
        path.unlink()
    (tmp_path / "secret").write_text("not a picture")
    link, pipe, folder, empty = [path for path in paths if path is not None]
    link.symlink_to(tmp_path / "secret")
    os.mkfifo(pipe)
    folder.mkdir()
    empty.touch()
    mirror = mirror_for(frigate, rclone, S3_MAX_FAILED_RETRIES="1")
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    for reason in ("is a symbolic link", "is not a file", "is empty (0 bytes)"):
        assert reason in done.stdout
    conserved(rclone, [good])
    failed = json.loads((frigate.clips_dir / "cache" / ".s3_failed_events").read_text())
    assert set(failed) == {event.id for event in bad}
    assert "4 events will be tried again" in mirror.command("retry-failed").stdout


def test_a_row_whose_names_lead_outside_is_refused(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A camera called `../..` touches no file."""
    event = finished(frigate, 1)[0]
    with sqlite3.connect(frigate.db_path) as connection:
        connection.execute("UPDATE event SET camera = '../../etc' WHERE id = ?", (event.id,))
    connection.close()
    done = mirror_for(frigate, rclone).command("run", "--once")
    assert done.returncode == 1
    assert "is no name of Frigate's; refused" in done.stdout
    assert rclone.objects() == {}


def test_a_file_that_vanished_before_it_was_sent_is_told_as_lost(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Seen, then gone while S3 was away: expired, loudly."""
    event = finished(frigate, 1)[0]
    mirror = mirror_for(frigate, rclone, S3_SPOOL_MAX="0")
    good = mirror.environment["S3_ENDPOINT_URL"]
    mirror.environment["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    process = mirror.start()
    mirror.wait_for(lambda: "S3 uploads wait" in mirror.log())
    mirror.stop(process)
    assert event.snapshot_path is not None
    event.snapshot_path.unlink()
    mirror.environment["S3_ENDPOINT_URL"] = good
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert f"S3 upload lost event={event.id}" in done.stdout
    assert json.loads(mirror.command("status", "--json").stdout)["counts"]["expired"] == 1


def test_the_older_scripts_state_is_taken_over(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Uploaded events are not sent again, failed ones are known as such."""
    old, failed, new = finished(frigate, 3)
    cache = frigate.clips_dir / "cache"
    (cache / ".s3_uploaded_events").write_text(f"{old.id}\n")
    (cache / ".s3_failed_events").write_text(json.dumps({failed.id: 3}))
    mirror = mirror_for(frigate, rclone)
    assert mirror.command("run", "--once").returncode == 1
    conserved(rclone, [new])
    assert (cache / ".s3_uploaded_events").read_text().split() == [old.id, new.id]
    assert "1 event will be tried again" in mirror.command("retry-failed", failed.id).stdout
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone, [failed, new])


def test_all_artifacts_lie_beside_the_snapshot(rclone: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """Clean copy, thumbnail and metadata; on 0.18 the clean copy is the snapshot and is sent once."""
    for version, endings in (
        ("0.14", {".jpg", "-clean.png", "-thumb.jpg", ".json"}),
        ("0.18", {".webp", "-thumb.webp", ".json"}),
    ):
        with SimulatedFrigate(tmp_path / version, version=version, cameras=CAMERAS) as frigate:
            event = finished(frigate, 1)[0]
            more = {"S3_ARTIFACTS": "snapshot,clean,thumbnail,metadata", "S3_PATH_PREFIX": version}
            done = mirror_for(frigate, rclone, **more).command("run", "--once")
            assert done.returncode == 0, done.stdout
            stem = expected_key(event, version).rsplit(".", 1)[0]
            assert {k.removeprefix(stem) for k in rclone.objects() if k.startswith(f"{version}/")} == endings


def test_filters_leave_out_what_is_not_wanted(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """By camera and label, with exclusion."""
    wanted = frigate.end_event(frigate.begin_event(camera="front-door", label="person"))
    frigate.end_event(frigate.begin_event(camera="front-door", label="car"))
    frigate.end_event(frigate.begin_event(camera="yard", label="person"))
    done = mirror_for(frigate, rclone, S3_CAMERAS="front*", S3_LABELS="!car").command("run", "--once")
    assert done.returncode == 0
    conserved(rclone, [wanted])


def test_a_second_service_on_the_same_state_says_so(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Two writers never share a ledger."""
    mirror = mirror_for(frigate, rclone)
    mirror.start()
    mirror.wait_for(lambda: "started" in mirror.log())
    second = mirror.command("run", "--once")
    assert second.returncode == 1
    assert "Another mirror already uses the state folder" in second.stdout


def test_a_replaced_database_is_found_again(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Gone for a moment, then another file: the service says that it reconnected, and goes on."""
    mirror = mirror_for(frigate, rclone)
    process = mirror.start()
    mirror.wait_for(lambda: "is ready" in mirror.log())
    event = finished(frigate, 1)[0]
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    aside = frigate.db_path.with_name("restored.db")
    with sqlite3.connect(frigate.db_path) as connection:
        connection.execute("VACUUM INTO ?", (str(aside),))
    connection.close()
    frigate.db_path.unlink()
    mirror.wait_for(lambda: "cannot be read" in mirror.log())
    aside.replace(frigate.db_path)
    mirror.wait_for(lambda: "Successfully reconnected to database" in mirror.log())
    assert mirror.stop(process) == 0
    conserved(rclone, [event])


@pytest.mark.parametrize("version", ["0.14.1", "0.17.2", "0.18.0-beta1"])
def test_what_real_frigate_left_behind_is_mirrored_whole(
    version: str, rclone: Target, tmp_path: Path, mirror_for: MakeMirror, frigate: SimulatedFrigate
) -> None:
    """Each file in the recordings' clips folder, and nothing but; rows without a file count as absent."""
    source = RECORDINGS / version
    if not source.is_dir():
        pytest.skip(f"no recordings of real Frigate runs at {RECORDINGS} (FRIGATE_RECORDINGS names another folder)")
    clips, database = tmp_path / "clips", tmp_path / "config" / "frigate.db"
    database.parent.mkdir()
    shutil.copy(source / "frigate.db", database)
    shutil.copytree(source / "clips", clips)
    done = mirror_for(frigate, rclone, FRIGATE_DB_PATH=str(database), FRIGATE_CLIPS_DIR=str(clips)).command(
        "run", "--once"
    )
    assert done.returncode == 0, done.stdout
    pattern = "*-clean.webp" if version.startswith("0.18") else "*.jpg"
    assert sorted(rclone.objects().values()) == sorted(path.read_bytes() for path in clips.glob(pattern))


def test_an_idle_service_asks_s3_for_nothing_but_its_heartbeat(
    rclone: Target, rclone_target: object, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Ten scans long the log names no upload, and the bucket holds the heartbeat alone."""
    mirror = mirror_for(frigate, rclone)
    process = mirror.start()
    mirror.wait_for(lambda: "health=OK" in mirror.log() or "is ready" in mirror.log())
    time.sleep(3)
    assert mirror.stop(process) == 0
    assert rclone.objects() == {}
    client = rclone.client()
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=rclone.bucket).get("Contents", [])]
    client.close()
    assert len(keys) == 1
    assert keys[0].startswith(f"{PREFIX}/.mirror/")
