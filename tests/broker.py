"""A real MQTT broker on loopback, and Home Assistant's side of it: what it would see."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
USER, PASSWORD = "mirror", "hidden-broker-password"


@dataclass
class Broker:
    """mosquitto with a password file; with TLS when it has certificates. It keeps its port over restarts."""

    folder: Path
    certificates: Path | None = None
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it accepts connections."""
        assert PROGRAM is not None
        if not self.port:
            self._configure()
        self.process = subprocess.Popen(
            [PROGRAM, "-c", str(self.folder / "mosquitto.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("mosquitto does not start")

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """May be called twice."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None

    def freeze(self) -> None:
        """It keeps its connections and does nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def log(self) -> str:
        """What it logged."""
        return (self.folder / "mosquitto.log").read_text()

    def environment(self) -> dict[str, str]:
        """The variables that point the mirror here."""
        scheme = "mqtts" if self.certificates else "mqtt"
        found = {
            "S3_MQTT_URL": f"{scheme}://127.0.0.1:{self.port}", "S3_MQTT_USER": USER, "S3_MQTT_PASSWORD": PASSWORD,
            "S3_SITE": "Test home",
        }  # fmt: skip
        return {**found, "S3_MQTT_CA_BUNDLE": str(self.certificates / "ca.pem")} if self.certificates else found

    def _configure(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        passwords = self.folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), USER, PASSWORD], check=True)
        passwords.chmod(0o644)
        lines = [
            f"listener {self.port} 127.0.0.1", "allow_anonymous false", f"password_file {passwords}", "user root",
            f"log_dest file {self.folder / 'mosquitto.log'}", "log_type all",
        ]  # fmt: skip
        if self.certificates:
            lines += [f"certfile {self.certificates / 'server.pem'}", f"keyfile {self.certificates / 'server.key'}"]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")


def make_certificates(folder: Path) -> Path:
    """An authority, and a certificate for 127.0.0.1 that it signed."""
    folder.mkdir()
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"],
        [*new, "-subj", "/CN=broker", "-keyout", "server.key", "-out", "server.csr"],
        ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
         "-days", "2", "-extfile", "ext", "-out", "server.pem"],
    ):  # fmt: skip
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@contextmanager
def mosquitto(folder: Path, *, tls: bool = False) -> Iterator[Broker]:
    """A broker until the end of the block."""
    folder.mkdir()
    broker = Broker(folder, make_certificates(folder / "certificates") if tls else None)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@dataclass
class Home:
    """Sees all topics, remembers the newest message of each and how many came, and may say something."""

    client: Client
    newest: dict[str, str] = field(default_factory=dict)
    retained: set[str] = field(default_factory=set)
    count: dict[str, int] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """The newest state of the mirror, empty before the first."""
        found: dict[str, Any] = json.loads(self.newest.get("frigate-s3-mirror/test_home/state", "{}"))
        return found

    def availability(self) -> str:
        """What is known of it."""
        return self.newest.get("frigate-s3-mirror/test_home/availability", "")

    def say(self, topic: str, text: str, *, retain: bool = False) -> None:
        """Publish, and return when the broker has it."""
        self.client.publish(topic, text, qos=1, retain=retain).wait_for_publish(10)


@contextmanager
def home_of(broker: Broker) -> Iterator[Home]:
    """Connected until the end of the block."""
    client = Client(CallbackAPIVersion.VERSION2)
    home, is_ready = Home(client), threading.Event()

    def heard(_client: Client, _data: object, message: MQTTMessage) -> None:
        home.newest[message.topic] = message.payload.decode()
        home.count[message.topic] = home.count.get(message.topic, 0) + 1
        if message.retain:
            home.retained.add(message.topic)

    client.username_pw_set(USER, PASSWORD)
    if broker.certificates:
        client.tls_set(ca_certs=str(broker.certificates / "ca.pem"))
    client.on_message = heard
    client.on_connect = lambda c, *_: c.subscribe("#", 1)
    client.on_subscribe = lambda *_: is_ready.set()
    client.reconnect_delay_set(1, 1)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        assert is_ready.wait(10)
        yield home
    finally:
        client.disconnect()
        client.loop_stop()
