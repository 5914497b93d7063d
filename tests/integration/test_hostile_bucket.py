"""One poisoned key, object, metadata or heartbeat among twenty good ones: each command does the twenty, and names the odd one."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import Fault, FaultKind
from servers import Target

PREFIX = "frigate/snapshots"
OURS = "1705329022.5-abc123-20240115_143022.jpg"
ODD_KEYS = [
    f"{PREFIX}//{OURS}", f"{PREFIX}/../{OURS}", f"{PREFIX}/./{OURS}", f"{PREFIX}/\x1b[2J/{OURS}", f"{PREFIX}/yard//2024-01-15/{OURS}",
]  # fmt: skip
FOREIGN_KEYS = [
    f"{PREFIX}//x.jpg",
    f"{PREFIX}/[/b][red]",
    f"{PREFIX}/a b+c%2F",
    f"{PREFIX}/.mirror//x.json",
    f"{PREFIX}/\u202e\ufeff",
]


def put(target: Target, key: str, body: bytes = b"evil", **metadata: str) -> None:
    client = target.client()
    client.put_object(Bucket=target.bucket, Key=key, Body=body, Metadata=metadata)
    client.close()


def mirrored(frigate: SimulatedFrigate, mirror: RunningMirror, count: int = 20) -> list[SimulatedEvent]:
    frigate.bulk(count, size_bytes=2000)
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    return frigate.events


def on_a_new_machine(mirror: RunningMirror, folder: Path) -> None:
    mirror.environment["S3_STATE_DIR"] = str(folder)


def restored(mirror: RunningMirror, folder: Path) -> tuple[int, int, str]:
    """Exit status, files and what was said."""
    done = mirror.command("restore", "--to", str(folder))
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.returncode, sum(path.is_file() for path in folder.rglob("*")), done.stdout + done.stderr


def rebuilt(mirror: RunningMirror) -> tuple[int, int, str]:
    done = mirror.command("rebuild")
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    connection = sqlite3.connect(Path(mirror.environment["S3_STATE_DIR"]) / "ledger.db")
    count = connection.execute("SELECT count(*) FROM object WHERE state = 'uploaded'").fetchone()[0]
    connection.close()
    return done.returncode, count, done.stdout + done.stderr


def test_odd_keys_stop_no_command(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """Names of ours in paths that nobody can ask for are refused one by one; those of others are counted."""
    mirror = mirror_for(frigate, moto)
    mirrored(frigate, mirror)
    for key in (*ODD_KEYS, *FOREIGN_KEYS):
        put(moto, key)
    put(moto, f"{PREFIX}/.mirror/\x07.json", b"{")
    put(moto, f"{PREFIX}/.mirror/site.json", json.dumps({"site": "good", "version": "1", "at": time.time()}).encode())
    done = mirror.command("verify", "--json", "--deep")
    found = json.loads(done.stdout)
    assert (done.returncode, found["checked"], found["downloaded"]) == (0, 20, 20), done.stderr
    assert found["unknown"] == len(ODD_KEYS) + len(FOREIGN_KEYS) - 1  # what is below .mirror is the mirror's own
    shown = mirror.command("verify")
    assert (shown.returncode, "\x1b" in shown.stdout) == (0, False)
    fleet = mirror.command("fleet")
    assert (fleet.returncode, "good" in fleet.stdout, "UNREADABLE" in fleet.stdout) == (1, True, True), fleet.stderr
    on_a_new_machine(mirror, tmp_path / "new")
    status, files, said = restored(mirror, tmp_path / "restored")
    assert (status, files) == (1, 20), said
    assert said.count("is refused: it has") + said.count("is refused: it holds") == len(ODD_KEYS)
    status, count, said = rebuilt(mirror)
    assert (status, count) == (1, 20), said
    assert f"{len(FOREIGN_KEYS) - 1} objects bear no name" in said
    assert f"{len(ODD_KEYS)} keys end like the mirror's" in said


POISON = [
    {"start": "nan"}, {"end": "nan"}, {"start": "1e400"}, {"end": "-1e400"}, {"score": "nan"}, {"score": "1e400"}, {"start": "9" * 400},
    {"event-id": "../../etc"}, {"camera": "../.."}, {"label": "%ff%fe"}, {"zones": "%00"}, {"sha256": "x"}, {"seconds": "inf"}, {},
]  # fmt: skip


def test_poisoned_metadata_stops_no_command(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """The objects are taken for what their keys say; restore, rebuild, and a start after a damaged ledger."""
    mirror = mirror_for(frigate, moto)
    mirrored(frigate, mirror)
    for number, metadata in enumerate(POISON):
        put(moto, f"{PREFIX}/yard/2024-01-15/17053290{number:02}.5-abc123.jpg", b"odd %d" % number, **metadata)
    total = 20 + len(POISON)
    on_a_new_machine(mirror, tmp_path / "new")
    status, files, said = restored(mirror, tmp_path / "restored")
    assert (status, files) == (0, total), said
    assert rebuilt(mirror)[:2] == (0, total)
    assert restored(mirror, tmp_path / "again")[:2] == (0, total)
    verified = mirror.command("verify", "--deep", "--json")
    assert verified.returncode == 0, verified.stdout
    for path in (tmp_path / "new").iterdir():
        if path.is_file():
            path.unlink() if path.name != "ledger.db" else path.write_bytes(b"no database" * 1000)
    started = mirror.command("run", "--once")
    assert started.returncode == 0, started.stdout
    assert f"{total} objects of the bucket are in the new ledger" in started.stdout + started.stderr


def test_one_object_that_s3_does_not_hand_out(
    moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """Nineteen come back, are verified and adopted; the one is named."""
    mirror = mirror_for(frigate, moto_proxy)
    events = mirrored(frigate, mirror)
    for status, code in ((500, "InternalError"), (403, "AccessDenied")):
        moto_proxy.proxy.inject(
            Fault(
                FaultKind.ANSWER, status=status, code=code, methods=frozenset({"GET", "HEAD"}), path_part=events[7].id
            )
        )
        done = mirror.command("verify", "--deep", "--json")
        found = json.loads(done.stdout)
        assert (done.returncode, found["downloaded"], found["unreadable"]) == (1, 19, 1)
        returncode, files, said = restored(mirror, tmp_path / f"restored-{status}")
        assert (returncode, files) == (1, 19)
        assert "PutObject" not in said
        fresh = mirror_for(frigate, moto_proxy, S3_STATE_DIR=str(tmp_path / f"new-{status}"))
        assert rebuilt(fresh)[:2] == (0, 20)
        moto_proxy.proxy.heal()


@pytest.mark.parametrize(
    "change",
    [{"S3_SECRET_KEY": "wrong" * 8}, {"S3_BUCKET": "no-such-bucket"}, {"S3_ENDPOINT_URL": "http://127.0.0.1:9"}],
    ids=["key", "bucket", "endpoint"],
)
def test_a_wrong_setting_is_told_once(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path, change: dict[str, str]
) -> None:
    """Not for each object; and nothing could be done."""
    mirror = mirror_for(frigate, rclone)
    mirrored(frigate, mirror, 40)
    for name, value in change.items():
        mirror.environment[name] = value
    for command in (("restore", "--to", str(tmp_path / "r")), ("verify",), ("verify", "--deep"), ("fleet",)):
        done = mirror.command(*command)
        assert done.returncode == 2, (command, done.stdout, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    on_a_new_machine(mirror, tmp_path / "none")
    for command in (("restore", "--to", str(tmp_path / "r")), ("rebuild",)):
        done = mirror.command(*command)
        assert done.returncode == 2, (command, done.stdout, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


Trap = Callable[[Path, Path], None]


def _camera_is_a_link(target: Path, outside: Path) -> None:
    target.parent.parent.parent.mkdir(parents=True, exist_ok=True)
    target.parent.parent.symlink_to(outside, target_is_directory=True)


def _date_is_a_link(target: Path, outside: Path) -> None:
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    target.parent.symlink_to(outside, target_is_directory=True)


def _file_is_a_link(target: Path, outside: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(outside / "victim")


def _file_is_a_dangling_link(target: Path, outside: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(outside / "made")


def _file_is_a_folder(target: Path, _outside: Path) -> None:
    target.mkdir(parents=True)


def _file_is_a_pipe(target: Path, _outside: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(target)


def _camera_is_a_file(target: Path, _outside: Path) -> None:
    target.parent.parent.parent.mkdir(parents=True, exist_ok=True)
    target.parent.parent.write_bytes(b"of the user")


TRAPS = (
    _camera_is_a_link, _date_is_a_link, _file_is_a_link, _file_is_a_dangling_link, _file_is_a_folder, _file_is_a_pipe, _camera_is_a_file,
)  # fmt: skip


def test_nothing_is_written_through_a_link(rclone: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """Nor over what is no file; the other camera's pictures come back all the same."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("front-door", "yard")) as frigate:
        mirror = mirror_for(frigate, rclone)
        event = frigate.end_event(frigate.begin_event(camera="yard"), delay=0.001)
        frigate.end_event(frigate.begin_event(camera="front-door"), delay=0.001)
        assert mirror.command("run", "--once").returncode == 0
        for trap in TRAPS:
            folder, outside = tmp_path / trap.__name__, tmp_path / f"outside{trap.__name__}"
            outside.mkdir()
            (outside / "victim").write_bytes(b"of the user")
            trap(folder / expected_key(event, PREFIX).removeprefix(f"{PREFIX}/"), outside)
            done = mirror.command("restore", "--to", str(folder))
            assert done.returncode == 1, (trap, done.stdout, done.stderr)
            assert "1 restored" in done.stdout
            assert [path.name for path in outside.iterdir()] == ["victim"], trap
            assert (outside / "victim").read_bytes() == b"of the user"


