"""A cable is pulled: packets vanish, and nobody refuses anything. S3 is in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeMirror, started
from frigate_s3_mirror.demo.embedded_s3 import EmbeddedS3
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from oracles import conserved, drained
from servers import Target

NAME = f"mirror{os.getpid() % 10_000}"
NEAR, FAR = "10.213.7.1", "10.213.7.2"
PORT = 9321


class FarS3(EmbeddedS3):
    """rclone's server at the far end of a virtual cable."""

    @property
    def endpoint_url(self) -> str:
        return f"http://{FAR}:{PORT}"

    def _command(self) -> list[str]:
        command = super()._command()
        command[command.index("--addr") + 1] = f"{FAR}:{PORT}"
        return [shutil.which("ip") or "ip", "netns", "exec", NAME, *command]

    def _answers(self, log_begin: int) -> bool:
        try:
            with socket.create_connection((FAR, PORT), timeout=1):
                return True
        except OSError:
            return False


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Target]:
    """A bucket behind the cable."""
    commands = (
        ("netns", "add", NAME),
        ("link", "add", f"{NAME}n", "type", "veth", "peer", "name", f"{NAME}f", "netns", NAME),
        ("addr", "add", f"{NEAR}/30", "dev", f"{NAME}n"),
        ("-n", NAME, "addr", "add", f"{FAR}/30", "dev", f"{NAME}f"),
        ("-n", NAME, "link", "set", f"{NAME}f", "up"),
        ("link", "set", f"{NAME}n", "up"),
    )
    try:
        for command in commands:
            ip(*command)
    except (OSError, subprocess.CalledProcessError) as error:
        subprocess.run(["ip", "netns", "del", NAME], capture_output=True, check=False)
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', '') or error}")
    try:
        with FarS3(tmp_path / "far", bucket="far-bucket") as server:
            yield Target(server.endpoint_url, server.access_key, server.secret_key, server.bucket)
    finally:
        subprocess.run(["ip", "netns", "del", NAME], check=True)


def test_a_cut_network_comes_back(far: Target, tmp_path: Path, mirror_for: MakeMirror) -> None:
    """What was in flight and what came meanwhile is in the bucket soon after; nothing counts as failed."""
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("front-door", "yard")) as frigate:
        mirror = mirror_for(frigate, far)
        started(mirror)
        events = [frigate.end_event(frigate.begin_event()) for _ in range(3)]
        drained(mirror)
        ip("-n", NAME, "link", "set", f"{NAME}f", "down")
        events += [frigate.end_event(frigate.begin_event()) for _ in range(10)]
        time.sleep(2)
        counts = json.loads(mirror.command("status", "--json").stdout)["counts"]
        assert counts["failed"] == 0
        assert counts["pending"] >= 8
        cable = threading.Timer(3.0, ip, ("-n", NAME, "link", "set", f"{NAME}f", "up"))
        cable.start()
        drained(mirror, 150)
        cable.join()
        conserved(far, events)
