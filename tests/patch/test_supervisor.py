"""The supervising thread by itself: deaths, pauses, forks, and lines."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from frigate_s3_mirror import frigate_s3_patcher as patcher
from frigate_s3_mirror.frigate_s3_patcher import EXTRA_GRACE, Supervisor, environment_for, grace_from, pass_on
from patch.workbench import REPOSITORY, wait_until


def passed_on(capfd: pytest.CaptureFixture[str], *chunks: bytes) -> tuple[str, str]:
    """What `pass_on` returns and writes for these chunks."""
    reading, writing = os.pipe()

    def feed() -> None:
        for chunk in chunks:
            os.write(writing, chunk)
        os.close(writing)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        result = pass_on(reading)
    finally:
        thread.join()
        os.close(reading)
    return result, capfd.readouterr().out


def test_lines_are_passed_on_whole(capfd: pytest.CaptureFixture[str]) -> None:
    """A line that comes in pieces is written in one, and one without an end gets one."""
    assert passed_on(capfd, b"[2026", b"] a\n[2026] b\nc") == ("", "[2026] a\n[2026] b\nc\n")


def test_a_line_without_end_does_not_fill_the_memory(capfd: pytest.CaptureFixture[str]) -> None:
    """What is longer than a line may be is written in pieces."""
    _, output = passed_on(capfd, b"[" + b"x" * 300_000)
    assert output.replace("\n", "") == "[" + "x" * 300_000
    assert max(map(len, output.splitlines())) <= 2 * patcher.LONGEST_LINE


def test_a_traceback_of_a_failed_import_becomes_its_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Only before the service has said anything: later ones are passed on."""
    traceback = b"Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'obstore'\n"
    assert passed_on(capfd, traceback) == ("No module named 'obstore'", "")
    assert (
        passed_on(capfd, b"/bin/python: No module named frigate_s3_mirror\n")[0] == "No module named frigate_s3_mirror"
    )
    assert passed_on(capfd, b"[2026] up\n" + traceback) == ("", f"[2026] up\n{traceback.decode()}")


def test_another_traceback_is_passed_on_when_the_child_has_ended(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is lost but the frames of a failed import."""
    assert passed_on(capfd, b"Traceback\nKeyError: 5\n") == ("", "Traceback\nKeyError: 5\n")


def test_a_crash_loop_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Four deaths are told one by one, the fifth says what will be, and then there is silence."""
    lives = set[int]()
    supervisor = Supervisor([sys.executable, "-S", "-c", "raise SystemExit(3)"], dict(os.environ), 5, first_delay=0.001)

    def six_lives() -> bool:
        if supervisor._child is not None:
            lives.add(id(supervisor._child))
            kept.append(supervisor._child)
        return len(lives) >= 6

    kept: list[object] = []  # so that no two of them get the same id
    supervisor.start()
    wait_until(six_lives, "six lives")
    supervisor.finish()
    output = capfd.readouterr().out  # once: what is written while it is read is lost
    assert output.count("S3 snapshot mirror started") == 5
    assert output.count("starting it again") == 4
    assert output.count("ended with exit status 3, 5 times in a row") == 1


def test_a_program_that_is_missing_is_a_death(capfd: pytest.CaptureFixture[str]) -> None:
    """Not even starting is told like other deaths, and tried again."""
    supervisor = Supervisor(["/nowhere/python"], dict(os.environ), 5, first_delay=60)
    supervisor.start()
    wait_until(lambda: "could not be started (No such file or directory)" in capfd.readouterr().out, "a line")
    supervisor.finish()
    assert not supervisor._thread.is_alive()


def test_stopping_is_possible_at_any_time_and_twice() -> None:
    """Before the first life, in a pause, and after the end."""
    supervisor = Supervisor([sys.executable, "-S", "-c", "import time; time.sleep(60)"], dict(os.environ), 5)
    supervisor.start()
    supervisor.ask_to_stop()
    supervisor.finish()
    supervisor.finish()
    assert not supervisor._thread.is_alive()


FORK = """
import os, sys, threading
from frigate_s3_mirror import frigate_s3_patcher as patcher
patcher.FORK_PATIENCE = 0.05
supervisor = patcher.Supervisor(["/nowhere"], {}, 1, first_delay=60)
supervisor.start()
held, over = threading.Event(), threading.Event()
def start_that_hangs():
    with supervisor._starting:
        held.set()
        over.wait()
thread = threading.Thread(target=start_that_hangs)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    free = supervisor._starting.acquire(timeout=0)
    os._exit(5 if free else 6)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
over.set()
thread.join()
sys.exit(status)
"""


def test_a_start_that_hangs_does_not_hold_up_a_fork_of_frigates() -> None:
    """A fork waits for the patience at most, and its child has no lock that nobody will release."""
    result = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 5, result.stderr
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 8), ("5s", 5), ("500ms", 0.5), ("2 min", 120), ("7", 7), ("soon", 8), ("-3", 0), ("99999", 600), ("nans", 0)],
)
def test_the_grace_is_read_leniently(text: str, seconds: float) -> None:
    """The service tells about wrong values; here they only must not hold up a stop."""
    assert grace_from({"S3_SHUTDOWN_GRACE": text}) == pytest.approx(seconds + EXTRA_GRACE)


def test_a_frigate_that_keeps_its_things_elsewhere_gets_the_services_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `config.database.path` and `frigate.const` nothing is set, and nothing is raised."""
    monkeypatch.delenv("FRIGATE_DB_PATH", raising=False)
    monkeypatch.delenv("FRIGATE_CLIPS_DIR", raising=False)
    environment = environment_for(str(REPOSITORY / "src"), SimpleNamespace())
    assert "FRIGATE_DB_PATH" not in environment
    assert "FRIGATE_CLIPS_DIR" not in environment
