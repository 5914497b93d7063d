"""What the real service tells others: a watchdog and people, and at what price when nobody is to be told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from http_listener import listening
from servers import Target


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def test_an_idle_service_calls_its_watchdog(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The heartbeat object at the start is proof enough; no line holds the address."""
    with listening() as server:
        mirror = mirror_for(frigate, rclone, S3_HEARTBEAT_URL=f"http://127.0.0.1:{server.port}/hidden-uuid")
        process = mirror.start()
        mirror.wait_for(lambda: server.paths == ["/hidden-uuid"])
        assert mirror.stop(process) == 0
        assert "hidden" not in mirror.log()


def test_without_s3_no_watchdog_is_called(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """Several attempts of the heartbeat fail, and silence is the alarm."""
    with listening() as server:
        more = {"S3_ENDPOINT_URL": "http://127.0.0.1:9", "S3_HEARTBEAT_INTERVAL": "5s"}
        mirror = mirror_for(frigate, rclone, S3_HEARTBEAT_URL=f"http://127.0.0.1:{server.port}/", **more)
        process = mirror.start()
        frigate.end_event(frigate.begin_event())
        mirror.wait_for(lambda: "S3 uploads wait" in mirror.log())
        mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["retrying"] == 1)
        assert mirror.stop(process) == 0
        assert server.paths == []


def test_a_wrong_notify_url_is_a_sentence_and_the_service_goes_on(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Neither the log nor the standard error shows it."""
    mirror = mirror_for(frigate, rclone, S3_NOTIFY_URL="nosuch://hidden-token json://hidden:")
    process = mirror.start()
    mirror.wait_for(lambda: "does not understand address 1 of S3_NOTIFY_URL" in mirror.log())
    frigate.end_event(frigate.begin_event())
    mirror.wait_for(lambda: len(rclone.objects()) == 1)
    assert mirror.stop(process) == 0
    assert "hidden" not in mirror.log()
    assert "Traceback" not in mirror.log()


def test_who_tells_nobody_imports_nothing() -> None:
    """The libraries of the broker and of messages are not even read."""
    program = """
import sys
import frigate_s3_mirror.s3_snapshot_mirror
from frigate_s3_mirror.clock import SystemClock
from frigate_s3_mirror.companions import companions
from frigate_s3_mirror.environment import load
loaded = load({"S3_BUCKET": "b" * 3, "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s", "S3_STATUS_LISTEN": "off"})
assert companions(loaded.settings, SystemClock()) == []
print(sorted({"paho", "apprise", "requests", "uvicorn", "urllib3"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
