"""Whoever asks how the running service does gets the same word, reason and numbers; and none gets OK when something stands still.

The service is the real one, with its patience cut from minutes to seconds, and with one thing broken.
"""

from __future__ import annotations

import html
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker import PROGRAM, Home, home_of, mosquitto
from conftest import MakeMirror, RunningMirror, WatchedTarget, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from http_listener import Listener, listening
from oracles import FULL
from recording_proxy import RecordingProxy
from servers import Target
from status_pages import address_of, ask
from stub_s3 import ACCESS_KEY, BUCKET, SECRET_KEY, refusal, stub_s3

needs_broker = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed (apt install mosquitto)")
HURRIED = """
import asyncio, sys, threading, time
from frigate_s3_mirror import health, health_watch, mqtt, s3_snapshot_mirror, sign_of_life, watchdog
health.DUE_SECONDS = health.MISSING_SECONDS = health_watch.MISSING_SECONDS = 2.0
health_watch._MEASURE_SECONDS = 0.2
s3_snapshot_mirror._LOOP_PATIENCE = {patience}
mqtt.STATE_SECONDS = mqtt._PAUSE_SECONDS = 0.2
sign_of_life.OLDEST_SECONDS = 5.0
sign_of_life.EVERY_SECONDS = health_watch.EVERY_SECONDS = 0.5
watchdog.EVERY_SECONDS = 0.2
from frigate_s3_mirror.discovery import Discovery
from frigate_s3_mirror.ledger_thread import Lane
from frigate_s3_mirror.uploader import Uploader
{fault}
from frigate_s3_mirror.cli import main
main()
"""
FAULTS = {
    "stuck pending": """
async def none(self, limit, known): return []
Lane.due, Uploader.offer = none, lambda self, entries, **_: None
""",
    "scan raises": """
async def poisoned(self, in_thread): raise ValueError("year 55935 is out of range")
Discovery.scan_recent = poisoned
""",
    "scan hangs": """
async def hanging(self, in_thread): await asyncio.Event().wait()
Discovery.scan_recent = hanging
""",
    "missing by proof": """
async def blind(self, events, **_): return 0
Discovery._consider = blind
""",
    "threads die": """
def dying(self): raise SystemExit
Uploader._take = dying
""",
}
EXPECTED = {
    "stuck pending": "3 uploads are due and have not moved",
    "scan raises": "'scan' has not gone round",
    "scan hangs": "'scan' has not gone round",
    "missing by proof": "3 snapshots of Frigate's are missing",
    "threads die": "upload threads are gone",
}


@pytest.fixture
def frigate(tmp_path: Path) -> Iterator[SimulatedFrigate]:
    with SimulatedFrigate(tmp_path / "frigate", version="0.17", cameras=("yard",)) as simulated:
        yield simulated


