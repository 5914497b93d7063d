"""Frigate's folders mounted read-only, as the sidecar has them: read correctly while Frigate runs and while it is stopped."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from servers import Target


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A read-only view of tmp_path/frigate."""
    source, view = tmp_path / "frigate", tmp_path / "view"
    source.mkdir()
    view.mkdir()
    for command in (["mount", "--bind", str(source), str(view)], ["mount", "-o", "remount,bind,ro", str(view)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            subprocess.run(["umount", str(view)], capture_output=True, check=False)
            pytest.skip(f"a read-only mount cannot be made here: {done.stderr.strip()}")
    yield view
    subprocess.run(["umount", "--lazy", str(view)], check=True)


def variables(view: Path, frigate: SimulatedFrigate, tmp_path: Path) -> dict[str, str]:
    root = tmp_path / "frigate"
    return {
        "FRIGATE_DB_PATH": str(view / frigate.db_path.relative_to(root)),
        "FRIGATE_CLIPS_DIR": str(view / frigate.clips_dir.relative_to(root)),
        "S3_STATE_DIR": str(tmp_path / "state"),
    }


def test_a_running_frigate_is_mirrored(read_only: Path, rclone: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """New rows are in the -wal, which a read-only connection sees; also after Frigate was started again."""
    with SimulatedFrigate(tmp_path / "frigate") as frigate:
        frigate.end_event(frigate.begin_event())
        mirror = mirror_for(frigate, rclone, **variables(read_only, frigate, tmp_path))
        process = mirror.start()
        mirror.wait_for(lambda: len(rclone.objects()) == 1)
        frigate.end_event(frigate.begin_event())
        mirror.wait_for(lambda: len(rclone.objects()) == 2)
        assert mirror.stop(process) == 0


def test_a_stopped_frigate_is_mirrored(read_only: Path, rclone: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """No -wal and no -shm: the file cannot change, and is opened as such."""
    with SimulatedFrigate(tmp_path / "frigate") as frigate:
        frigate.end_event(frigate.begin_event())
    assert not Path(f"{frigate.db_path}-wal").exists()
    done = mirror_for(frigate, rclone, **variables(read_only, frigate, tmp_path)).command("run", "--once")
    assert done.returncode == 0, done.stdout
    assert len(rclone.objects()) == 1


def test_a_frigate_that_starts_later_is_seen(
    read_only: Path, rclone: Target, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """The service started while Frigate was stopped; new rows must not stay unseen behind `immutable`."""
    with SimulatedFrigate(tmp_path / "frigate") as frigate:
        frigate.end_event(frigate.begin_event())
    mirror = mirror_for(frigate, rclone, **variables(read_only, frigate, tmp_path))
    mirror.start()
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    with SimulatedFrigate(tmp_path / "frigate") as again:
        again.end_event(again.begin_event())
        mirror.wait_for(lambda: len(rclone.objects()) == 2, 60)


def test_a_crashed_frigate_is_a_sentence(
    read_only: Path, rclone: Target, tmp_path: Path, mirror_for: MakeMirror
) -> None:
    """A -wal without its -shm cannot be read on a read-only mount: the line to change is named."""
    with SimulatedFrigate(tmp_path / "frigate") as frigate:
        frigate.end_event(frigate.begin_event())
        wal = Path(f"{frigate.db_path}-wal")
        shutil.copy(wal, tmp_path / "wal")
        shutil.copy(frigate.db_path, tmp_path / "db")
    shutil.copy(tmp_path / "db", frigate.db_path)
    shutil.copy(tmp_path / "wal", wal)
    done = mirror_for(frigate, rclone, **variables(read_only, frigate, tmp_path)).command("run", "--once")
    assert done.returncode == 1
    assert "mount Frigate's config folder writable" in done.stdout
    assert "Traceback" not in done.stdout
