"""The patch in a whole, though not the real, Frigate: it does its work, and Frigate does not notice."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from patch.workbench import Bundle, Running, is_alive, wait_until

VERSIONS = [
    pytest.param(("fork", "sigint", "exit-in-stop"), id="as-0.14"),
    pytest.param(("fork", "exit-in-stop", "slow-stop"), id="as-0.16"),
    pytest.param(("forkserver", "slow-stop"), id="as-0.17"),
]
ENDS_BY_ITSELF = {"raises-on-import", "start-raises", "sigterm-while-starting"}


def frigates_own(running: Running, *, cameras: bool = True) -> list[str]:
    """The stand-in's own statements without numbers, in an order that does not depend on its children's speed.

    Frames of a traceback are left out: calls go through the patch, and an interpreter writes them in pieces, between
    which another process may write. So are children that may not get to speak.
    """
    starts = ("init:", "frigate:", "RuntimeError:", "SystemExit", *(("camera:",) if cameras else ()))
    own = [line for line in map(str.strip, running.lines) if line.startswith(starts)]
    return sorted(re.sub(r"(pid|port)=\d+", r"\1=N", line) for line in own)


@pytest.mark.parametrize("variants", VERSIONS)
def test_the_mirror_lives_and_ends_with_frigate(bundle: Bundle, variants: tuple[str, ...]) -> None:
    """One mirror starts, in the main process alone, and is gone after a SIGTERM, told by a signal and not by a kill."""
    running = bundle.start(*variants)
    bundle.ready(running)
    running.see_cameras()
    (birth,) = bundle.births()
    assert birth["argv"] == ["run"]
    assert birth["ppid"] == running.process.pid
    assert f"S3 snapshot mirror started (pid {birth['pid']})" in running.output
    assert "finder=True" not in running.output
    running.end()
    bundle.no_orphan()
    assert bundle.endings() == ["SIGTERM"]
    assert len(bundle.births()) == 1


@pytest.mark.parametrize("variants", VERSIONS)
def test_frigate_killed_leaves_no_orphan(bundle: Bundle, variants: tuple[str, ...]) -> None:
    """After a SIGKILL the mirror sees the end of its stdin, although children that were forked later live on."""
    running = bundle.start(*variants, "late-fork")
    bundle.ready(running)
    running.see_cameras(4)
    running.process.kill()
    running.process.wait()
    bundle.no_orphan()
    assert bundle.endings() == ["end of stdin"]
    if "fork" in variants:
        assert [is_alive(pid) for pid in running.cameras] == [True] * 4


@pytest.mark.parametrize(
    "variants",
    [
        *VERSIONS,
        pytest.param(("stop-raises",), id="stop-raises"),
        pytest.param(("start-raises",), id="start-raises"),
        pytest.param(("raises-on-import",), id="raises-on-import"),
        pytest.param(("no-stop",), id="no-stop"),
        pytest.param(("unknown",), id="unknown"),
        pytest.param(("sigterm-while-starting",), id="sigterm-while-starting"),
    ],
)
@pytest.mark.parametrize("service", ["run", "settings"])
def test_frigate_is_the_same_with_and_without_the_patch(
    bundle: Bundle, variants: tuple[str, ...], service: str
) -> None:
    """Exit status and every line of its own are those of a run without anything of ours."""
    runs = []
    for patched in (False, True):
        running = bundle.start(*variants, service=service, patched=patched)
        if variants[0] in ENDS_BY_ITSELF:
            status = running.ended()
        else:
            bundle.ready(running, mirror=False)
            running.see_cameras()
            status = running.end()
        runs.append((status, frigates_own(running, cameras=variants[0] not in ENDS_BY_ITSELF)))
    assert runs[0] == runs[1]
    bundle.no_orphan()


def test_the_web_server_answers_while_the_mirror_crashes(bundle: Bundle) -> None:
    """A mirror that dies at once is started again, with growing pauses, and Frigate's main thread is free."""
    running = bundle.start(service="crash")
    running.see("starting it again in 2 s")
    port = re.search(r"ready port=(\d+)", running.output)
    assert port is not None
    with urllib.request.urlopen(f"http://127.0.0.1:{port.group(1)}/", timeout=5) as answer:
        assert answer.read() == b"frigate"
    assert "RuntimeError: service is broken" in running.output
    assert running.end() == 0


