"""Whatever asks the service to end, it ends in order; what means nothing to it does nothing; and nobody has to read its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror, RunningMirror, WatchedTarget, ended, started
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.lifetime import ENDING, IGNORED
from oracles import FULL, conserved
from recording_proxy import Fault, FaultKind
from servers import Target


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


@pytest.mark.parametrize("name", ENDING if FULL else ("SIGTERM", "SIGHUP", "SIGQUIT"))
def test_a_signal_that_ends_lets_uploads_in_flight_finish(
    name: str, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Also when it comes twice, as a closing terminal sends it, and with another one behind it."""
    mirror = started(mirror_for(frigate, rclone_proxy))
    rclone_proxy.proxy.inject(Fault(FaultKind.DRIP, path_part="/yard/"))
    events = ended(frigate, 4)
    mirror.wait_for(lambda: len(rclone_proxy.objects()) == 4)
    process = mirror.processes[-1]
    if name in {"SIGHUP", "SIGQUIT"}:
        process.send_signal(signal.Signals[name])
    assert mirror.stop(process, signal.Signals[name]) == 0
    assert mirror.log().count("S3 upload done") == 4
    assert mirror.log().rstrip().endswith("S3 snapshot mirror stopped")
    conserved(rclone_proxy, events)
    assert set(rclone_proxy.stored().values()) == {1}


def test_signals_that_mean_nothing_do_nothing(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """All of them one after the other, those for real-time use among them; then it works as before."""
    mirror = started(mirror_for(frigate, rclone))
    process = mirror.processes[-1]
    numbers = [signal.Signals[name] for name in IGNORED if name in signal.Signals.__members__]
    for number in (*numbers, signal.SIGRTMIN, signal.SIGRTMIN + 3, signal.SIGRTMAX):
        process.send_signal(number)
    ended(frigate, 1)
    mirror.wait_for(lambda: "S3 upload done" in mirror.log())
    assert mirror.stop(process) == 0


def with_a_log_that_nobody_reads(mirror: RunningMirror) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "frigate_s3_mirror", "run"]
    process = subprocess.Popen(command, env=mirror.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    mirror.processes.append(process)
    return process


def test_a_log_that_nobody_reads_stops_neither_uploads_nor_the_end(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A pipe of 64 KB is full after some 400 lines; health says so, and SIGTERM is heeded within the grace."""
    mirror = mirror_for(frigate, rclone, S3_SHUTDOWN_GRACE="5s")
    ended(frigate, 600)
    process = with_a_log_that_nobody_reads(mirror)
    mirror.wait_for(lambda: len(rclone.objects()) == 600, 90)
    ended(frigate, 20)
    mirror.wait_for(lambda: len(rclone.objects()) == 620)
    mirror.wait_for(lambda: "Nobody reads the log" in " ".join(mirror.command("status").stdout.split()))
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert time.monotonic() - began < 5 + 2
    assert process.stdout is not None
    process.stdout.close()
    assert "not running" in mirror.command("status").stdout


def test_lines_go_on_in_order_when_somebody_reads_again(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Nothing was dropped as long as the queue holds it, and the last lines before an orderly stop are there."""
    mirror = mirror_for(frigate, rclone)
    ended(frigate, 600)
    process = with_a_log_that_nobody_reads(mirror)
    mirror.wait_for(lambda: len(rclone.objects()) == 600, 90)
    lines: list[bytes] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: lines.extend(process.stdout or []))
    reader.start()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    reader.join()
    process.stdout.close()
    assert sum(b"S3 upload done" in line for line in lines) == 600
    assert b"missing here" not in b"".join(lines)
    assert lines[-1].endswith(b"S3 snapshot mirror stopped\n")


def test_nohup_is_heeded(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Who starts it with SIGHUP ignored wants it to outlive the terminal."""
    mirror = mirror_for(frigate, rclone)
    with mirror.log_path.open("ab") as log:
        command = ["nohup", sys.executable, "-m", "frigate_s3_mirror", "run"]
        process = subprocess.Popen(command, env=mirror.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    mirror.processes.append(process)
    mirror.wait_for(lambda: "is ready" in mirror.log())
    os.kill(process.pid, signal.SIGHUP)
    ended(frigate, 1)
    mirror.wait_for(lambda: "S3 upload done" in mirror.log())
    assert mirror.stop(process) == 0
