"""The proof and the way back: verify, restore and rebuild against real servers, through the real commands."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, started
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from servers import Target

PREFIX = "frigate/snapshots"


def mirrored(frigate: SimulatedFrigate, mirror: RunningMirror, count: int) -> list[SimulatedEvent]:
    cameras = ("front-door", "yard")
    events = [
        frigate.end_event(frigate.begin_event(camera=cameras[n % 2], label=("person", "car")[n % 2]), delay=0.001)
        for n in range(count)
    ]
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    return events


def verdict(mirror: RunningMirror, *arguments: str) -> dict[str, object]:
    done = mirror.command("verify", "--json", *arguments)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    assert found["fine"] is (done.returncode == 0)
    return found


def numbers(found: dict[str, object]) -> tuple[object, ...]:
    return tuple(found[name] for name in ("missing", "different", "unknown", "unmirrored"))


def test_a_whole_mirror_is_fine(s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """With downloads, too; the heartbeat's object is nobody's unknown."""
    mirror = mirror_for(frigate, s3)
    mirrored(frigate, mirror, 4)
    process = mirror.start()
    mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["health"] == "OK")
    mirror.stop(process)
    found = verdict(mirror, "--deep")
    assert numbers(found) == (0, 0, 0, 0)
    assert (found["checked"], found["downloaded"]) == (4, 4)
    assert "All that should be in the bucket is there" in mirror.command("verify").stdout


def test_every_difference_is_named_and_repaired(s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Deleted, damaged, foreign and new objects; what Frigate still has is queued and sent again."""
    mirror = mirror_for(frigate, s3, S3_OVERWRITE="changed")
    deleted, shorter, twisted, gone, whole = mirrored(frigate, mirror, 5)
    client = s3.client()
    for event in (deleted, gone):
        client.delete_object(Bucket=s3.bucket, Key=expected_key(event, PREFIX))
    client.put_object(Bucket=s3.bucket, Key=expected_key(shorter, PREFIX), Body=b"short")
    assert twisted.snapshot_path is not None
    size = twisted.snapshot_path.stat().st_size
    client.put_object(Bucket=s3.bucket, Key=expected_key(twisted, PREFIX), Body=b"x" * size)
    client.put_object(Bucket=s3.bucket, Key=f"{PREFIX}/somebody/else.txt", Body=b"hello")
    client.close()
    assert gone.snapshot_path is not None
    gone.snapshot_path.unlink()
    new = frigate.end_event(frigate.begin_event())
    found = verdict(mirror, "--repair")
    assert numbers(found) == (2, 2, 1, 1)
    assert found["requeued"] == 3
    assert found["beyond_repair"] == [gone.id]
    assert mirror.command("run", "--once").returncode == 0
    again = verdict(mirror, "--deep")
    assert numbers(again) == (1, 0, 1, 0)
    assert {expected_key(e, PREFIX) for e in (deleted, shorter, twisted, whole, new)} <= set(s3.objects())