def test_a_crashed_mirror_is_replaced(bundle: Bundle) -> None:
    """One death is told in one line, and the next life is as good as the first."""
    running = bundle.start(service="crash-once")
    bundle.ready(running)
    first, second = bundle.births()
    assert first["pid"] != second["pid"]
    assert running.output.count("S3 snapshot mirror ended with exit status 1; starting it again in 1 s") == 1
    running.end()
    assert bundle.endings() == ["SIGTERM"]


def test_a_killed_mirror_is_replaced(bundle: Bundle) -> None:
    """A SIGKILL, as the kernel sends it when memory is short, is a death like others."""
    running = bundle.start()
    bundle.ready(running)
    os.kill(bundle.births()[0]["pid"], signal.SIGKILL)
    running.see("S3 snapshot mirror ended with signal 9; starting it again in 1 s")
    wait_until(lambda: len(bundle.births()) == 2, "a second life")
    running.end()
    bundle.no_orphan()


def test_wrong_settings_are_told_and_not_tried_again(bundle: Bundle) -> None:
    """Exit status 78 ends the matter in one line, and Frigate runs on."""
    running = bundle.start(service="settings", S3_UPLOAD_THREADS="many", S3_SHUTDOWN_GRACE="soon")
    running.see("S3 snapshot mirror not started: its settings are wrong (see above)")
    bundle.ready(running, mirror=False)
    assert "S3_REGION is wrong" in running.output
    assert "starting it again" not in running.output
    assert running.end() == 0
    assert len(bundle.births()) == 1


def test_missing_packages_are_told_in_one_line(bundle: Bundle) -> None:
    """A service that cannot import its packages is reported with the phrase that the documentation greps for."""
    running = bundle.start(service="import")
    running.see("Failed to import S3 modules: No module named 'a_package_that_is_missing'")
    bundle.ready(running, mirror=False)
    wait_until(lambda: len(bundle.births()) == 2, "a second try")
    second = bundle.births()[1]["pid"]
    wait_until(lambda: not is_alive(second), "the end of the second try by itself")
    assert running.end() == 0
    assert running.output.count("Failed to import S3 modules") == 1
    assert "Traceback" not in running.output


def test_a_mirror_that_does_not_end_is_killed_after_the_grace(bundle: Bundle) -> None:
    """A service that ignores SIGTERM holds Frigate's stop for the grace and two seconds, and leaves nothing."""
    running = bundle.start(service="deaf", S3_SHUTDOWN_GRACE="500ms")
    bundle.ready(running)
    assert running.end() == 0
    bundle.no_orphan()
    assert bundle.endings() == []


def test_a_mirror_with_uploads_in_flight_ends_them(bundle: Bundle) -> None:
    """Frigate's process waits for a service that needs a second of its grace."""
    running = bundle.start(service="slow-end")
    running.see("frigate: ready")
    wait_until(bundle.births, "a life")
    assert running.end() == 0
    assert bundle.endings() == ["late"]


@pytest.mark.parametrize("variant", ["no-stop", "sigterm-while-starting"])
def test_an_end_without_a_stop_ends_the_mirror_too(bundle: Bundle, variant: str) -> None:
    """Frigate may end without its stop, for example by a SIGTERM while its services start."""
    running = bundle.start(variant)
    if variant == "no-stop":
        bundle.ready(running)
        running.process.terminate()
    running.ended()
    bundle.no_orphan()


def test_a_frigate_that_never_ends_is_killed_with_its_mirror(bundle: Bundle) -> None:
    """A Frigate that does not react to SIGTERM is killed by Docker; its mirror goes too."""
    running = bundle.start("deaf", "late-fork")
    bundle.ready(running)
    running.process.terminate()
    assert is_alive(running.process.pid)
    running.process.kill()
    running.process.wait()
    bundle.no_orphan()


