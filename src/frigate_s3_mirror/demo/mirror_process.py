"""Owns the real mirror, `python -m frigate_s3_mirror run`, as a child process set up for this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from frigate_s3_mirror.demo.children import last_lines, start_child, stop_child
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate

PATH_PREFIX = "frigate/snapshots"
MIRROR_COMMAND = (sys.executable, "-m", "frigate_s3_mirror", "run")
_FOREIGN = ("S3_", "AWS_", "FRIGATE_")


def mirror_environment(s3: EmbeddedS3, frigate: SimulatedFrigate, **more: str) -> dict[str, str]:
    """The environment of a mirror from `frigate` to `s3`; settings that we inherited do not reach it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return inherited | {
        "S3_BUCKET": s3.bucket,
        "S3_ACCESS_KEY": s3.access_key,
        "S3_SECRET_KEY": s3.secret_key,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "S3_PATH_PREFIX": PATH_PREFIX,
        "S3_SCAN_INTERVAL": "1s",
        "S3_STATUS_LISTEN": "off",
        "FRIGATE_DB_PATH": str(frigate.db_path),
        "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
        "NO_PROXY": "127.0.0.1",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


class MirrorProcess:
    """The mirror as its user runs it. `start` after a `stop` or `kill` is a restart."""

    def __init__(self, environment: dict[str, str], log_path: Path, command: Sequence[str] = MIRROR_COMMAND) -> None:
        self.log_path = log_path
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the mirror runs or has ended by itself."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code if the mirror ended by itself, else None."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the mirror; its log is appended to `log_path`."""
        self._process = start_child(self._command, self._environment, self.log_path)

    def stop(self, timeout_seconds: float = 10.0) -> int | None:
        """End the mirror by SIGTERM and return its exit code; None if it had to be killed or did not run."""
        process, self._process = self._process, None
        return None if process is None else stop_child(process, timeout_seconds)

    def kill(self) -> None:
        """End the mirror by SIGKILL, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def last_lines(self, count: int = 20) -> list[str]:
        """The end of the mirror's log."""
        return last_lines(self.log_path, count)