@dataclass
class Hurried:
    """The service in a hurry, and all who may ask it."""

    mirror: RunningMirror
    home: Home
    watchdog: Listener
    fault: str = ""
    said: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        with self.mirror.log_path.open("ab") as log:
            process = subprocess.Popen(self._program("run"), env=self.mirror.environment, stdout=log, stderr=log)
        self.mirror.processes.append(process)
        return process

    def _program(self, *arguments: str) -> list[str]:
        return [
            sys.executable,
            "-c",
            HURRIED.format(fault=self.fault, patience=3.0 if self.fault else 30.0),
            *arguments,
        ]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            self._program("status", "--json"), env=self.mirror.environment, capture_output=True, text=True, check=False
        )
        if "There is no ledger" in done.stderr:
            return {"health": "", "reason": ""}
        assert done.stdout, done.stderr
        content: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == {"OK": 0, "DEGRADED": 1}.get(content["health"], 2)
        return content

    def wait_for_reason(self, begins: str, seconds: float = 40) -> None:
        """Until `/healthz` says so, and all others had the time to hear of it."""
        address = address_of(self.mirror)
        self.mirror.wait_for(lambda: begins in ask(address, "/healthz").text, seconds)
        self.mirror.wait_for(lambda: begins in self.status()["reason"])
        self.mirror.wait_for(lambda: begins in str(self.home.state().get("reason")))

    def compare(self) -> tuple[str, str]:
        """Ask all of them; they agree. Returns the word and the reason."""
        address = address_of(self.mirror)
        page = json.loads(ask(address, "/api/status").text)
        status = self.status()
        told = ask(address, "/healthz")
        overview = html.unescape(ask(address, "/").text)
        metrics = ask(address, "/metrics").text
        word, reason = status["health"], status["reason"]
        assert (page["health"], page["reason"]) == (word, reason)
        assert (told.status == 200, told.text) == (word == "OK", f"{word} {reason}".strip() + "\n")
        assert f'<h1 id="health">{word}</h1>' in overview
        assert reason in overview
        assert f'frigate_s3_mirror_health{{state="{word}"}} 1.0' in metrics
        numbers = ("backlog", "retrying", "counts", "proof")
        assert {name: page[name] for name in numbers} == {name: status[name] for name in numbers}
        assert f"frigate_s3_mirror_backlog {float(status['backlog'])}" in metrics
        missing = status["proof"]["24 h"]["missing"]

        def home_agrees() -> bool:
            said = self.home.state()
            agreed = (said["health"], said["reason"], said["problem"]) == (
                word,
                reason,
                "OFF" if word == "OK" else "ON",
            )
            return agreed and (said["backlog"], said["missing_24h"]) == (status["backlog"], missing)

        self.mirror.wait_for(home_agrees)
        before = len(self.mirror.log())
        self.mirror.wait_for(lambda: "S3 Upload Stats" in self.mirror.log()[before:])
        line = self.mirror.log()[before:].split("S3 Upload Stats")[1].splitlines()[0]
        assert line.endswith(f"Health: {word}")
        assert f"Retry Queue: {status['retrying']}," in line
        return word, reason

    def watchdog_is_silent(self, proxy: RecordingProxy) -> bool:
        """Whether nobody calls it, though S3 has just taken a heartbeat."""
        before, beats = len(self.watchdog.paths), len(proxy.requests("PUT"))
        self.mirror.wait_for(lambda: len(proxy.requests("PUT")) > beats)
        for _ in range(5):  # all that could call by then
            ask(address_of(self.mirror), "/healthz")
            self.status()
        return len(self.watchdog.paths) == before


@contextmanager
def hurried(
    tmp_path: Path,
    mirror_for: MakeMirror,
    frigate: SimulatedFrigate,
    target: WatchedTarget,
    fault: str = "",
    **more: str,
) -> Iterator[Hurried]:
    with mosquitto(tmp_path / "broker") as broker, home_of(broker) as home, listening() as watchdog:
        environment = {
            **broker.environment(), "S3_SITE": "test home", "S3_STATUS_LISTEN": "127.0.0.1:0", "S3_STATS_INTERVAL": "1s",
            "S3_HEARTBEAT_INTERVAL": "5s", "S3_HEARTBEAT_URL": f"http://127.0.0.1:{watchdog.port}/", **more,
        }  # fmt: skip
        yield Hurried(mirror_for(frigate, target, **environment), home, watchdog, fault)


