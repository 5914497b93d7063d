"""Who is to blame: all are refused or one is, the machine cannot read, the file is not finished, the server asks for less."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import WITHOUT_RIGHTS, MakeMirror, RunningMirror, WatchedTarget, ended, started
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX, conserved, drained
from recording_proxy import Fault, FaultKind
from servers import Target


def status(mirror: RunningMirror) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(mirror.command("status", "--json").stdout)
    return found


@pytest.mark.parametrize(("answer", "code"), [(400, ""), (400, "InvalidRequest"), (413, "")])
def test_what_all_objects_get_is_counted_against_none(
    answer: int, code: str, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The user reads what to look at; when the server is mended, all goes by itself."""
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=answer, code=code))
    events = ended(frigate, 12)
    mirror = mirror_for(frigate, rclone_proxy, S3_MAX_FAILED_RETRIES="1")
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert "S3 takes no object at all" in done.stdout
    mirror.start()
    mirror.wait_for(lambda: "S3 takes no object at all" in status(mirror)["reason"])
    counts = status(mirror)["counts"]
    assert (counts["pending"], counts["failed"]) == (12, 0)
    rclone_proxy.proxy.heal()
    drained(mirror, 60)
    conserved(rclone_proxy, events)


@pytest.mark.parametrize(("answer", "code"), [(403, ""), (403, "AccessDenied"), (400, "")])
def test_one_object_that_is_refused_holds_up_nobody(
    answer: int, code: str, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A firewall takes a picture for an attack: the others pass without delay, and nobody is told to check his keys."""
    mirror = mirror_for(frigate, rclone_proxy, S3_MAX_FAILED_RETRIES="2")
    started(mirror)
    mirror.wait_for(lambda: "S3 has not taken" not in status(mirror)["reason"])
    running = frigate.begin_event()
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=answer, code=code, path_part=running.id))
    first = ended(frigate, 1)
    bad = frigate.end_event(running, delay=0.001)
    events = [*first, *ended(frigate, 18)]
    mirror.wait_for(lambda: {expected_key(event, PREFIX) for event in events} <= set(rclone_proxy.objects()), 15)
    began = time.monotonic()
    events += ended(frigate, 1)
    mirror.wait_for(lambda: expected_key(events[-1], PREFIX) in rclone_proxy.objects(), 5)
    assert time.monotonic() - began < 5
    assert "S3 uploads wait" not in mirror.log()
    assert "check S3_ACCESS_KEY" not in mirror.log()
    assert "allow s3:PutObject" not in mirror.log()
    assert status(mirror)["health"] == "OK"
    if answer == 400:
        mirror.wait_for(lambda: status(mirror)["counts"]["failed"] == 1)
        return
    assert status(mirror)["counts"]["pending"] == 1
    rclone_proxy.proxy.heal()
    drained(mirror, 60)
    conserved(rclone_proxy, [*events, bad])


def test_a_server_that_asks_for_no_pause_is_not_hammered(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """`Retry-After: 0` with each 503: a few requests a second at most, and soon over when the server is well."""
    mirror = mirror_for(frigate, rclone_proxy, S3_HEARTBEAT_INTERVAL="1h")
    started(mirror)
    mirror.wait_for(lambda: "S3 has not taken" not in status(mirror)["reason"])
    rclone_proxy.proxy.forget()
    rclone_proxy.proxy.inject(
        Fault(FaultKind.ANSWER, status=503, code="SlowDown", methods=frozenset({"PUT", "HEAD"}), headers=(("Retry-After", "0"),))
    )  # fmt: skip
    events = ended(frigate, 20)
    mirror.wait_for(lambda: bool(rclone_proxy.proxy.requests("PUT")))
    began = time.monotonic()
    mirror.wait_for(lambda: time.monotonic() - began > 6)
    puts = len(rclone_proxy.proxy.requests("PUT"))
    print(f"\n{puts} PUTs in 6 seconds")
    assert puts <= 8 + 12  # what was in flight, and the probes
    rclone_proxy.proxy.heal()
    began = time.monotonic()
    drained(mirror, 20)
    print(f"{time.monotonic() - began:.1f} s until all is there")
    conserved(rclone_proxy, events)


@pytest.mark.parametrize("limit", [25, 40])
def test_too_few_open_files_cost_no_picture(
    limit: int, rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    events = ended(frigate, 30)
    mirror = mirror_for(frigate, rclone, S3_MAX_FAILED_RETRIES="1", S3_UPLOAD_THREADS="8" if limit == 25 else "64")
    mirror.before = ("prlimit", f"--nofile={limit}:{limit}")
    done = mirror.command("run", "--once")
    mirror.before = ()
    counts = status(mirror)["counts"]
    print(f"\nlimit {limit}: exit {done.returncode}, {counts}")
    assert counts["failed"] == counts["expired"] == 0, done.stdout
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone, events)


@contextmanager
def _after(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    timer = threading.Timer(seconds, call)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_files_that_cannot_be_read_for_a_while_are_sent_when_they_can(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """All of them for some seconds; nothing is counted, and the sentence says whose fault it is."""
    events = ended(frigate, 10)
    paths = [event.snapshot_path for event in events if event.snapshot_path is not None]
    for path in paths:
        path.chmod(0)
    mirror = mirror_for(frigate, rclone, S3_MAX_FAILED_RETRIES="1")
    mirror.before = WITHOUT_RIGHTS

    def open_up() -> None:
        for path in paths:
            path.chmod(0o644)

    with _after(12.0, open_up):
        done = mirror.command("run", "--once")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("cannot be read (Permission denied)") == 1
    conserved(rclone, events)


def test_one_unreadable_file_ends_once_with_its_name(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Among twenty: the others are sent, this one waits, and the end says why."""
    *events, shut = ended(frigate, 21)
    assert shut.snapshot_path is not None
    shut.snapshot_path.chmod(0)
    mirror = mirror_for(frigate, rclone, S3_MAX_FAILED_RETRIES="1")
    mirror.before = WITHOUT_RIGHTS
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert f"{shut.snapshot_path.name} cannot be read (Permission denied)" in done.stdout
    assert status(mirror)["counts"]["failed"] == 0
    conserved(rclone, events)
    shut.snapshot_path.chmod(0o644)
    assert mirror.command("run", "--once").returncode == 0


def test_a_picture_that_is_still_being_written_is_sent_as_a_whole(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Its row has ended, and a tenth of it is there; the rest comes after some seconds."""
    (event,) = ended(frigate, 1)
    assert event.snapshot_path is not None
    whole = event.snapshot_path.read_bytes()
    event.snapshot_path.write_bytes(whole[: len(whole) // 10])
    mirror = mirror_for(frigate, rclone)
    started(mirror)

    def finish() -> None:
        assert event.snapshot_path is not None
        with event.snapshot_path.open("ab") as file:
            file.write(whole[len(whole) // 10 :])

    began = time.monotonic()
    mirror.wait_for(lambda: time.monotonic() - began > 4)
    assert rclone.objects() == {}
    finish()
    mirror.wait_for(lambda: list(rclone.objects().values()) == [whole], 15)
    assert status(mirror)["counts"]["failed"] == 0


def test_a_disk_that_the_spool_filled_gets_unstuck_by_itself(
    tiny_disk: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """What an older version left: the disk is full of pictures that only settling would free."""
    mirror = mirror_for(frigate, rclone_proxy, S3_STATE_DIR=str(tiny_disk))
    process = mirror.start()
    with rclone_proxy.proxy.refusing():
        mirror.wait_for(lambda: "is ready" in mirror.log())
        events = ended(frigate, 20)
        mirror.wait_for(lambda: status(mirror)["counts"]["pending"] == 20, 60)
        process.kill()
        process.wait()
    spool = tiny_disk / "spool"
    spool.mkdir(exist_ok=True)
    try:
        for event in sorted(events, key=lambda e: e.id):
            assert event.snapshot_path is not None
            (spool / event.snapshot_path.name).write_bytes(event.snapshot_path.read_bytes() + b"x" * 100_000)
    except OSError:
        pass
    filler = next(path for path in sorted(spool.iterdir(), reverse=True) if path.stat().st_size)
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    mirror.start()
    drained(mirror, 60)
    conserved(rclone_proxy, events)
