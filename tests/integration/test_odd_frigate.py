"""A Frigate in disorder: odd rows, files that are gone and come back, a share that is away. Seen through the real program."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended, started
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import conserved, drained, size
from servers import Target

DEEP = "[" * 100_000 + "]" * 100_000


def change(frigate: SimulatedFrigate, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(frigate.db_path, timeout=10)) as connection:
        connection.execute(sql, values)
        connection.commit()


def status(mirror: RunningMirror) -> dict[str, Any]:
    """Once the service has made the ledger its own: until then, after a change of the endpoint, it is about another bucket."""
    said: list[str] = []

    def answers() -> bool:
        said.append(mirror.command("status", "--json").stdout)
        return said[-1] != ""

    mirror.wait_for(answers)
    content: dict[str, Any] = json.loads(said[-1])
    return content


def counts(mirror: RunningMirror) -> dict[str, int]:
    """Entries by state; those of the last minutes are awaited before they are absent."""
    found = {state: count for state, count in status(mirror)["counts"].items() if count}
    if awaited := found.pop("awaited", 0):
        found["absent"] = found.get("absent", 0) + awaited
    return found


ODD = [
    ("start_time = ?", 1703000000123.5, False), ("start_time = ?", float("inf"), False), ("start_time = ?", "soon", False),
    ("camera = CAST(? AS TEXT)", b"caf\xe9", False), ("id = CAST(? AS TEXT)", b"\xff", False),
    ("end_time = ?", float("-inf"), True), ("end_time = ?", float("inf"), True), ("data = ?", DEEP, True),
    ("label = CAST(? AS TEXT)", b"caf\xe9", True), ("zones = ?", '["\\ud800"]', True),
    ("data = ?", '{"top_score": ' + "9" * 400 + "}", True),
]  # fmt: skip


@pytest.mark.parametrize(("assignment", "value", "is_sent"), ODD)
def test_once_mirrors_all_but_the_refused_row(
    assignment: str, value: object, is_sent: bool, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """One odd row among twenty good ones: it comes to an end, and says which one was refused and why."""
    events = ended(frigate, 21)
    change(frigate, f"UPDATE event SET {assignment} WHERE id = ?", value, events[10].id)  # noqa: S608
    done = mirror_for(frigate, rclone).command("run", "--once")
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == (0 if is_sent else 1), done.stdout
    conserved(rclone, events if is_sent else [*events[:10], *events[11:]])
    assert done.stdout.count("S3 upload refused") == (0 if is_sent else 1)


def test_the_service_mends_a_refused_row(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Told once, shown under failures, missing in the proof, and sent when the row is mended."""
    events = ended(frigate, 5)
    odd = events[2]
    change(frigate, "UPDATE event SET start_time = 3e11 WHERE id = ?", odd.id)
    mirror = started(mirror_for(frigate, rclone))
    mirror.wait_for(lambda: len(rclone.objects()) == 4)
    seen = status(mirror)
    assert [(problem["event_id"], problem["state"]) for problem in seen["failures"]] == [(odd.id, "failed")]
    assert seen["proof"]["24 h"]["missing"] == 1
    assert mirror.log().count(f"S3 upload refused event={odd.id}") == 1
    assert mirror.command("verify").returncode == 1
    change(frigate, "UPDATE event SET start_time = ? WHERE id = ?", odd.start_time, odd.id)
    mirror.stop(mirror.processes[-1])
    started(mirror)
    mirror.wait_for(lambda: len(rclone.objects()) == 5)
    drained(mirror)
    conserved(rclone, events)


