"""`doctor` tries what tells of trouble, and looks at a Frigate that is half there; real brokers, listeners and databases."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from broker import mosquitto
from conftest import MakeMirror, ended
from frigate_s3_mirror.demo.simulated_frigate import SimulatedFrigate
from frigate_s3_mirror.doctor import Doctor
from frigate_s3_mirror.finding import Finding, Verdict
from http_listener import listening, serving
from servers import Target

Examine = Callable[..., dict[str, Finding]]
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise's
needs_mosquitto = pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed")


@pytest.fixture
def examine(frigate: SimulatedFrigate) -> Examine:
    """Runs the doctor beside an S3 that is not there; its findings by name. What is hidden is in none of them."""

    def run(*, send: bool = False, **more: str) -> dict[str, Finding]:
        environ = {
            "S3_BUCKET": "my-bucket",
            "S3_ACCESS_KEY": "some-key",
            "S3_SECRET_KEY": "some-secret",
            "S3_ENDPOINT_URL": "http://127.0.0.1:9",
            "FRIGATE_DB_PATH": str(frigate.db_path),
            "FRIGATE_CLIPS_DIR": str(frigate.clips_dir),
            "S3_STATUS_LISTEN": "off",
            **more,
        }
        findings = list(Doctor(environ, send_test=send).findings())
        assert not any("hidden" in finding.seen + finding.fix for finding in findings)
        assert all(finding.fix for finding in findings if finding.verdict in {Verdict.FAILED, Verdict.WARNING})
        return {finding.name: finding for finding in findings}

    return run


# -- notifications, watchdog, broker, page -----------------------------------------------------------------------------


def test_an_address_that_apprise_does_not_understand_is_a_failure(examine: Examine) -> None:
    """By its number: the address itself holds a token."""
    finding = examine(S3_NOTIFY_URL="json://127.0.0.1:9/ok nonsense://hidden-token json://hidden:")["notifications"]
    assert (finding.verdict, "address 2" in finding.seen) == (Verdict.FAILED, True)


def test_messages_are_sent_only_when_that_is_asked_for(examine: Examine) -> None:
    """Then a real one goes out, and a deaf address is a failure."""
    with listening() as server:
        good = f"json://127.0.0.1:{server.port}/hidden"
        assert examine(S3_NOTIFY_URL=good)["notifications"].verdict is Verdict.OK
        assert server.bodies == []
        assert examine(S3_NOTIFY_URL=good, send=True)["notifications"].verdict is Verdict.OK
        assert server.arrived.wait(10)
        assert b"test" in server.bodies[0]
        server.statuses[:] = [500] * 5
        finding = examine(S3_NOTIFY_URL=good, send=True)["notifications"]
        assert (finding.verdict, "Address 1" in finding.seen) == (Verdict.FAILED, True)


def test_the_watchdog_is_called_only_when_that_is_asked_for(examine: Examine) -> None:
    """A call says that all is well, so the doctor only looks whether the host is there."""
    with listening() as server:
        url = f"http://127.0.0.1:{server.port}/hidden-uuid"
        assert examine(S3_HEARTBEAT_URL=url)["watchdog"].verdict is Verdict.OK
        assert server.paths == []
        assert examine(S3_HEARTBEAT_URL=url, send=True)["watchdog"].verdict is Verdict.OK
        assert server.arrived.wait(10)
        assert server.paths == ["/hidden-uuid"]
        server.statuses.append(404)
        finding = examine(S3_HEARTBEAT_URL=url, send=True)["watchdog"]
        assert (finding.verdict, "404" in finding.seen) == (Verdict.FAILED, True)
    assert examine(S3_HEARTBEAT_URL="http://127.0.0.1:9/hidden")["watchdog"].verdict is Verdict.FAILED
    assert examine(S3_HEARTBEAT_URL="https://nobody.invalid/hidden", send=True)["watchdog"].verdict is Verdict.FAILED


@needs_mosquitto
@pytest.mark.parametrize("tls", [False, True])
def test_the_broker_is_tried(examine: Examine, tmp_path: Path, tls: bool) -> None:
    """In, out with a wrong password, and with --send-test a message through it and back."""
    with mosquitto(tmp_path / "broker", tls=tls) as broker:
        environment = broker.environment()
        assert examine(**environment)["MQTT"].verdict is Verdict.OK
        echo = examine(**environment, send=True)["MQTT"]
        assert (echo.verdict, "gave it back" in echo.seen) == (Verdict.OK, True), echo
        wrong = examine(**{**environment, "S3_MQTT_PASSWORD": "hidden-and-wrong"})["MQTT"]
        assert (wrong.verdict, "S3_MQTT_PASSWORD" in wrong.fix) == (Verdict.FAILED, True)
        if tls:
            untrusted = examine(**{**environment, "S3_MQTT_CA_BUNDLE": ""})["MQTT"]
            assert (untrusted.verdict, "S3_MQTT_CA_BUNDLE" in untrusted.fix) == (Verdict.FAILED, True)


def test_a_broker_that_is_none_is_a_failure(examine: Examine) -> None:
    """Nothing there, no such host, and something that hangs up."""
    for url in ("mqtt://127.0.0.1:9", "mqtts://nobody.invalid"):
        assert examine(S3_MQTT_URL=url)["MQTT"].verdict is Verdict.FAILED
    with serving(BaseHTTPRequestHandler) as port:
        finding = examine(S3_MQTT_URL=f"mqtt://127.0.0.1:{port}")["MQTT"]
    assert finding.verdict is Verdict.FAILED


def test_the_status_address_is_tried(examine: Examine) -> None:
    """Free, taken by another program, no address of this machine, no host; off is not called fine."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        taken = examine(S3_STATUS_LISTEN=listen)["status page"]
        assert (taken.verdict, "another program" in taken.seen) == (Verdict.FAILED, True)
    assert examine(S3_STATUS_LISTEN=listen)["status page"].verdict is Verdict.OK
    for wrong in ("192.0.2.1:9380", "nobody.invalid:9380"):
        assert (
            examine(S3_STATUS_LISTEN=wrong, S3_STATUS_TOKEN="long-enough-for-all")["status page"].verdict
            is Verdict.FAILED
        )
    assert examine()["status page"].verdict is Verdict.SKIPPED


