"""S3 as it is on a bad day: slow, silent, wrong, torn, gone; between a real server and the real mirror stands a proxy."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.progress import expected_key
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import PREFIX, conserved, drained, size
from recording_proxy import Fault, FaultKind
from servers import Target

KINDS = [
    Fault(FaultKind.ANSWER, status=500, code="InternalError"),
    Fault(FaultKind.ANSWER, status=503, code="SlowDown"),
    Fault(FaultKind.ANSWER, status=429, code="TooManyRequests", headers=(("Retry-After", "1"),)),
    Fault(FaultKind.RESET_BEFORE),
    Fault(FaultKind.RESET_AFTER),
    Fault(FaultKind.CUT),
    Fault(FaultKind.WRONG_ETAG),
    Fault(FaultKind.DRIP),
]


def ready(mirror: RunningMirror) -> None:
    mirror.start()
    mirror.wait_for(lambda: "is ready" in mirror.log() and "S3 has not taken" not in mirror.log())


@pytest.mark.parametrize("fault", KINDS, ids=lambda fault: f"{fault.kind.value} {fault.status}")
def test_each_fault_alone_costs_nothing(
    fault: Fault, watched_s3: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The first five PUTs are hit; all events are in the bucket soon after, and none counts as failed."""
    mirror = mirror_for(frigate, watched_s3, S3_HEARTBEAT_INTERVAL="1h")
    ready(mirror)
    watched_s3.proxy.inject(Fault(fault.kind, 5, status=fault.status, code=fault.code, headers=fault.headers))
    events = ended(frigate, 8)
    drained(mirror)
    conserved(watched_s3, events)


def test_a_fifth_of_all_requests_goes_wrong(
    watched_s3: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror, record_property: object
) -> None:
    """Every kind of fault, at random, over a first copy and a stream of events; afterwards all is there."""
    share = 0.2 / len(KINDS)
    watched_s3.proxy.inject(
        *(Fault(k.kind, share=share / (1 - n * share), status=k.status, code=k.code, headers=k.headers) for n, k in enumerate(KINDS))
    )  # fmt: skip
    events = frigate.bulk(size(300, 10_000), 2_000, 3)
    mirror = mirror_for(frigate, watched_s3)
    mirror.start()
    events = [*events, *ended(frigate, size(20, 200))]
    mirror.wait_for(lambda: "is ready" in mirror.log(), size(30, 120))
    mirror.wait_for(lambda: sum(_counts(mirror).values()) >= len(events))
    drained(mirror, size(60, 900))
    puts = watched_s3.proxy.requests("PUT")
    faulty = sum(bool(exchange.fault) for exchange in puts)
    print(
        f"\n{len(events)} events, {len(puts)} PUTs, {faulty} of them faulty, {len(mirror.log().splitlines())} log lines"
    )
    assert faulty > len(puts) / 10
    assert "Traceback" not in mirror.log()
    conserved(watched_s3, [event for event in events if event.snapshot_path is not None])


