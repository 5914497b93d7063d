"""A bundle in a temporary folder, started as a container is: the real entrypoint, a stub /init, a stand-in Frigate."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
STANDIN = Path(__file__).parent / "standin"
PATIENCE = 20.0
"""Seconds after which something that should happen is called missing."""


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Return when the condition holds; the deadline is for failures only."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"missing after {patience} s: {what}"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


def _is_gone(pid: int) -> bool:
    return not is_alive(pid)


class Running:
    """A started container: its output as it comes, and its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        """All that was written so far."""
        return "\n".join(self.lines)

    @property
    def mirror_lines(self) -> list[str]:
        """What the patch, the entrypoint and the service wrote."""
        return [line for line in self.lines if "frigate_s3_mirror  " in line]

    def see(self, text: str) -> None:
        """Wait for a text in the output."""
        wait_until(lambda: text in self.output, f"{text!r} in:\n{self.output}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal to the main process; returns its exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the main process to end and for its last output."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs:\n{self.output}") from None
        self._reader.join(5)
        return status

    @property
    def cameras(self) -> list[int]:
        """The pids of the stand-in's children."""
        return [int(pid) for pid in re.findall(r"camera: pid=(\d+)", self.output)]

    def see_cameras(self, number: int = 2) -> None:
        """Wait until all of the stand-in's children have spoken."""
        wait_until(lambda: len(self.cameras) == number, f"{number} cameras in:\n{self.output}")

    def clean_up(self) -> None:
        """End what a test left, children that never spoke among them: they would hold the output open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(5)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Bundle:
    """`s3-mirror/` as the setup fills it, with a stand-in for the service."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "s3-mirror"
        self.lib = self.root / "lib"
        self.record_path = folder / "record.jsonl"
        self.frigate = STANDIN
        shutil.copytree(REPOSITORY / "patch", self.root / "patch", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / "entrypoint.sh", self.root)
        package = self.lib / "frigate_s3_mirror"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        shutil.copy(STANDIN / "service.py", package / "__main__.py")
        shutil.copy(REPOSITORY / "src/frigate_s3_mirror/frigate_s3_patcher.py", package)
        self.init = folder / "init"
        self.write_init(sys.executable)
        self.environment = {
            "PATH": os.environ["PATH"],
            "S3_BUCKET": "bucket",
            "S3_SECRET_KEY": "TOPSECRET",
            "S3_MIRROR_INIT": str(self.init),
            "S3_MIRROR_LIB": str(folder / "config/.s3-mirror/lib"),
            "STANDIN_RECORD": str(self.record_path),
        }
        self.started: list[Running] = []

    def write_init(self, interpreter: str) -> None:
        """A stub of the image's /init: it becomes Frigate at once."""
        self.init.write_text(
            f"#!/usr/bin/env bash\necho \"init: $*\"\ncd '{self.frigate}' && exec '{interpreter}' -u -m frigate\n",
            encoding="utf-8",
        )
        self.init.chmod(0o755)

    def start(self, *variants: str, service: str = "run", patched: bool = True, **environment: str) -> Running:
        """Start the container, or the same without anything of ours."""
        command = [str(self.root / "entrypoint.sh") if patched else str(self.init), "one", "two words"]
        process = subprocess.Popen(
            command,
            env={**self.environment, "STANDIN": ",".join(variants), "STANDIN_SERVICE": service, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running = Running(process)
        self.started.append(running)
        return running

    def records(self) -> list[dict[str, Any]]:
        """What the lives of the service wrote down."""
        if not self.record_path.exists():
            return []
        return [json.loads(line) for line in self.record_path.read_text(encoding="utf-8").splitlines() if line]

    def births(self) -> list[dict[str, Any]]:
        """One record for each life."""
        return [record for record in self.records() if "argv" in record]

    def endings(self) -> list[str]:
        """How the orderly lives ended."""
        return [record["ended"] for record in self.records() if "ended" in record]

    def ready(self, running: Running, *, mirror: bool = True) -> None:
        """Wait until Frigate serves and the service lives."""
        running.see("frigate: ready")
        if mirror:
            running.see("service is ready")

    def no_orphan(self) -> None:
        """Wait until no life of the service is left."""
        for birth in self.births():
            pid = birth["pid"]
            wait_until(partial(_is_gone, pid), f"the end of the service, pid {pid}")

    def clean_up(self) -> None:
        """End what a test left."""
        for running in self.started:
            running.clean_up()
        for birth in self.births():
            if is_alive(birth["pid"]):
                os.kill(birth["pid"], signal.SIGKILL)
