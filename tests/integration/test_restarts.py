"""What fails inside of the running service is started anew: loops, the page, the links with brokers; and that is counted."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import PROGRAM, home_of, mosquitto
from conftest import MakeMirror, RunningMirror, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from http_listener import listening
from servers import Target
from status_pages import address_of, ask

FAILING = """
import asyncio, sys, threading
from frigate_s3_mirror import mqtt, scan_loop, watchdog
from frigate_s3_mirror.reports import Reports
from frigate_s3_mirror.uploader import Uploader
from frigate_s3_mirror.heartbeat import Heartbeat
from frigate_s3_mirror.web.server import StatusPage

def fail_once(owner, name):
    original, failed = getattr(owner, name), []
    async def failing(self, *args, **more):
        if not failed:
            failed.append(1)
            await asyncio.sleep(0.5)
            raise RuntimeError(f"{name} failed for once")
        return await original(self, *args, **more)
    setattr(owner, name, failing)

for owner, name in ((mqtt.HomeAssistantLink, "_retry"), (watchdog.Watchdog, "regularly"), (Reports, "regularly"),
                    (Heartbeat, "_beat"), (Uploader, "_settle_loop"), (StatusPage, "_serve_until_stopped"),
                    (scan_loop.ScanLoop, "watch")):
    fail_once(owner, name)
from frigate_s3_mirror.cli import main
main()
"""


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


def start(mirror: RunningMirror, program: str) -> subprocess.Popen[bytes]:
    with mirror.log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, "run"], env=mirror.environment, stdout=log, stderr=log
        )
    mirror.processes.append(process)
    return process


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_all_that_failed_works_again_and_nothing_is_sent_twice(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, tmp_path: Path
) -> None:
    """Seven of them at once."""
    with mosquitto(tmp_path / "broker") as broker, home_of(broker) as home, listening() as watchdog:
        mirror = mirror_for(
            frigate, rclone, **broker.environment(), S3_STATUS_LISTEN="127.0.0.1:0", S3_STATS_INTERVAL="1s",
            S3_HEARTBEAT_INTERVAL="5s", S3_HEARTBEAT_URL=f"http://127.0.0.1:{watchdog.port}/",
        )  # fmt: skip
        ended(frigate, 5)
        process = start(mirror, FAILING)
        mirror.wait_for(lambda: mirror.log().count("failed, starting it anew") >= 6, 60)
        ended(frigate, 5)
        mirror.wait_for(lambda: len(rclone.objects()) == 10)
        mirror.wait_for(lambda: "S3 Upload Stats - Success: 10" in mirror.log())
        mirror.wait_for(lambda: home.state().get("health") == "OK" and home.availability() == "online", 60)
        mirror.wait_for(lambda: len(watchdog.paths) > 0, 90)
        metrics = ask(address_of(mirror), "/metrics").text
        for loop in ("HomeAssistantLink", "Watchdog", "statistics", "heartbeat", "uploads", "StatusPage", "inotify"):
            assert f'frigate_s3_mirror_restarts_total{{loop="{loop}"}} 1.0' in metrics, metrics
        assert mirror.stop(process) == 0
        assert mirror.command("run", "--once").stdout.count("S3 upload done") == 0


def test_a_port_that_gets_free_is_taken(rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The mirror before this one may need a while to end."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN=f"127.0.0.1:{port}")
        hurried = "from frigate_s3_mirror.web import server\nserver._PORT_SECONDS = 0.2\nfrom frigate_s3_mirror.cli import main\nmain()"
        process = start(mirror, hurried)
        mirror.wait_for(lambda: "cannot listen on" in mirror.log())
        mirror.wait_for(lambda: "health=OK" in mirror.log())
    mirror.wait_for(lambda: ask(address_of(mirror), "/healthz").status == 200)
    assert mirror.log().count("cannot listen on") == 1
    assert mirror.stop(process) == 0