def test_a_lost_answer_is_no_second_object(
    watched_s3: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The server stored it and the connection was cut: where it can tell (moto), the second PUT creates nothing."""
    mirror = mirror_for(frigate, watched_s3)
    ready(mirror)
    watched_s3.proxy.inject(Fault(FaultKind.RESET_AFTER, 1, path_part="/front"))
    event = frigate.end_event(frigate.begin_event(camera="front-door"))
    drained(mirror)
    conserved(watched_s3, [event])
    status = json.loads(mirror.command("status", "--json").stdout)
    assert status["proof"]["24 h"] == {
        "in_frigate": 1, "uploaded": 1, "verified": 1, "missing": 0, "oldest_missing_at": None
    }  # fmt: skip


def test_a_server_that_asks_for_less_gets_less(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """SlowDown with Retry-After: no PUT comes before that time is over."""
    mirror = mirror_for(frigate, rclone_proxy)
    ready(mirror)
    slow = Fault(FaultKind.ANSWER, status=429, code="SlowDown", methods=frozenset({"PUT", "HEAD"}))
    rclone_proxy.proxy.inject(
        Fault(slow.kind, 2, status=429, code="SlowDown", methods=slow.methods, headers=(("Retry-After", "3"),))
    )
    rclone_proxy.proxy.forget()
    events = ended(frigate, 1)
    drained(mirror)
    first, *_, last = rclone_proxy.proxy.requests("PUT")
    assert last.started_at - first.ended_at >= 2.9
    conserved(rclone_proxy, events)


def test_a_server_that_hangs_holds_up_nobody_for_ever(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Hung requests end by a reset here (or by the timeout); other uploads go on meanwhile."""
    mirror = mirror_for(frigate, rclone_proxy)
    ready(mirror)
    rclone_proxy.proxy.inject(Fault(FaultKind.HANG, 3))
    events = ended(frigate, 8)
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") >= 5)
    rclone_proxy.proxy.heal()
    drained(mirror)
    conserved(rclone_proxy, events)


def test_a_server_stopped_in_the_middle_of_a_put(
    tmp_path: Path, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """SIGSTOP for a few seconds, then SIGCONT: what was in flight ends, nothing is damaged."""
    with EmbeddedS3(tmp_path / "s3", bucket="stopped") as server:
        target = Target(server.endpoint_url, server.access_key, server.secret_key, server.bucket)
        events = list(frigate.bulk(60, 400_000, 1))
        mirror = mirror_for(frigate, target)
        mirror.start()
        mirror.wait_for(lambda: "S3 upload done" in mirror.log())
        assert server.pid is not None
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(server.pid, signal.SIGCONT)
        drained(mirror)
        conserved(target, events)


def test_an_outage_ends_with_the_newest_first(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A backlog waits in the ledger; when S3 is back, new events go before it, and memory stays flat."""
    backlog = list(frigate.bulk(size(1500, 50_000), 600, 2))
    mirror = mirror_for(frigate, rclone_proxy, S3_UPLOAD_THREADS="2")
    with rclone_proxy.proxy.refusing():
        mirror.start()
        mirror.wait_for(lambda: "S3 uploads wait" in mirror.log() and "is ready" in mirror.log())
        mirror.wait_for(lambda: _counts(mirror)["pending"] == len(backlog), size(30, 120))
        assert _counts(mirror)["failed"] == 0
        before = mirror.memory_mb()
        newest = ended(frigate, 1)[0]
        mirror.wait_for(lambda: _counts(mirror)["pending"] == len(backlog) + 1, 90)
    mirror.wait_for(lambda: "S3 upload done" in mirror.log(), 90)
    during = ended(frigate, 1)[0]
    already = mirror.log().count("S3 upload done")
    mirror.wait_for(lambda: expected_key(during, PREFIX) in mirror.log(), 90)
    sent = re.findall(r"S3 upload done .* key=(\S+)", mirror.log())
    waited = sent.index(expected_key(during, PREFIX)) - already
    print(f"\n{waited} of {len(backlog)} waiting events were sent while a new one was found, read and sent")
    assert expected_key(newest, PREFIX) in sent[:2]  # two threads
    assert waited <= 300  # a fraction of a second's worth of them
    drained(mirror, size(60, 900))
    assert mirror.memory_mb() < before + 20
    conserved(rclone_proxy, [*backlog, newest, during])


def test_credentials_that_fail_for_a_while_cost_nobody_an_attempt(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """403 for a while: DEGRADED with what to do; the next start finds all of it."""
    mirror = mirror_for(frigate, rclone_proxy)
    ready(mirror)
    rclone_proxy.proxy.inject(Fault(FaultKind.ANSWER, status=403, code="AccessDenied"))
    events = ended(frigate, 4)
    mirror.wait_for(lambda: "allow s3:PutObject" in mirror.log())
    counts = _counts(mirror)
    assert (counts["pending"], counts["failed"]) == (4, 0)
    rclone_proxy.proxy.heal()
    assert mirror.stop(mirror.processes[-1]) == 0
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone_proxy, events)


def test_another_object_under_the_key_is_left_alone(
    moto: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Where the server can create conditionally: other content is told and kept, S3_OVERWRITE=changed replaces it."""
    taken, same = ended(frigate, 2)
    assert same.snapshot_path is not None
    client = moto.client()
    client.put_object(Bucket=moto.bucket, Key=expected_key(taken, PREFIX), Body=b"of somebody else")
    client.put_object(Bucket=moto.bucket, Key=expected_key(same, PREFIX), Body=same.snapshot_path.read_bytes())
    client.close()
    mirror = mirror_for(frigate, moto, S3_MAX_FAILED_RETRIES="1")
    done = mirror.command("run", "--once")
    assert done.returncode == 1
    assert "Another object is under this key and is left alone" in done.stdout
    assert moto.objects()[expected_key(taken, PREFIX)] == b"of somebody else"
    assert _counts(mirror)["uploaded"] == 1
    mirror.environment["S3_OVERWRITE"] = "changed"
    mirror.command("retry-failed")
    assert mirror.command("run", "--once").returncode == 0
    conserved(moto, [taken, same])


def test_a_slow_server_is_stopped_within_the_grace(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A stop with requests that hang ends with 0 after the grace; the next start sends what was broken off."""
    mirror = mirror_for(frigate, rclone_proxy, S3_SHUTDOWN_GRACE="1s")
    ready(mirror)
    rclone_proxy.proxy.inject(Fault(FaultKind.HANG))
    events = ended(frigate, 3)
    time.sleep(0.5)
    began = time.monotonic()
    assert mirror.stop(mirror.processes[-1]) == 0
    assert time.monotonic() - began < 6
    threading.Thread(target=rclone_proxy.proxy.heal).start()
    assert mirror.command("run", "--once").returncode == 0
    conserved(rclone_proxy, events)


def _counts(mirror: RunningMirror) -> dict[str, int]:
    counts: dict[str, int] = json.loads(mirror.command("status", "--json").stdout)["counts"]
    return counts
