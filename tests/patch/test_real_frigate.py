"""The patch against a real Frigate tree that the user has: FRIGATE_CHECKOUT=/some/checkout, and with FRIGATE_PYTHON one that
has Frigate's packages."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from frigate_s3_mirror.status import is_running
from patch.workbench import Bundle, wait_until
from servers import Target

pytestmark = pytest.mark.skipif(
    not os.environ.get("FRIGATE_CHECKOUT"), reason="FRIGATE_CHECKOUT names no checkout of Frigate"
)
ROOT = Path(__file__).parents[2]
CONFIG = """mqtt: {{enabled: false}}
database: {{path: {folder}/frigate.db}}
cameras:
  nothing:
    enabled: false
    ffmpeg: {{inputs: [{{path: "rtsp://127.0.0.1:9/nothing", roles: [detect]}}]}}
"""
SOURCE = Path(os.environ.get("FRIGATE_CHECKOUT", "/"))


def test_the_methods_that_are_wrapped_are_there() -> None:
    """FrigateApp has both, takes no argument of its own in them, and starts the event processor by itself."""
    tree = ast.parse((SOURCE / "frigate/app.py").read_text(encoding="utf-8"))
    (app,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "FrigateApp"]
    methods = {node.name: node for node in app.body if isinstance(node, ast.FunctionDef)}
    assert [argument.arg for argument in methods["start_event_processor"].args.args] == ["self"]
    assert [argument.arg for argument in methods["stop"].args.args] == ["self"]
    assert "self.start_event_processor()" in ast.unparse(methods["start"])


def test_the_paths_that_are_handed_on_are_there() -> None:
    """The clips folder is a constant, and the database's path is in the configuration."""
    assert "CLIPS_DIR = " in (SOURCE / "frigate/const.py").read_text(encoding="utf-8")
    assert "self.config.database.path" in (SOURCE / "frigate/app.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("service", ["stand-in", "real"])
def test_the_mirror_lives_and_ends_with_the_real_frigate(
    bundle: Bundle, rclone: Target, tmp_path: Path, service: str
) -> None:
    """The service starts when the event processor does, and leaves no orphan after a SIGTERM.

    The real service proves itself to S3 with its heartbeat.
    """
    config = tmp_path / "config.yml"
    config.write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    bundle.frigate = SOURCE
    bundle.write_init(os.environ.get("FRIGATE_PYTHON", sys.executable))
    bundle.environment = {**os.environ, **bundle.environment, **rclone.environment(), "CONFIG_FILE": str(config)}
    if service == "real":
        shutil.rmtree(bundle.lib)
        bundle.environment["FRIGATE_CLIPS_DIR"] = str(tmp_path)
        if subprocess.run([str(ROOT / "setup_s3_mirror.sh"), "--dir", str(bundle.folder)], check=False).returncode != 0:
            pytest.skip("the packages cannot be fetched here")
    running = bundle.start()

    def is_up() -> bool:
        return bool(bundle.births()) or "S3 snapshot mirror is ready" in running.output

    wait_until(lambda: is_up() or running.process.poll() is not None, "the service's start", patience=120)
    if not is_up():
        running.ended()
        pytest.skip(f"this Frigate does not start here: {running.lines[-1]}")
    if service == "real":
        wait_until(lambda: _heartbeats(rclone) == 1, "the heartbeat in the bucket")
    # Frigate itself does not survive a SIGTERM in the middle of its start: threads that nobody stops keep it alive.
    wait_until(_answers, "Frigate's API", patience=120)
    running.process.terminate()
    bundle.no_orphan()
    if service == "real":
        wait_until(lambda: not is_running(tmp_path / ".s3-mirror"), "the end of the service")
    with contextlib.suppress(subprocess.TimeoutExpired):  # 0.16.4 without cameras waits for its own children for ever
        running.process.wait(30)


def _answers() -> bool:
    """Whether Frigate's API accepts connections; its port is fixed."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", 5001), 1):
        return True
    return False


def _heartbeats(target: Target) -> int:
    client = target.client()
    try:
        return len(client.list_objects_v2(Bucket=target.bucket).get("Contents", []))
    finally:
        client.close()