def test_the_page_of_the_running_service_is_its_own(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror, examine: Examine
) -> None:
    """Told from another mirror's by the state folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    mirror = mirror_for(frigate, rclone, S3_STATUS_LISTEN=listen)
    process = mirror.start()
    mirror.wait_for(lambda: "status page: http" in mirror.log())
    own = examine(S3_STATUS_LISTEN=listen)["status page"]
    assert (own.verdict, "running service" in own.seen) == (Verdict.OK, True), own
    foreign = examine(S3_STATUS_LISTEN=listen, S3_STATE_DIR=str(mirror.log_path.parent / "other"))["status page"]
    assert (foreign.verdict, "another mirror" in foreign.seen) == (Verdict.FAILED, True)
    assert mirror.stop(process) == 0


# -- Frigate, half there -----------------------------------------------------------------------------------------------


def test_a_share_that_is_not_mounted_is_asked_for(frigate: SimulatedFrigate, examine: Examine) -> None:
    """3 of the newest 20 have a file, or the newest do and the old ones do not: never a tick."""
    events = ended(frigate, 60)
    gone = [path for event in events[:57] for path in frigate.clips_dir.glob(f"*{event.id}*")]
    kept = {path: path.read_bytes() for path in gone}
    for path in gone:
        path.unlink()
    finding = examine()["clips folder"]
    assert (finding.verdict, "has 3 of the newest 24" in finding.seen) == (Verdict.FAILED, True), finding
    assert "share mounted?" in finding.fix
    for path, content in list(kept.items())[len(kept) // 2 :]:
        path.write_bytes(content)
    finding = examine()["clips folder"]
    assert (finding.verdict, "share mounted?" in finding.fix) == (Verdict.WARNING, True), finding
    for path, content in kept.items():
        path.write_bytes(content)
    assert examine()["clips folder"].verdict is Verdict.OK


@pytest.mark.parametrize("value", [3e11, 1703000000123.5, -7e10, "'soon'", "x'80'", 1e300])
def test_one_odd_row_is_a_warning_and_no_end(frigate: SimulatedFrigate, examine: Examine, value: object) -> None:
    """Its twenty good neighbours are still looked at, and every other check, too."""
    events = ended(frigate, 20)
    connection = sqlite3.connect(frigate.db_path)
    connection.execute(f"UPDATE event SET start_time = {value}, end_time = 1 WHERE id = ?", (events[7].id,))  # noqa: S608
    connection.commit()
    connection.close()
    findings = examine()
    assert findings["database"].verdict in {Verdict.OK, Verdict.WARNING}, findings["database"]
    assert "Of the newest" in findings["clips folder"].seen
    assert {"state folder", "connection", "status page"} <= set(findings)


def test_a_damaged_database_needs_a_backup_and_no_other_path(frigate: SimulatedFrigate, examine: Examine) -> None:
    ended(frigate, 40)
    connection = sqlite3.connect(frigate.db_path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(frigate.db_path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    copy = frigate.db_path.parent / "damaged" / "frigate.db"
    copy.parent.mkdir()
    copy.write_bytes(content)
    finding = examine(FRIGATE_DB_PATH=str(copy))["database"]
    assert (finding.verdict, "backup" in finding.fix) == (Verdict.FAILED, True), finding
    assert "FRIGATE_DB_PATH" not in finding.fix


@pytest.mark.parametrize(
    ("login", "blamed", "not_blamed"),
    [
        ({"FRIGATE_TOKEN": "hidden"}, "FRIGATE_TOKEN", "nothing"),
        ({"FRIGATE_TOKEN": "hidden", "FRIGATE_USER": "me"}, "FRIGATE_TOKEN", "FRIGATE_PASSWORD to"),
        ({"FRIGATE_USER": "me", "FRIGATE_PASSWORD": "hidden"}, "FRIGATE_PASSWORD", "FRIGATE_TOKEN"),
    ],
)
def test_the_login_that_is_wrong_is_the_one_that_is_blamed(
    examine: Examine, tmp_path: Path, login: dict[str, str], blamed: str, not_blamed: str
) -> None:
    class Closed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with serving(Closed) as port:
        more = {
            "FRIGATE_SOURCE": "api",
            "S3_STATE_DIR": str(tmp_path / "state"),
            "FRIGATE_URL": f"http://127.0.0.1:{port}",
        }
        finding = examine(**more, **login)["frigate api"]
    assert finding.verdict is Verdict.FAILED
    assert blamed in finding.fix
    assert not_blamed not in finding.fix
    assert "FRIGATE_USER" not in finding.seen or "FRIGATE_TOKEN" not in login


# -- the service says it, too ------------------------------------------------------------------------------------------


def test_filters_that_let_nothing_through_are_told_by_the_service(
    rclone: Target, frigate: SimulatedFrigate, mirror_for: MakeMirror
) -> None:
    """In the log of the service and of --once; a filter that lets something through is not talked about."""
    ended(frigate, 3)
    sentence = "S3_CAMERAS lets none of Frigate's cameras through: front-door"
    mirror = mirror_for(frigate, rclone, S3_CAMERAS="front_door")
    mirror.start()
    mirror.wait_for(lambda: sentence in mirror.log())
    assert mirror.stop(mirror.processes[-1]) == 0
    assert sentence in (done := mirror.command("run", "--once")).stdout + done.stderr
    fine = mirror_for(frigate, rclone, S3_CAMERAS="front*,yard")
    assert "lets none" not in (done := fine.command("run", "--once")).stdout + done.stderr
    assert len(rclone.objects()) == 3