def test_only_a_download_sees_what_the_listing_cannot(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Same size and an ETag that the ledger does not know."""
    mirror = mirror_for(frigate, rclone)
    event = mirrored(frigate, mirror, 1)[0]
    connection = sqlite3.connect(frigate.db_path.parent / ".s3-mirror" / "ledger.db")
    with connection:
        connection.execute("UPDATE object SET etag = 'of-another-kind'")
    connection.close()
    assert event.snapshot_path is not None
    client = rclone.client()
    size = event.snapshot_path.stat().st_size
    client.put_object(Bucket=rclone.bucket, Key=expected_key(event, PREFIX), Body=b"x" * size)
    client.close()
    assert numbers(verdict(mirror)) == (0, 0, 0, 0)
    assert numbers(verdict(mirror, "--deep")) == (0, 1, 0, 0)


def test_scopes_leave_the_rest_alone(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """By camera and by time."""
    mirror = mirror_for(frigate, rclone)
    mirrored(frigate, mirror, 4)
    assert verdict(mirror, "--camera", "yard")["checked"] == 2
    assert verdict(mirror, "--since", "1h")["checked"] == 4
    assert verdict(mirror, "--since", "yesterday")["checked"] == 4
    assert verdict(mirror, "--since", "2 hours ago", "--until", "2099-01-01")["checked"] == 4
    wrong = mirror.command("verify", "--since", "soon")
    assert wrong.returncode == 2
    assert "'soon' is no time" in wrong.stderr


@pytest.mark.parametrize(
    ("scope", "sentence"),
    [
        (("--camera", "yadr"), "Nothing is of a camera 'yadr'; known are front-door, yard."),
        (("--since", "2099-01-01"), "in that time"),
        (("--since", "2026-02-02", "--until", "2026-02-01"), "no event can be in between"),
    ],
)
def test_nothing_looked_at_is_no_success(
    rclone: Target,
    frigate: SimulatedFrigate,
    mirror_for: MakeMirror,
    tmp_path: Path,
    scope: tuple[str, ...],
    sentence: str,
) -> None:
    """A slip in a name or a date is told, by verify and by restore, with the ledger and without."""
    mirror = mirror_for(frigate, rclone)
    mirrored(frigate, mirror, 2)
    alone = mirror_for(frigate, rclone, S3_STATE_DIR=str(tmp_path / "none"))
    target = ("--to", str(tmp_path / "restored"))
    for program, command in ((mirror, ("verify",)), (mirror, ("restore", *target)), (alone, ("restore", *target))):
        done = program.command(*command, *scope)
        assert done.returncode == 2, done.stdout
        assert sentence in done.stderr.replace("\n", " ")
        assert "All that should be" not in done.stdout
    assert not (tmp_path / "restored").exists()


@pytest.mark.parametrize("with_ledger", [True, False], ids=["with the ledger", "from the bucket alone"])
def test_restored_files_are_the_ones_that_were_sent(
    s3: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path, with_ledger: bool
) -> None:
    """As camera/date/, by label and camera; a second time nothing is loaded."""
    mirror = mirror_for(frigate, s3)
    events = mirrored(frigate, mirror, 6)
    if not with_ledger:
        mirror.environment["S3_STATE_DIR"] = str(tmp_path / "new machine")
        mirror.environment["FRIGATE_DB_PATH"] = "/no/such/frigate.db"
    target = tmp_path / "restored"
    done = mirror.command("restore", "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert "6 restored" in done.stdout
    for event in events:
        assert event.snapshot_path is not None
        path = target / expected_key(event, PREFIX).removeprefix(f"{PREFIX}/")
        assert path.read_bytes() == event.snapshot_path.read_bytes()
        assert abs(path.stat().st_mtime - event.start_time) < 1
    assert "0 restored" in mirror.command("restore", "--to", str(target)).stdout
    some = mirror.command("restore", "--to", str(tmp_path / "some"), "--label", "car", "--camera", "ya*")
    assert "3 restored" in some.stdout, some.stderr


def test_frigates_own_layout(rclone: Target, mirror_for: MakeMirror, tmp_path: Path) -> None:
    """Byte for byte the clips folder, in versions with jpg and with webp alone."""
    for version in ("0.16", "0.18"):
        with SimulatedFrigate(tmp_path / version, version=version, cameras=("front-door", "yard")) as frigate:
            mirror = mirror_for(frigate, rclone, S3_PATH_PREFIX=version)
            events = mirrored(frigate, mirror, 3)
            done = mirror.command("restore", "--to", str(tmp_path / f"r{version}"), "--frigate-layout")
            assert done.returncode == 0, done.stderr
            for event in events:
                assert event.snapshot_path is not None
                restored = tmp_path / f"r{version}" / event.snapshot_path.name
                assert restored.read_bytes() == event.snapshot_path.read_bytes()


def test_a_damaged_or_hostile_object_is_not_written(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """Nothing leaves the folder, nothing wrong gets a good name, and a file of the user's is left alone."""
    mirror = mirror_for(frigate, rclone)
    good, damaged, taken = mirrored(frigate, mirror, 3)
    client = rclone.client()
    key = expected_key(damaged, PREFIX)
    metadata = client.head_object(Bucket=rclone.bucket, Key=key)["Metadata"]
    client.put_object(Bucket=rclone.bucket, Key=key, Body=b"damaged", Metadata=metadata)
    client.put_object(Bucket=rclone.bucket, Key=f"{PREFIX}/..evil/2026-01-01/1795455533.5-mmeox8.jpg", Body=b"evil")
    client.close()
    target = tmp_path / "restored"
    own = target / expected_key(taken, PREFIX).removeprefix(f"{PREFIX}/")
    own.parent.mkdir(parents=True)
    own.write_bytes(b"of the user")
    mirror.environment["S3_STATE_DIR"] = str(tmp_path / "none")
    done = mirror.command("restore", "--to", str(target))
    assert done.returncode == 1
    assert "is damaged: its SHA-256 is" in done.stderr
    assert "its names are not Frigate's" in done.stderr
    assert "is there with other content and is left alone" in done.stderr
    assert own.read_bytes() == b"of the user"
    files = [path for path in target.rglob("*") if path.is_file()]
    assert sorted(files) == sorted([own, target / expected_key(good, PREFIX).removeprefix(f"{PREFIX}/")])


def test_a_rebuilt_ledger_sends_nothing_again(
    watched_s3: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """All state is lost; the bucket tells everything, also where objects carry no metadata."""
    mirror = mirror_for(frigate, watched_s3)
    events = mirrored(frigate, mirror, 5)
    bare = expected_key(events[0], PREFIX)
    client = watched_s3.client()
    body = client.get_object(Bucket=watched_s3.bucket, Key=bare)["Body"].read()
    client.put_object(Bucket=watched_s3.bucket, Key=bare, Body=body)
    client.close()
    shutil.rmtree(frigate.db_path.parent / ".s3-mirror")
    for path in (frigate.clips_dir / "cache").glob(".s3_*"):
        path.unlink()
    done = mirror.command("rebuild")
    assert done.returncode == 0, done.stderr
    assert "5 objects of the bucket are new in the ledger" in done.stdout
    watched_s3.proxy.forget()
    again = mirror.command("run", "--once")
    assert again.returncode == 0, again.stdout
    assert watched_s3.proxy.requests("PUT") == []
    assert numbers(verdict(mirror, "--deep")) == (0, 0, 0, 0)
    assert "0 objects of the bucket are new" in mirror.command("rebuild").stdout


def test_rebuild_and_a_running_service_do_not_meet(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """One writer at a time."""
    mirror = mirror_for(frigate, rclone)
    started(mirror)
    done = mirror.command("rebuild")
    assert done.returncode == 2
    assert "Another mirror already uses the state folder" in done.stderr


def test_a_lifecycle_rule_is_written_beside_others(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Ours is replaced, somebody else's stays."""
    client = moto.client()
    other = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "else/"}, "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket=moto.bucket, LifecycleConfiguration={"Rules": [other]})  # type: ignore[list-item]
    mirror = mirror_for(frigate, moto, S3_RETENTION_DAYS="30")
    for days in ("30", "40"):
        mirror.environment["S3_RETENTION_DAYS"] = days
        done = mirror.command("lifecycle", "--apply")
        assert done.returncode == 0, done.stderr
        rules = client.get_bucket_lifecycle_configuration(Bucket=moto.bucket)["Rules"]
        assert {rule["ID"]: rule["Expiration"]["Days"] for rule in rules} == {
            "theirs": 3,
            "frigate-s3-mirror": int(days),
        }
    client.close()
    mirror.environment.pop("S3_RETENTION_DAYS")
    assert "S3_RETENTION_DAYS is not set" in mirror.command("lifecycle").stderr


def test_the_policy_has_what_was_asked_for(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Uploading needs to put and nothing else."""
    mirror = mirror_for(frigate, rclone, S3_REGION="us-gov-west-1")
    least = json.loads(mirror.command("iam-policy").stdout)["Statement"]
    assert [statement["Action"] for statement in least] == [["s3:PutObject", "s3:AbortMultipartUpload"]]
    assert least[0]["Resource"] == f"arn:aws-us-gov:s3:::{rclone.bucket}/{PREFIX}/*"
    more = json.loads(mirror.command("iam-policy", "--with-verify", "--with-lifecycle").stdout)["Statement"]
    assert more[1]["Action"] == ["s3:ListBucket"]
    assert more[1]["Condition"] == {"StringLike": {"s3:prefix": [f"{PREFIX}/", f"{PREFIX}/*"]}}
    assert "s3:PutLifecycleConfiguration" in more[2]["Action"]