def test_a_chosen_folder_may_be_a_link_and_its_files_are_readable(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """The user named it; and others than root look at the pictures."""
    mirror = mirror_for(frigate, rclone)
    mirrored(frigate, mirror, 3)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert restored(mirror, tmp_path / "link")[:2] == (0, 3)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "disk").rglob("*.jpg")} == {0o644}
    assert not list((tmp_path / "disk").rglob(".*"))


def test_an_object_without_checksum_is_compared_by_its_etag(
    moto_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """An ETag that is an MD5 proves it; another one proves nothing, and that is told."""
    mirror = mirror_for(frigate, moto_proxy)
    mirrored(frigate, mirror, 2)
    put(moto_proxy, f"{PREFIX}/yard/2024-01-15/{OURS}", b"no metadata")
    on_a_new_machine(mirror, tmp_path / "none")
    assert restored(mirror, tmp_path / "right")[:2] == (0, 3)
    moto_proxy.proxy.inject(Fault(FaultKind.WRONG_ETAG, methods=frozenset({"GET"}), path_part="abc123"))
    client = moto_proxy.client()
    upload = client.create_multipart_upload(Bucket=moto_proxy.bucket, Key=f"{PREFIX}/yard/2024-01-16/{OURS}")
    part = client.upload_part(
        Bucket=moto_proxy.bucket, Key=upload["Key"], UploadId=upload["UploadId"], PartNumber=1, Body=b"in parts"
    )
    client.complete_multipart_upload(
        Bucket=moto_proxy.bucket, Key=upload["Key"], UploadId=upload["UploadId"],
        MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]},
    )  # fmt: skip
    client.close()
    moto_proxy.proxy.heal()
    status, files, said = restored(mirror, tmp_path / "parts")
    assert (status, files) == (0, 4)
    assert "1 were restored unverified" in said
    shutil.rmtree(tmp_path / "parts")
