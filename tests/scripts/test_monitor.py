"""s3_monitor.sh with a docker that plays back: what it says, and its exit status."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.stubs import REPOSITORY, StubDocker, without_docker

RUNNING = "running since 2026-11-23T20:00:00Z\n"


@pytest.fixture
def docker(tmp_path: Path) -> StubDocker:
    return StubDocker(tmp_path / "bin")


@pytest.mark.parametrize(("status", "text"), [(0, "OK for 3 h"), (1, "DEGRADED"), (2, "DOWN")])
def test_the_mirrors_own_answer_and_exit_status_come_through(
    docker: StubDocker, tmp_path: Path, status: int, text: str
) -> None:
    """0 healthy, 1 degraded, 2 down."""
    docker.answer("inspect", RUNNING)
    docker.answer("exec", f"Frigate S3 Snapshot Mirror  {text}\n", status=status)
    done = docker.run("s3_monitor.sh", cwd=tmp_path)
    assert done.returncode == status
    assert text in done.stdout
    assert "frigate running since 2026-11-23" in done.stdout
    assert "\x1b" not in done.stdout


def test_another_container_is_named_by_a_variable(docker: StubDocker, tmp_path: Path) -> None:
    """The sidecar's, for example."""
    docker.answer("inspect", RUNNING)
    docker.answer("exec", "fine\n")
    assert docker.run("s3_monitor.sh", cwd=tmp_path, FRIGATE_CONTAINER="frigate-s3-mirror").returncode == 0
    assert all("frigate-s3-mirror" in asked for asked in docker.asked())


@pytest.mark.parametrize(
    ("inspect", "sentence"),
    [
        (("", "Error: No such object: frigate", 1), "There is no container 'frigate'."),
        (("", "Cannot connect to the Docker daemon", 1), "Docker does not answer: Cannot connect"),
        (("exited since 2026-11-23T20:00:00Z\n", "", 0), "Container 'frigate' does not run (exited since"),
    ],
)
def test_what_cannot_be_asked_is_not_running(
    docker: StubDocker, tmp_path: Path, inspect: tuple[str, str, int], sentence: str
) -> None:
    """Exit status 2, a sentence, and the last lines where there are some."""
    docker.answer("inspect", *inspect)
    docker.answer("logs", "noise\n[x] S3 snapshot mirror stopped\n")
    done = docker.run("s3_monitor.sh", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stdout
    assert ("S3 snapshot mirror stopped" in done.stdout) is ("does not run" in sentence)


def test_a_container_without_the_mirror_is_told(docker: StubDocker, tmp_path: Path) -> None:
    """The mount is missing."""
    docker.answer("inspect", RUNNING)
    docker.answer("exec", error="The mirror is not in this container: /opt/s3-mirror is not mounted", status=127)
    docker.answer("logs", "")
    done = docker.run("s3_monitor.sh", cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot be asked" in done.stdout


def test_watch_goes_on_until_it_is_stopped(docker: StubDocker, tmp_path: Path) -> None:
    """At least two reports, then an orderly end."""
    docker.answer("inspect", RUNNING)
    docker.answer("exec", "fine\n")
    docker.run("s3_monitor.sh", "--help", cwd=tmp_path)  # writes the answers
    environment = {**os.environ, "PATH": f"{docker.folder}:{os.environ['PATH']}", "S3_MONITOR_INTERVAL": "0.1"}
    with subprocess.Popen(
        [str(REPOSITORY / "s3_monitor.sh"), "watch"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen += "fine" in line
            if seen == 2:
                break
        process.terminate()
        process.communicate(timeout=10)
        assert process.returncode == 0


def test_without_docker_it_says_where_to_run(tmp_path: Path) -> None:
    """Exit status 2."""
    done = subprocess.run(
        [str(REPOSITORY / "s3_monitor.sh")], env={"PATH": without_docker(tmp_path / "bin")}, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 2
    assert "docker is not on the PATH" in done.stdout