def test_the_mirror_gets_an_environment_of_its_own(bundle: Bundle) -> None:
    """Its packages come from the bundle, its paths from Frigate, and nothing of the patch is on its path."""
    running = bundle.start(PYTHONPATH="/somewhere/else")
    bundle.ready(running)
    (birth,) = bundle.births()
    environment = birth["environment"]
    assert environment["PYTHONPATH"] == str(bundle.lib)
    assert environment["PYTHONNOUSERSITE"] == "1"
    assert birth["path"][0] == str(bundle.lib)
    assert str(bundle.root / "patch") not in birth["path"]
    assert str(bundle.frigate) not in birth["path"]
    assert birth["cwd"] == "/"
    assert environment["S3_MIRROR_PARENT_PIPE"] == "1"
    assert environment["S3_MIRROR_PARENT_PID"] == str(running.process.pid)
    assert environment["FRIGATE_DB_PATH"] == "/config/standin.db"
    assert environment["FRIGATE_CLIPS_DIR"] == "/media/standin/clips"
    assert "S3_MIRROR_INIT" not in environment
    assert "S3_MIRROR_LIB" not in environment


def test_a_bundle_with_all_its_packages_sees_none_of_frigates(bundle: Bundle) -> None:
    """Frigate's pinned packages and those of the bundle never meet."""
    (bundle.lib / "pydantic").mkdir()
    running = bundle.start()
    bundle.ready(running)
    (birth,) = bundle.births()
    assert [place for place in birth["path"] if "-packages" in place] == []


def test_variables_of_the_user_win(bundle: Bundle) -> None:
    """A path that the user set, directly or by a file, is not replaced by Frigate's."""
    running = bundle.start(FRIGATE_DB_PATH="/mine.db", FRIGATE_CLIPS_DIR_FILE="/run/secrets/clips")
    bundle.ready(running)
    environment = bundle.births()[0]["environment"]
    assert environment["FRIGATE_DB_PATH"] == "/mine.db"
    assert "FRIGATE_CLIPS_DIR" not in environment


def test_the_service_notices_another_parent(bundle: Bundle) -> None:
    """S3_MIRROR_PARENT_PID is the pid that the service has as its parent while Frigate lives, and not after."""
    running = bundle.start("late-fork", STANDIN_WATCH_PARENT="1")
    bundle.ready(running)
    running.process.kill()
    running.process.wait()
    bundle.no_orphan()
    assert len(bundle.endings()) == 1


def test_without_a_bucket_nothing_is_patched(bundle: Bundle) -> None:
    """One line says why there is no mirror."""
    running = bundle.start(S3_BUCKET=" ")
    bundle.ready(running, mirror=False)
    assert running.end() == 0
    assert len(running.mirror_lines) == 1
    assert running.mirror_lines[0].endswith("S3 snapshot mirror not started: S3_BUCKET is not set")
    assert bundle.births() == []


def test_an_unknown_frigate_is_left_alone(bundle: Bundle) -> None:
    """A class without the method that is wrapped is reported in one line."""
    running = bundle.start("unknown")
    bundle.ready(running, mirror=False)
    assert running.end() == 0
    assert "S3 snapshot mirror not started: this version of Frigate is unknown" in running.output
    assert bundle.births() == []


@pytest.mark.parametrize("content", ["this is no Python", "raise SystemExit(5)", "import a_missing_module", None])
def test_a_broken_patcher_does_not_keep_frigate_from_starting(bundle: Bundle, content: str | None) -> None:
    """A bundle that is missing or damaged costs one line."""
    patcher = bundle.lib / "frigate_s3_mirror/frigate_s3_patcher.py"
    patcher.unlink()
    if content is not None:
        patcher.write_text(content, encoding="utf-8")
    bundle.write_init(f"{sys.base_prefix}/bin/python3")  # one in which no package of ours is installed
    running = bundle.start()
    bundle.ready(running, mirror=False)
    assert running.end() == 0
    assert "Failed to import S3 modules" in running.output
    assert "S3 snapshot mirror started" not in running.output
    assert "Traceback" not in running.output


def test_lines_are_in_frigates_format(bundle: Bundle) -> None:
    """Every line of ours looks as Frigate's own do."""
    running = bundle.start()
    bundle.ready(running)
    running.end()
    form = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] frigate_s3_mirror {14}(INFO |WARNING|ERROR) *: \S")
    ours = [line for line in running.lines if not line.startswith(("frigate:", "camera:", "init:"))]
    assert ours
    assert [line for line in ours if not form.match(line)] == []


def test_nothing_is_written_into_frigates_folders(bundle: Bundle, tmp_path: Path) -> None:
    """The host's files are the same before and after; only compiled modules of its own may come."""

    def files() -> set[Path]:
        return {path for path in bundle.frigate.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    running = bundle.start()
    bundle.ready(running)
    running.end()
    assert files() == before
    assert not (tmp_path / "config").exists()
