"""What every benchmark needs: a simulated Frigate, a real S3 server, and whole-process figures of a command."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3

MIRROR = [sys.executable, "-m", "frigate_s3_mirror", "run"]


@dataclass(frozen=True)
class Figures:
    """One finished process: seconds by the clock, CPU seconds, peak memory in MB."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def tool(name: str) -> str:
    """A peer's executable, from this environment."""
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
def running_mirror(variables: Mapping[str, str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The service, ready; ended at exit."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(MIRROR, env=dict(variables), stdout=log, stderr=log)
    try:
        wait_for_line(log_path, "is ready", 300)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for_line(log_path: Path, text: str, seconds: float) -> None:
    """Wait until the log holds the text."""
    deadline = time.monotonic() + seconds
    while text not in log_path.read_text():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no '{text}' in the log:\n{log_path.read_text()[-2000:]}")
        time.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """CPU that a running process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    """Resident memory of a running process (VmRSS now, VmHWM at its peak)."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith(name))
    return int(line.split()[1]) / 1024
