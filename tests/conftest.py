"""Fixtures: a Frigate, a fresh bucket on each real server, and a mirror that runs as its users run it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import hypothesis
import pytest

from frigate_s3_mirror.demo.simulated_event import SimulatedEvent
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from recording_proxy import RecordingProxy
from servers import Target, moto_server, rclone_server

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup: the mirrors would inherit it and heed it, too
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

CAMERAS = ("front-door", "yard")
_numbers = itertools.count()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a shell: what the tests start would inherit the deaf ear, and Frigate 0.14 ends by SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test's own time zone is UTC, as that of its mirrors is."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    """A Frigate with two cameras."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=CAMERAS) as simulated:
        yield simulated


def ended(frigate: SimulatedFrigate, count: int) -> list[SimulatedEvent]:
    """So many events, one after the other, as fast as they can come."""
    return [frigate.end_event(frigate.begin_event(), delay=0.001) for _ in range(count)]


def made(target: Target) -> Target:
    """The target, once its bucket exists."""
    client = target.client()
    client.create_bucket(Bucket=target.bucket)
    client.close()
    return target


@pytest.fixture(scope="session")
def rclone_target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Target]]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:

        def fresh() -> Target:
            return made(Target(server.endpoint_url, server.access_key, server.secret_key, f"bucket-{next(_numbers)}"))

        yield fresh


@pytest.fixture(scope="session")
def moto_target() -> Iterator[Callable[[], Target]]:
    with moto_server() as endpoint:

        def fresh() -> Target:
            return made(Target(endpoint, "testing-key", "testing-secret", f"bucket-{next(_numbers)}"))

        yield fresh


@pytest.fixture(params=["rclone", "moto"])
def s3(request: pytest.FixtureRequest) -> Target:
    """A fresh bucket, on each server in turn."""
    fresh: Callable[[], Target] = request.getfixturevalue(f"{request.param}_target")
    return fresh()


@pytest.fixture
def rclone(rclone_target: Callable[[], Target]) -> Target:
    """A fresh bucket where one server is enough."""
    return rclone_target()


@pytest.fixture
def moto(moto_target: Callable[[], Target]) -> Target:
    """A fresh bucket on the server that creates conditionally."""
    return moto_target()


@dataclass(frozen=True)
class WatchedTarget(Target):
    """A bucket behind a proxy that records what passes, and can do harm."""

    proxy: RecordingProxy

    def stored(self) -> dict[str, int]:
        """How often the server accepted each key; more than once is a PUT too many."""
        prefix = f"/{self.bucket}/"
        return {path.removeprefix(prefix): n for path, n in self.proxy.stored().items() if path.startswith(prefix)}


@pytest.fixture
def watched_s3(s3: Target) -> Iterator[WatchedTarget]:
    """A fresh bucket on each server in turn, behind a proxy."""
    with RecordingProxy(s3.endpoint_url) as proxy:
        watched = replace(s3, endpoint_url=proxy.endpoint_url)
        yield WatchedTarget(**vars(watched), proxy=proxy)


@pytest.fixture
def rclone_proxy(rclone: Target) -> Iterator[WatchedTarget]:
    """A fresh bucket of rclone's, behind a proxy."""
    with RecordingProxy(rclone.endpoint_url) as proxy:
        watched = replace(rclone, endpoint_url=proxy.endpoint_url)
        yield WatchedTarget(**vars(watched), proxy=proxy)


@pytest.fixture
def moto_proxy(moto: Target) -> Iterator[WatchedTarget]:
    """A fresh bucket of moto's, behind a proxy."""
    with RecordingProxy(moto.endpoint_url) as proxy:
        watched = replace(moto, endpoint_url=proxy.endpoint_url)
        yield WatchedTarget(**vars(watched), proxy=proxy)


@contextlib.contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, so small that it fills; skips the test where none can be mounted."""
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    with mounted(tmp_path / "small", 3) as folder:
        yield folder


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    with mounted(tmp_path / "tiny", 1) as folder:
        yield folder


WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
"""What a command begins with whose files may have modes that mean something, for root, too."""


@dataclass
class RunningMirror:
    """The service as a child process, with its log in a file."""

    environment: dict[str, str]
    log_path: Path
    before: Sequence[str] = ()
    """What its commands begin with."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the program to its end."""
        return subprocess.run(
            [*self.before, sys.executable, "-m", "frigate_s3_mirror", *arguments],
            env=self.environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def start(self) -> subprocess.Popen[bytes]:
        """Start the service; its log is appended to."""
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "frigate_s3_mirror", "run"]
            process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def stop(self, process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        process.send_signal(number)
        return process.wait(20)

    def log(self) -> str:
        """All that was logged so far."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Memory of the running process: now, or with VmHWM its peak."""
        lines = Path(f"/proc/{self.processes[-1].pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024

    def wait_for(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until the condition holds, or fail with the log."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)


MakeMirror = Callable[..., RunningMirror]


def started(mirror: RunningMirror) -> RunningMirror:
    """The mirror, once its first scan is done."""
    mirror.start()
    mirror.wait_for(lambda: "is ready" in mirror.log())
    return mirror


@pytest.fixture
def mirror_for(tmp_path: Path) -> Iterator[MakeMirror]:
    """Makes mirrors for a simulated Frigate and a bucket; all end with the test."""
    made: list[RunningMirror] = []

    def make(frigate: SimulatedFrigate, target: Target, **more: str) -> RunningMirror:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("S3_", "AWS_", "FRIGATE_"))}
        environment = {
            **inherited, **target.environment(), "FRIGATE_DB_PATH": str(frigate.db_path), "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
            "S3_PATH_PREFIX": "frigate/snapshots", "S3_SCAN_INTERVAL": "300ms", "S3_STATUS_LISTEN": "off", "TZ": "UTC", "COLUMNS": "100", **more,
        }  # fmt: skip
        made.append(RunningMirror({k: v for k, v in environment.items() if v}, tmp_path / f"mirror-{len(made)}.log"))
        return made[-1]

    yield make
    for mirror in made:
        for process in mirror.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
