"""The embedded S3 server is a real one, checks its keys, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from frigate_s3_mirror.demo.children import start_child, stop_child
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path) as server:
        yield server


def store(s3: EmbeddedS3, secret_key: str | None = None) -> S3Store:
    return S3Store(
        s3.bucket,
        endpoint=s3.endpoint_url,
        access_key_id=s3.access_key,
        secret_access_key=secret_key or s3.secret_key,
        region="us-east-1",
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )


def test_an_object_is_a_file_in_the_bucket_folder(s3: EmbeddedS3) -> None:
    """What is PUT can be looked at as a plain file under its key."""
    obstore.put(store(s3), "a/b/c.jpg", b"picture", use_multipart=False)
    assert (s3.bucket_dir / "a/b/c.jpg").read_bytes() == b"picture"


def test_a_wrong_secret_is_refused(s3: EmbeddedS3) -> None:
    """The server checks signatures."""
    with pytest.raises(BaseError):
        obstore.put(store(s3, "wrong" * 8), "c.jpg", b"picture", use_multipart=False)
    assert not (s3.bucket_dir / "c.jpg").exists()


def test_the_log_tells_how_often_a_key_was_put(s3: EmbeddedS3) -> None:
    """A second PUT of the same key shows, so that "never sent twice" can be checked."""
    for key in ("once.jpg", "with space.jpg", "with space.jpg"):
        obstore.put(store(s3), key, b"picture", use_multipart=False)
    assert s3.put_counts() == {"once.jpg": 1, "with space.jpg": 2}


def test_an_outage_keeps_address_keys_and_objects(s3: EmbeddedS3) -> None:
    """A server that was stopped and started again is the same to its clients."""
    endpoint = s3.endpoint_url
    obstore.put(store(s3), "before.jpg", b"picture", use_multipart=False)
    s3.stop()
    with pytest.raises(BaseError):
        obstore.head(store(s3), "before.jpg")
    s3.start()
    assert s3.endpoint_url == endpoint
    assert obstore.head(store(s3), "before.jpg")["size"] == 7


def test_secrets_are_not_in_the_process_arguments(s3: EmbeddedS3) -> None:
    """Every user of a machine can read a process's arguments: the keys are neither there nor in the log."""
    arguments = Path(f"/proc/{s3.pid}/cmdline").read_bytes().decode()
    assert "serve" in arguments
    assert s3.secret_key not in arguments + s3.log_path.read_text()


def test_a_child_ends_with_a_killed_parent(tmp_path: Path) -> None:
    """Even where no cleanup runs, no child of the demo stays behind."""
    script = """
        import os, sys, time
        from pathlib import Path
        from frigate_s3_mirror.demo.children import start_child
        child = start_child(
            [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"],
            os.environ, Path(sys.argv[1]),
        )
        print(child.pid, flush=True)
        time.sleep(60)
    """
    log = tmp_path / "child.log"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(log)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        _wait_for(lambda: log.exists() and "up" in log.read_text())
        parent.kill()
    _wait_for(lambda: not _is_running(child))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Stopping is bounded in time; None says that it took a SIGKILL."""
    log = tmp_path / "child.log"
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = start_child([sys.executable, "-c", code], os.environ, log)
    _wait_for(lambda: "up" in log.read_text())
    assert stop_child(child, 0.2) is None
    assert stop_child(child, 0.2) == -9


def _is_running(pid: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _wait_for(condition: object, seconds: float = 10.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