def test_every_absent_entry_is_looked_for_again(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """More than a page of them, and older ones than a page: all whose files come back are sent by one `run --once`."""
    many, old = size(1_200, 3_000), 300
    events = frigate.bulk(many + old, size_bytes=300)
    aside = tmp_path / "aside"
    aside.mkdir()
    for event in events:
        assert event.snapshot_path is not None
        event.snapshot_path.rename(aside / event.snapshot_path.name)
    good = ended(frigate, 10)
    mirror = mirror_for(frigate, rclone)
    assert mirror.command("run", "--once").returncode == 0
    assert counts(mirror) == {"uploaded": 10, "absent": many + old}
    for event in events[:old]:
        assert event.snapshot_path is not None
        (aside / event.snapshot_path.name).rename(event.snapshot_path)
    done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    conserved(rclone, [*good, *events[:old]])
    assert counts(mirror) == {"uploaded": 10 + old, "absent": many}


def unmounted(frigate: SimulatedFrigate, *, local: int = 0) -> tuple[Path, list[SimulatedEvent]]:
    """The share is away: its mount point is there, with what Frigate makes at its start, and what it wrote since."""
    share = frigate.clips_dir.with_name("share")
    frigate.clips_dir.rename(share)
    for name in ("cache", "review", "thumbs/front-door", "thumbs/yard"):
        (frigate.clips_dir / name).mkdir(parents=True)
    return share, ended(frigate, local)


def mounted_again(frigate: SimulatedFrigate, share: Path) -> None:
    """Over what was written meanwhile, which is out of sight."""
    frigate.clips_dir.rename(frigate.clips_dir.with_name(f"under-{time.monotonic_ns()}"))
    share.rename(frigate.clips_dir)


@pytest.mark.parametrize("local", [0, 3])
@pytest.mark.parametrize("restarts", [True, False])
def test_a_share_that_is_away_loses_nothing(
    local: int, restarts: bool, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """An outage of S3, and the share goes: what waits is no loss, is told, and goes when the share is there again."""
    mirror = mirror_for(frigate, rclone, S3_SPOOL_MAX="0")
    good = mirror.environment["S3_ENDPOINT_URL"]
    mirror.environment["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    process = started(mirror).processes[-1]
    events = ended(frigate, 20)
    mirror.wait_for(lambda: counts(mirror).get("pending") == 20)
    mirror.stop(process)
    share, written = unmounted(frigate, local=local)
    mirror.environment["S3_ENDPOINT_URL"] = good
    process = mirror.start()
    mirror.wait_for(lambda: "is its share mounted" in status(mirror)["reason"])
    mirror.wait_for(lambda: len(rclone.objects()) == local)
    assert counts(mirror).get("expired", 0) == counts(mirror).get("absent", 0) == 0
    if restarts:
        mirror.stop(process)
    pictures = {event.id: event.snapshot_path.read_bytes() for event in written if event.snapshot_path}
    mounted_again(frigate, share)
    if restarts:
        mirror.start()
    drained(mirror)
    conserved(rclone, [*events, *written], pictures)
    mirror.wait_for(lambda: status(mirror)["health"] == "OK")


def test_a_first_start_without_the_share_calls_nothing_absent(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Three new pictures in the mount point, forty older ones on the share: told, and found at once when it is there."""
    events = ended(frigate, 40)
    share, written = unmounted(frigate, local=3)
    mirror = started(mirror_for(frigate, rclone))
    mirror.wait_for(lambda: len(rclone.objects()) == 3)
    mirror.wait_for(lambda: status(mirror)["health"] == "DEGRADED")
    assert "has 3 of the newest 24 files that Frigate lists" in status(mirror)["reason"]
    assert counts(mirror) == {"uploaded": 3}
    pictures = {event.id: event.snapshot_path.read_bytes() for event in written if event.snapshot_path}
    mounted_again(frigate, share)
    mirror.wait_for(lambda: len(rclone.objects()) == 43, 20)
    conserved(rclone, [*events, *written], pictures)
    mirror.wait_for(lambda: status(mirror)["health"] == "OK")


def test_what_expired_is_sent_when_it_is_there_again(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """A loss is a loss only for as long as the file is gone: `run --once` looks, and so does a running service."""
    mirror = mirror_for(frigate, rclone, S3_SPOOL_MAX="0")
    good = mirror.environment["S3_ENDPOINT_URL"]
    mirror.environment["S3_ENDPOINT_URL"] = "http://127.0.0.1:9"
    process = started(mirror).processes[-1]
    events = ended(frigate, 2)
    mirror.wait_for(lambda: counts(mirror).get("pending") == 2)
    mirror.stop(process)
    for event in events:
        assert event.snapshot_path is not None
        event.snapshot_path.rename(tmp_path / event.snapshot_path.name)
    mirror.environment["S3_ENDPOINT_URL"] = good
    assert mirror.command("run", "--once").returncode == 1
    assert counts(mirror) == {"expired": 2}
    shutil.copy(tmp_path / f"{events[0].camera}-{events[0].id}.jpg", frigate.clips_dir)
    assert mirror.command("run", "--once").returncode == 1
    assert counts(mirror) == {"expired": 1, "uploaded": 1}
    started(mirror)
    shutil.copy(tmp_path / f"{events[1].camera}-{events[1].id}.jpg", frigate.clips_dir)
    mirror.wait_for(lambda: counts(mirror) == {"uploaded": 2})
    conserved(rclone, events)


def test_thousands_of_rows_without_a_file_hold_up_nobody(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """They cost a look at the folder for a page, not one for a row; what has a file goes meanwhile."""
    for number in range(size(20_000, 100_000)):
        (frigate.clips_dir / f"yard-{number}.5-others.jpg").touch()
    good = ended(frigate, 10)
    frigate.bulk(1_000, files=False)
    mirror = mirror_for(frigate, rclone)
    begun = time.monotonic()
    assert mirror.command("run", "--once").returncode == 0
    assert time.monotonic() - begun < 8  # an interpreter's start and ten uploads among them; it took 9 to 45 s before
    assert counts(mirror) == {"uploaded": 10, "absent": 1_000}
    conserved(rclone, good)


def test_a_picture_that_changed_after_its_upload_is_sent_again(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """B13: a partial picture of an event that has ended; the rest comes with the last closing."""
    mirror = started(mirror_for(frigate, rclone, S3_OVERWRITE="changed"))
    (event,) = ended(frigate, 1)
    mirror.wait_for(lambda: counts(mirror) == {"uploaded": 1})
    assert event.snapshot_path is not None
    whole = event.snapshot_path.read_bytes() + b"the rest of it"
    event.snapshot_path.write_bytes(whole)
    mirror.wait_for(lambda: list(rclone.objects().values()) == [whole])
    drained(mirror)
    assert mirror.log().count("Frigate wrote its picture again after the upload; it is sent again") == 1


def test_a_picture_that_changed_is_told_where_nothing_is_overwritten(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """S3_OVERWRITE=never keeps the first one, and says which and what to set, once."""
    mirror = started(mirror_for(frigate, moto, S3_OVERWRITE="never"))
    (event,) = ended(frigate, 1)
    mirror.wait_for(lambda: counts(mirror) == {"uploaded": 1})
    assert event.snapshot_path is not None
    first = event.snapshot_path.read_bytes()
    for more in (b"1", b"22"):
        event.snapshot_path.write_bytes(first + more)
        mirror.wait_for(lambda: "the bucket keeps the first one, S3_OVERWRITE=changed replaces it" in mirror.log())
    time.sleep(1)  # three more scans, none of which may say it again
    assert mirror.log().count("the bucket keeps the first one") == 1
    assert list(moto.objects().values()) == [first]


def test_an_id_that_comes_again_is_another_event(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Another start under the same id: both pictures are kept, each under the key of its own event."""
    mirror = started(mirror_for(frigate, rclone))
    (event,) = ended(frigate, 1)
    mirror.wait_for(lambda: counts(mirror) == {"uploaded": 1})
    change(
        frigate,
        "UPDATE event SET start_time = start_time - 200000, end_time = end_time - 200000 WHERE id = ?",
        event.id,
    )
    assert event.snapshot_path is not None
    event.snapshot_path.write_bytes(b"another picture")
    mirror.wait_for(lambda: b"another picture" in rclone.objects().values())
    assert len(rclone.objects()) == 2
    assert "Frigate uses the id of event=" in mirror.log()


def test_an_endless_events_document_waits_for_its_end(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Its snapshot goes at once, the metadata document bears the end; `run --once` does not wait for it."""
    event = frigate.manual_event(camera="yard")
    mirror = mirror_for(frigate, rclone, S3_ARTIFACTS="snapshot,metadata")
    assert mirror.command("run", "--once").returncode == 0
    assert [key.rsplit(".", 1)[1] for key in rclone.objects()] == ["jpg"]
    started(mirror)
    assert [key.rsplit(".", 1)[1] for key in rclone.objects()] == ["jpg"]
    frigate.end_manual_event(event)
    mirror.wait_for(lambda: len(rclone.objects()) == 2)
    (document,) = (json.loads(content) for key, content in rclone.objects().items() if key.endswith(".json"))
    assert document["end_time"] == frigate.current(event).end_time


@pytest.mark.parametrize("kind", ["api", "audio"])
def test_a_manual_event_whose_flag_was_cleared_is_sent(
    kind: str, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Frigate stopped while it ran: its files are there. Without any, it is absent, and missing in no proof."""
    there, gone = frigate.manual_event(camera="yard"), frigate.manual_event(camera="yard")
    data = json.dumps({"type": kind, "score": 70})
    change(frigate, "UPDATE event SET has_snapshot = 0, end_time = start_time + 20, data = ?", data)
    for path in frigate.clips_dir.glob(f"*{gone.id}*"):
        path.unlink()
    mirror = mirror_for(frigate, rclone)
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone, [there])
    proof = status(mirror)["proof"]["24 h"]
    assert (proof["in_frigate"], proof["missing"]) == (1, 0)


def test_a_symbolic_link_is_refused_at_once_and_goes_when_the_file_is_there(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """What it leads to need not be Frigate's: never read, and the sentence says what to do."""
    (event,) = ended(frigate, 1)
    assert event.snapshot_path is not None
    moved = tmp_path / "moved.jpg"
    event.snapshot_path.rename(moved)
    event.snapshot_path.symlink_to(moved)
    mirror = mirror_for(frigate, rclone_proxy)
    for _ in range(2):
        done = mirror.command("run", "--once")
        assert done.returncode == 1
    assert "is a symbolic link, and links are not followed: put the file itself there" in str(
        status(mirror)["failures"]
    )
    assert rclone_proxy.objects() == {}
    event.snapshot_path.unlink()
    moved.rename(event.snapshot_path)
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone_proxy, [event])