@needs_broker
def test_all_say_ok_when_all_is_well_and_all_say_what_is_wrong_when_s3_is_away(
    tmp_path: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Nothing to do, says the text; and what waits is counted as waiting, tried or not."""
    with hurried(tmp_path, mirror_for, frigate, rclone_proxy) as service:
        ended(frigate, 3)
        service.start()
        service.mirror.wait_for(
            lambda: service.status()["health"] == "OK" and service.status()["counts"]["uploaded"] == 3
        )
        assert service.compare() == ("OK", "")
        service.mirror.wait_for(lambda: len(service.watchdog.paths) > 0)
        with rclone_proxy.proxy.refusing():
            ended(frigate, 20)
            service.wait_for_reason("The S3 server refuses connections")
            service.mirror.wait_for(lambda: service.status()["backlog"] == 20)
            word, reason = service.compare()
            assert (word, service.status()["retrying"]) == ("DEGRADED", 20)
            assert reason.endswith("Nothing to do: it goes on by itself.")
            page = html.unescape(ask(address_of(service.mirror), "/problems").text)
            assert "20 waiting" in page
            assert "Nothing to do" in page


@needs_broker
def test_all_say_what_to_do_when_a_person_must_act(
    tmp_path: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """A wrong secret: the Problems page, too, and it counts all that wait for that."""
    with hurried(tmp_path, mirror_for, frigate, rclone_proxy, S3_SECRET_KEY="not-the-right-one") as service:
        ended(frigate, 20)
        service.start()
        service.wait_for_reason("SignatureDoesNotMatch")
        service.mirror.wait_for(lambda: service.status()["backlog"] == 20)
        word, reason = service.compare()
        assert (word, service.status()["retrying"]) == ("DEGRADED", 20)
        assert "You must act" in reason
        page = html.unescape(ask(address_of(service.mirror), "/problems").text)
        assert "20 waiting" in page
        assert "You must act" in page
        assert "Nothing to do" not in page


@needs_broker
@pytest.mark.parametrize("fault", FAULTS if FULL else ["stuck pending", "scan raises", "missing by proof"])
def test_nobody_says_ok_when_something_stands_still(
    fault: str, tmp_path: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """S3 answers every heartbeat meanwhile, and the watchdog hears nothing."""
    ended(frigate, 3)
    with hurried(tmp_path, mirror_for, frigate, rclone_proxy, FAULTS[fault]) as service:
        service.start()
        service.wait_for_reason(EXPECTED[fault])
        word, reason = service.compare()
        assert word == "DEGRADED"
        assert "You must act" in reason
        assert service.watchdog_is_silent(rclone_proxy.proxy)


@needs_broker
def test_a_full_disk_of_the_ledgers_is_told_by_all_and_over_when_there_is_room(
    tmp_path: Path, small_disk: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Uploads go on meanwhile; `status`, another process, hears of it past the ledger."""
    with hurried(tmp_path, mirror_for, frigate, rclone_proxy, S3_STATE_DIR=str(small_disk)) as service:
        service.start()
        service.mirror.wait_for(lambda: service.status()["health"] == "OK")
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                pass
        ended(frigate, 5)
        service.mirror.wait_for(lambda: len(rclone_proxy.objects()) == 5)
        service.wait_for_reason("is its disk full?")
        word, reason = service.compare()
        assert (word, "You must act: make room" in reason) == ("DEGRADED", True)
        filler.unlink()
        service.mirror.wait_for(
            lambda: service.status()["health"] == "OK" and service.status()["counts"]["uploaded"] == 5
        )
        assert service.compare() == ("OK", "")


@needs_broker
def test_a_service_that_hangs_whole_is_no_longer_believed(
    tmp_path: Path, rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """The event loop: the page, a thread of its own, says so. The whole process (SIGSTOP): its last word is too old."""
    fault = """
from frigate_s3_mirror.reports import Reports
async def blocking(self, vital):
    await asyncio.sleep(4)
    time.sleep(1000)
Reports.regularly = blocking
"""
    with hurried(tmp_path, mirror_for, frigate, rclone_proxy, fault) as service:
        process = service.start()
        service.mirror.wait_for(lambda: service.status()["health"] == "OK")
        address = address_of(service.mirror)
        service.mirror.wait_for(lambda: "has not gone round" in ask(address, "/healthz").text)
        assert json.loads(ask(address, "/api/status").text)["health"] == "DEGRADED"
        service.mirror.wait_for(lambda: service.status()["health"] == "DOWN")
        assert "no sign of life" in service.status()["reason"]
        process.send_signal(signal.SIGSTOP)
        assert service.status()["health"] == "DOWN"
        process.kill()
        process.wait()
        assert service.status()["reason"] == "The service is not running."


def test_the_healthcheck_of_the_sidecar_reads_the_sign_of_life(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """Fine while the service is OK or waits for S3; not before its start, nor when it hangs or cannot see Frigate."""
    script = Path(__file__).resolve().parents[2] / "deploy" / "healthcheck.sh"
    state = frigate.db_path.parent / ".s3-mirror"

    def checked(oldest: int = 180) -> int:
        text = script.read_text()
        assert "oldest=180\n" in text
        program = text.replace("oldest=180\n", f"oldest={oldest}\n")
        environment = {"PATH": "/usr/bin:/bin", "S3_STATE_DIR": str(state)}
        done = subprocess.run(["sh", "-c", program], env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("", "") or not state.exists()
        return done.returncode

    mirror = mirror_for(frigate, rclone_proxy)
    assert checked() != 0
    process = mirror.start()
    mirror.wait_for(lambda: "health=OK" in mirror.log())
    mirror.wait_for(lambda: checked() == 0)
    with rclone_proxy.proxy.refusing():
        ended(frigate, 3)
        mirror.wait_for(lambda: "health=DEGRADED" in mirror.log())
        assert checked() == 0
    away = frigate.db_path.with_suffix(".away")
    frigate.db_path.rename(away)
    mirror.wait_for(lambda: checked() != 0)
    away.rename(frigate.db_path)
    mirror.wait_for(lambda: checked() == 0)
    process.send_signal(signal.SIGSTOP)
    mirror.wait_for(lambda: checked(oldest=1) != 0)
    process.send_signal(signal.SIGCONT)
    assert mirror.stop(process) == 0


def test_filters_that_let_nothing_of_frigates_through_are_never_ok(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """None of 20 events has such a label: 0 uploaded is not fine."""
    ended(frigate, 20)
    mirror = mirror_for(frigate, rclone_proxy, S3_LABELS="gnu")
    mirror.start()
    mirror.wait_for(lambda: "health=DEGRADED S3_LABELS lets none" in mirror.log(), 60)
    assert mirror.log().count("mirror: S3_LABELS lets none") == 1
    done = mirror.command("status")
    assert done.returncode == 1
    assert "You must act" in " ".join(done.stdout.split())


def test_the_first_heartbeat_is_no_stale_news(
    rclone_proxy: WatchedTarget, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """While the first copy is under way it says so; soon after its end it has the numbers."""
    ended(frigate, 60)
    mirror = mirror_for(frigate, rclone_proxy, S3_BANDWIDTH_LIMIT="60KB/s", S3_HEARTBEAT_INTERVAL="1h")

    def said() -> dict[str, Any]:
        done = mirror.command("fleet", "--json")
        assert done.returncode in {0, 1, 2}, done.stderr
        sites: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return sites[0] if sites else {}

    mirror.start()
    mirror.wait_for(lambda: bool(said()))
    first = said()
    assert (first["state"], first["starting"], first["missing_24h"]) == ("STARTING", True, None)
    assert mirror.command("fleet").returncode == 0
    mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 60, 90)
    mirror.wait_for(lambda: said()["state"] == "OK", 30)
    last = said()
    assert (last["starting"], last["missing_24h"], last["backlog"]) == (False, 0, 0)
    assert re.search(r"/yard/", last["last_upload_key"])


def test_what_the_server_refuses_is_a_note_and_no_trouble(frigate: SimulatedFrigate, mirror_for: MakeMirror) -> None:
    """The mirror does without the preset's storage class: `status` says so, and health stays OK."""
    with stub_s3() as stub:
        stub.answering = lambda request: (
            refusal(400, "InvalidStorageClass") if "x-amz-storage-class" in request.headers else None
        )
        target = Target(stub.url, ACCESS_KEY, SECRET_KEY, BUCKET)
        mirror = mirror_for(frigate, target, S3_PROVIDER="aws", S3_ADDRESSING_STYLE="path")
        ended(frigate, 3)
        process = mirror.start()
        mirror.wait_for(lambda: mirror.log().count("S3 upload done") == 3, 60)
        mirror.wait_for(lambda: json.loads(mirror.command("status", "--json").stdout)["notes"] != [], 60)
        status = json.loads(mirror.command("status", "--json").stdout)
        assert (status["health"], len(status["notes"])) == ("OK", 1)
        assert "storage class" in status["notes"][0]
        assert "Note: This server refuses" in mirror.command("status").stdout
        assert mirror.stop(process) == 0
        with closing(sqlite3.connect(frigate.db_path.parent / ".s3-mirror" / "ledger.db")) as connection, connection:
            poisoned = json.dumps([1, None, ["x"], "odd\u001b[2J\nline"])
            connection.execute("UPDATE fact SET value = ? WHERE name = 'limits'", (poisoned,))
        assert [note.isprintable() for note in json.loads(mirror.command("status", "--json").stdout)["notes"]] == [True]
