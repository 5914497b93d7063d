"""A Ceph of one node with its S3 gateway on loopback, all of it child processes, its data in memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
PATIENCE = 90.0
_MEMORY = 1 << 30


def missing() -> str | None:
    """Why there can be no Ceph here, or None."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)} (Debian: radosgw ceph-mon ceph-osd ceph-mgr ceph-common)"
    return None if os.geteuid() == 0 else "Ceph's daemons want to be started by root"


@dataclass(frozen=True)
class User:
    """A user of the gateway."""

    name: str
    access_key: str
    secret_key: str


class CephGateway:
    """Start it by `with`; `endpoint_url` answers then."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._conf = root / "ceph.conf"
        self._port, self._monitor_port = _free_port(), _free_port()
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.endpoint_url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every daemon, the gateway first."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def user(self, name: str) -> User:
        """A new user without any permission but on buckets of its own."""
        made = self._run(
            "radosgw-admin", "-n", "client.rgw", "user", "create", f"--uid={name}", f"--display-name={name}"
        )
        key = json.loads(made)["keys"][0]
        return User(name, key["access_key"], key["secret_key"])

    def _start(self) -> None:
        for name in ("mon", "osd", "mgr", "rgw", "run"):
            (self._root / name).mkdir(parents=True)
        cluster = str(uuid.uuid4())
        self._conf.write_text(self._configuration(cluster))
        keyring, monitors = self._root / "keyring", self._root / "monmap"
        for number, name in enumerate(("mon.", "client.admin", "mgr.x", "osd.0", "client.rgw")):
            create = ["--create-keyring"] if number == 0 else []
            rights = [word for what in ("mon", "osd", "mgr") for word in ("--cap", what, "allow *")]
            self._run("ceph-authtool", *create, str(keyring), "--gen-key", "-n", name, *rights, configured=False)
        address = f"[v2:127.0.0.1:{self._monitor_port}]"
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", address, str(monitors), configured=False)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(monitors), "--keyring", str(keyring))
        self._daemon("ceph-mon", "-i", "a")
        self._run("ceph", "auth", "import", "-i", str(keyring))
        disk = str(uuid.uuid4())
        self._run("ceph", "osd", "new", disk, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._daemon("ceph-osd", "-i", "0")
        self._daemon("ceph-mgr", "-i", "x")
        self._wait(
            lambda: b'"num_up_osds":1' in self._run("ceph", "osd", "stat", "-f", "json").replace(b" ", b""), "the disk"
        )
        self._daemon("radosgw", "-n", "client.rgw")
        self._wait(self._answers, "the gateway")

    def _configuration(self, cluster: str) -> str:
        root = self._root
        settings = {
            "fsid": cluster, "mon host": f"[v2:127.0.0.1:{self._monitor_port}]", "public addr": "127.0.0.1",
            "cluster addr": "127.0.0.1", "ms bind ipv6": "false", "keyring": root / "keyring", "mon data": root / "mon",
            "osd data": root / "osd", "mgr data": root / "mgr", "run dir": root / "run", "log file": root / "$name.log",
            "pid file": "", "admin socket": root / "run" / "$name.$pid.asok", "setuser match path": "",
            "osd objectstore": "memstore", "memstore device bytes": _MEMORY, "osd pool default size": 1,
            "osd pool default min size": 1, "osd pool default pg num": 8, "osd pool default pgp num": 8,
            "osd pool default pg autoscale mode": "off", "osd crush chooseleaf type": 0, "mon allow pool size one": "true",
        }  # fmt: skip
        gateway = {"rgw frontends": f"beast endpoint=127.0.0.1:{self._port}", "rgw data": root / "rgw"}
        sections = {"global": settings, "client.rgw": gateway}
        return "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in content.items())
            for name, content in sections.items()
        )

    def _run(self, *command: str, configured: bool = True) -> bytes:
        where = ["-c", str(self._conf)] if configured else []
        done = subprocess.run([*command, *where], capture_output=True, timeout=PATIENCE, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:4])}: {done.stderr.decode(errors='replace')[-500:]}")
        return done.stdout

    def _daemon(self, *command: str) -> None:
        with (self._root / f"{command[0]}.out").open("wb") as output:
            self._daemons.append(
                subprocess.Popen([*command, "-f", "-c", str(self._conf)], stdout=output, stderr=output)
            )

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.endpoint_url, timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _wait(self, condition: object, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():  # type: ignore[operator]
            if time.monotonic() > deadline or any(daemon.poll() is not None for daemon in self._daemons):
                raise RuntimeError(f"{what} of Ceph does not come up; see {self._root}")
            time.sleep(0.3)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
