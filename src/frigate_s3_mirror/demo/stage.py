"""Puts the demo together: an S3 server, a simulated Frigate and the real mirror, in one folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from frigate_s3_mirror.demo import scenario
from frigate_s3_mirror.demo.children import free_port
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.mirror_process import MIRROR_COMMAND, MirrorProcess, mirror_environment
from frigate_s3_mirror.demo.progress import Progress, ProgressReader
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.demo.verdict import compare, verdict_table
from frigate_s3_mirror.demo.view import Place, View, view_for

_LOOK_SECONDS = 0.25
_SETTLE_SECONDS = 60.0
_SETTLE_AFTER_CTRL_C_SECONDS = 5.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Plan:
    """What the user asked for."""

    version: str
    events: int | None
    rate: float
    once: bool
    seed: int


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True)
class Stage:
    """Everything that runs during a demo."""

    s3: EmbeddedS3
    frigate: SimulatedFrigate
    mirror: MirrorProcess
    reader: ProgressReader
    status_address: str

    @property
    def place(self) -> Place:
        return Place(
            version=self.frigate.layout.version,
            bucket=self.s3.bucket,
            bucket_dir=self.s3.bucket_dir,
            endpoint_url=self.s3.endpoint_url,
            mirror_log=self.mirror.log_path,
            status_page=f"http://{self.status_address}/",
        )


@contextmanager
def open_stage(root: Path, plan: Plan, mirror_command: Sequence[str]) -> Iterator[Stage]:
    """Start everything under `root`, and end all of it however the caller leaves."""
    with EmbeddedS3(root / "s3") as s3, SimulatedFrigate(root, plan.version, seed=plan.seed) as frigate:
        status_address = f"127.0.0.1:{free_port()}"
        environment = mirror_environment(s3, frigate, S3_STATUS_LISTEN=status_address, S3_SITE="demo")
        mirror = MirrorProcess(environment, root / "mirror.log", mirror_command)
        reader = ProgressReader(s3.bucket_dir, frigate.db_path.parent / ".s3-mirror" / "ledger.db")
        mirror.start()
        try:
            yield Stage(s3, frigate, mirror, reader, status_address)
        finally:
            mirror.stop(_STOP_SECONDS)


def perform(
    root: Path,
    plan: Plan,
    stop: threading.Event,
    console: Console,
    mirror_command: Sequence[str] = MIRROR_COMMAND,
) -> list[str]:
    """Run the demo until it is over or `stop` is set; print the summary and return what is wrong.

    Raises:
        DemoError: the mirror ended by itself.
        EmbeddedS3Error: there is no S3 server.
    """
    with open_stage(root, plan, mirror_command) as stage:
        with view_for(console, stage.place) as view:
            _watch(stage, plan, stop, view)
            exit_code = stage.mirror.stop(_STOP_SECONDS)  # its ledger is complete now
            progress = stage.reader.read(time.time())
            view.show(progress)
        verdict = compare(stage.frigate.events, stage.s3.bucket_dir, stage.s3.put_counts())
        console.print(verdict_table(verdict, progress))
        problems = verdict.problems()
        if exit_code != 0:
            ended = "did not end within 10 s of SIGTERM" if exit_code is None else f"ended with {exit_code}"
            problems.append(f"the mirror {ended}")
        if problems:
            problems += ["the mirror's last lines:", *stage.mirror.last_lines()]
        return problems


def _watch(stage: Stage, plan: Plan, stop: threading.Event, view: View) -> None:
    """Let the events happen and show them, until all arrived (`once`), or until `stop` and a moment more."""
    with ThreadPoolExecutor(1, "cameras") as pool:
        cameras = pool.submit(
            scenario.run, stage.frigate, plan.events, plan.rate, stop, stage.reader.note, seed=plan.seed
        )
        try:
            deadline: float | None = None
            while True:
                progress = stage.reader.read(time.time())
                view.show(progress)
                _check(stage.mirror, cameras)
                if deadline is None and (stop.is_set() or (plan.once and cameras.done())):
                    patience = _SETTLE_AFTER_CTRL_C_SECONDS if stop.is_set() else _SETTLE_SECONDS
                    deadline = time.monotonic() + patience
                if deadline is not None and _is_over(progress, cameras, deadline):
                    return
                if deadline is None:
                    stop.wait(_LOOK_SECONDS)
                else:
                    time.sleep(_LOOK_SECONDS)
        finally:
            stop.set()  # else the pool would wait for an endless run


def _is_over(progress: Progress, cameras: Future[None], deadline: float) -> bool:
    return time.monotonic() > deadline or (cameras.done() and progress.outstanding == 0)


def _check(mirror: MirrorProcess, cameras: Future[None]) -> None:
    if cameras.done():
        cameras.result()
    if mirror.exit_code is not None:
        told = "\n".join(mirror.last_lines())
        raise DemoError(f"the mirror ended by itself with exit code {mirror.exit_code}; its last lines:\n{told}")
