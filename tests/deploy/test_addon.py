"""The Home Assistant add-on: its description, the folder it is built from, and its start as a process beside a Supervisor."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml

from frigate_s3_mirror import __version__, environment
from frigate_s3_mirror.addon_options import OTHER_VARIABLES, VARIABLES
from frigate_s3_mirror.environment import SECRET_NAMES
from http_listener import serving
from servers import Target

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "home-assistant"
_ELEMENT = re.compile(r"(str|password|bool|url|int\(\d*,\d*\)|list\([^()]+\))(\?)?")
_MADE_BY_SUPERVISOR = {"SUPERVISOR_TOKEN": "token-of-the-supervisor", "HASSIO_TOKEN": "token-of-the-supervisor"}
NEEDED = {"bucket": "snapshots", "access_key": "a-key", "secret_key": "TOPSECRET"}
FILLED_IN = {**NEEDED, "frigate_url": "http://127.0.0.1:9"}
"""A Frigate that is not there; without an address the API mode does not start."""


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return content


CONFIG = read("config.yaml")


def element(schema: str | list[str]) -> tuple[str, bool, bool]:
    """Type, whether it may be left out, whether it is a list."""
    text = schema if isinstance(schema, str) else schema[0]
    match = _ELEMENT.fullmatch(text)
    assert match, schema
    return match[1], match[2] is not None, text is not schema


# -- the description -----------------------------------------------------------------------------------------------


def test_the_version_is_the_package_s() -> None:
    """Home Assistant offers an update where it has changed."""
    assert CONFIG["version"] == __version__


def test_it_asks_for_nothing_but_the_broker() -> None:
    """No folder of the host, no device, no privilege, no API of the Supervisor; an open port only where the user says so."""
    assert set(CONFIG) == {
        "name", "version", "slug", "description", "arch", "stage", "startup", "boot", "init", "timeout", "services", "backup",
        "ports", "ports_description", "options", "schema",
    }  # fmt: skip
    assert CONFIG["services"] == ["mqtt:want"]
    assert CONFIG["ports"] == {"9380/tcp": None}
    assert set(CONFIG["ports_description"]) == set(CONFIG["ports"])


def test_every_option_becomes_a_variable_that_there_is() -> None:
    """And each variable has one option."""
    assert set(CONFIG["schema"]) == {*VARIABLES, OTHER_VARIABLES}
    assert len(set(VARIABLES.values())) == len(VARIABLES)
    assert set(VARIABLES.values()) <= set(environment.names())


def test_defaults_and_schema_fit() -> None:
    """A default makes an option required, and a required one has a default or a null that the user must fill in."""
    required = {option for option, schema in CONFIG["schema"].items() if not element(schema)[1]}
    assert set(CONFIG["options"]) == required
    assert {option for option, value in CONFIG["options"].items() if value is None} == set(NEEDED)
    for option, value in CONFIG["options"].items():
        kind, _, is_list = element(CONFIG["schema"][option])
        for item in value if is_list else [value]:
            if kind.startswith("list("):
                assert item in kind[5:-1].split("|")
            elif item is not None:
                assert isinstance(item, bool if kind == "bool" else str)


def test_secrets_are_not_shown_in_the_form() -> None:
    """What the mirror hides, Home Assistant hides, too."""
    for option, variable in VARIABLES.items():
        if variable in SECRET_NAMES:
            assert element(CONFIG["schema"][option])[0] == "password", option


def test_each_option_is_explained() -> None:
    """In the form by a name and a sentence, in the documentation by its variable."""
    explained = read("translations/en.yaml")["configuration"]
    assert list(explained) == list(CONFIG["schema"])
    assert all(
        set(texts) == {"name", "description"} and texts["description"].endswith(".") for texts in explained.values()
    )
    documented = (FOLDER / "DOCS.md").read_text()
    for option in CONFIG["schema"]:
        assert f"`{option}`" in documented
        assert f"`{VARIABLES.get(option, 'S3_MQTT_URL=')}`" in documented


# -- the folder ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make addon` makes, with a Python that has no packages."""
    folder = tmp_path_factory.mktemp("dist")
    assemble(folder)
    return folder


def assemble(folder: Path) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / "assemble_addon.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_the_folder_is_complete(dist: Path) -> None:
    """It holds all that Home Assistant shows, and all that its Dockerfile takes."""
    folder = dist / "frigate-s3-mirror-addon"
    assert {path.name for path in folder.iterdir()} == {
        "config.yaml", "Dockerfile", "DOCS.md", "README.md", "CHANGELOG.md", "LICENSE", "icon.png", "translations", "src",
        "pyproject.toml", "requirements.txt",
    }  # fmt: skip
    taken = re.findall(r"^COPY (?!--from)(.*) \S+$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert len(taken) == 3
    assert all((folder / source).exists() for line in taken for source in line.split())
    assert "--hash=sha256:" in (folder / "requirements.txt").read_text()
    assert len(list(folder.rglob("config.*"))) == 1, "the Supervisor looks for add-ons in all folders"
    assert not list(folder.rglob("__pycache__"))


def test_the_folder_s_source_runs_by_itself(dist: Path, tmp_path: Path) -> None:
    """Nothing of what was left out is needed."""
    source = dist / "frigate-s3-mirror-addon" / "src"
    program = "import frigate_s3_mirror.addon, frigate_s3_mirror.companions, frigate_s3_mirror.doctor; print(frigate_s3_mirror.__file__)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program], env={"PYTHONPATH": str(source)}, cwd=tmp_path,
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith(str(source))


def test_the_archive_is_the_folder_and_always_the_same(dist: Path, tmp_path: Path) -> None:
    """Whoever makes it can compare it."""
    assemble(tmp_path)
    again = (tmp_path / "frigate-s3-mirror-addon.tar.gz").read_bytes()
    assert again == (dist / "frigate-s3-mirror-addon.tar.gz").read_bytes()
    with tarfile.open(tmp_path / "frigate-s3-mirror-addon.tar.gz") as tar:
        tar.extractall(tmp_path / "out", filter="data")
    made, unpacked = tmp_path / "frigate-s3-mirror-addon", tmp_path / "out" / "frigate-s3-mirror-addon"
    files = {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    assert {path.relative_to(unpacked) for path in unpacked.rglob("*") if path.is_file()} == files
    assert all((made / path).read_bytes() == (unpacked / path).read_bytes() for path in files)


# -- the start -----------------------------------------------------------------------------------------------------


@dataclass
class Supervisor:
    """What is asked of it, and what it answers."""

    url: str = ""
    status: int = 200
    body: bytes = json.dumps(
        {
            "result": "ok",
            "data": {"host": "core-mosquitto", "port": 1883, "username": "addons", "password": "BROKERSECRET", "ssl": False,
                     "protocol": "3.1.1", "addon": "core_mosquitto"},
        }
    ).encode()  # fmt: skip
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def refuse(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body


@contextmanager
def answering(supervisor: Supervisor) -> Iterator[Supervisor]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            supervisor.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(supervisor.status)
            self.send_header("Content-Length", str(len(supervisor.body)))
            self.end_headers()
            self.wfile.write(supervisor.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as port:
        supervisor.url = f"http://127.0.0.1:{port}"
        yield supervisor


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with answering(Supervisor()) as running:
        yield running


class Addon:
    """The add-on's process with a /data of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        # Stands where the interpreter is, and tells what it was started with in place of the mirror.
        self.witness = folder / "python"
        tell = "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
        self.witness.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{tell}' \"$@\"\n")
        self.witness.chmod(0o755)

    def command(self, url: str, *arguments: str, interpreter: Path | str) -> list[str]:
        program = (
            "import os, sys; from pathlib import Path; from frigate_s3_mirror.addon import start; data, url, sys.executable, *rest = sys.argv[1:]; "
            "start(rest, os.environ, Path(data), url)"
        )
        return [sys.executable, "-c", program, str(self.data), url, str(interpreter), *arguments]

    def options(self, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (self.data / "options.json").write_text(text)

    def run(
        self, url: str, *arguments: str, interpreter: Path | str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = self.command(url, *(arguments or ("run",)), interpreter=interpreter or self.witness)
        return subprocess.run(
            command, env={"PATH": "/usr/bin:/bin", **_MADE_BY_SUPERVISOR, **variables},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def started(self, url: str, *arguments: str, **variables: str) -> tuple[list[str], dict[str, str], str]:
        """The mirror's arguments and environment, and the log before it."""
        done = self.run(url, *arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        *log, told = done.stdout.splitlines()
        seen, made = json.loads(told)
        return seen, made, "\n".join(log)


@pytest.fixture
def addon(tmp_path: Path) -> Addon:
    return Addon(tmp_path)


def test_the_form_as_it_comes_is_a_working_mirror(addon: Addon, supervisor: Supervisor) -> None:
    """Bucket and keys are all that must be filled in; the broker is Home Assistant's; the Supervisor's token stays here."""
    addon.options({**CONFIG["options"], **NEEDED})
    arguments, made, log = addon.started(supervisor.url)
    assert arguments == ["-m", "frigate_s3_mirror", "run"]
    mirror = {name: value for name, value in made.items() if name.startswith(("S3_", "FRIGATE_"))}
    assert mirror == {
        "S3_BUCKET": "snapshots", "S3_ACCESS_KEY": "a-key", "S3_SECRET_KEY": "TOPSECRET", "S3_ARTIFACTS": "snapshot",
        "S3_LIVE": "true", "FRIGATE_URL": "http://ccab4aaf-frigate:5000", "FRIGATE_SOURCE": "api",
        "S3_STATE_DIR": str(addon.data / "mirror"), "S3_SITE": "home", "S3_STATUS_LISTEN": "off",
        "S3_MQTT_URL": "mqtt://core-mosquitto:1883", "S3_MQTT_USER": "addons", "S3_MQTT_PASSWORD": "BROKERSECRET",
    }  # fmt: skip
    assert not set(_MADE_BY_SUPERVISOR) & set(made)
    assert supervisor.asked == [("/services/mqtt", "Bearer token-of-the-supervisor")]
    assert "broker mqtt://core-mosquitto:1883" in log
    assert "SECRET" not in log + " ".join(arguments)


def test_another_broker_is_the_user_s_affair(addon: Addon, supervisor: Supervisor) -> None:
    """The Supervisor is not asked."""
    addon.options(
        {**FILLED_IN, "mqtt_url": "mqtts://broker.example.com", "mqtt_user": "me", "mqtt_password": "OTHERSECRET"}
    )
    _, made, log = addon.started(supervisor.url)
    assert (made["S3_MQTT_URL"], made["S3_MQTT_USER"]) == ("mqtts://broker.example.com", "me")
    assert supervisor.asked == []
    assert "SECRET" not in log


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"result": "error", "message": "Service not enabled"}'),
        (403, b"403: Forbidden"),
        (302, b""),
        (200, b'{"result": "ok", "data": {"host": "a b", "port": 1883, "password": "BROKERSECRET"}}'),
        (200, b'{"result": "ok"}'),
        (200, b"[1]"),
        (200, b"\xff"),
    ],
)
def test_no_broker_is_no_reason_to_stop(addon: Addon, supervisor: Supervisor, status: int, body: bytes) -> None:
    """One line says why, and the mirror starts."""
    addon.options(FILLED_IN)
    supervisor.refuse(status, body)
    _, made, log = addon.started(supervisor.url)
    assert "S3_MQTT_URL" not in made
    assert len(log.splitlines()) == 1
    assert "INFO    : S3 snapshot mirror: goes on without MQTT: the Supervisor" in log
    assert "SECRET" not in log


def test_no_supervisor_is_no_reason_to_stop(addon: Addon) -> None:
    """Neither one that does not answer nor a container without a token."""
    addon.options(FILLED_IN)
    _, made, log = addon.started("http://127.0.0.1:9")
    assert "goes on without MQTT: the Supervisor gave no answer" in log
    assert "S3_MQTT_URL" not in made
    assert "no SUPERVISOR_TOKEN" in addon.started("http://127.0.0.1:9", SUPERVISOR_TOKEN="")[2]


def test_each_wrong_option_is_told_once_by_its_name(addon: Addon, supervisor: Supervisor) -> None:
    """Those that the mirror refuses and those that are no variables; status 78; no secret, no traceback."""
    addon.options({"access_key": "k", "mqtt_password": "MQTTSECRET", "status_token": "SECRET", "region": "a b",
                   "env": ["S3_SPOOL_MAX=much"]})  # fmt: skip
    done = addon.run(supervisor.url)
    assert done.returncode == 78
    told = [line.split("S3 snapshot mirror: ")[1] for line in done.stdout.splitlines()]
    assert [" ".join(line.split()[:3]) for line in told] == [
        "Option bucket: S3_BUCKET", "Option region: S3_REGION", "Option env: S3_SPOOL_MAX", "Option status_token: S3_STATUS_TOKEN",
    ]  # fmt: skip
    assert all(line.endswith(".") for line in told)
    assert done.stderr == ""
    assert "SECRET" not in done.stdout

    addon.options(
        {
            **FILLED_IN,
            "cameras": {"front": True},
            "env": ["TOPSECRET", "S3_STATE_DIR=/share", "S3_BUCKET=b", "A=1", "A=2"],
        }
    )
    done = addon.run(supervisor.url)
    assert done.returncode == 78
    assert [line.split("S3 snapshot mirror: ")[1] for line in done.stdout.splitlines()] == [
        "Option cameras (S3_CAMERAS) is neither text nor a number, true or false, or a list of these.",
        "Option env: entry 1 is not NAME=value.",
        "Option env: entry 2 sets S3_STATE_DIR, which the add-on sets itself.",
        "Option env: entry 3 sets S3_BUCKET, as option bucket does; keep one of them.",
        "Option env: entry 5 sets A, as an entry before it does; keep one of them.",
    ]
    assert "SECRET" not in done.stdout


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "cannot be read"), ("{", "not JSON"), ([], "not a JSON object")]
)
def test_options_that_are_none(addon: Addon, supervisor: Supervisor, content: object, problem: str) -> None:
    """A sentence and 78."""
    if content is not None:
        addon.options(content)
    done = addon.run(supervisor.url)
    assert done.returncode == 78
    assert problem in done.stdout
    assert "Traceback" not in done.stderr


def test_other_commands_have_the_same_environment(addon: Addon, supervisor: Supervisor) -> None:
    """`docker exec` sees the container's environment alone; a command prints nothing but its own."""
    addon.options({**FILLED_IN, "path_prefix": "frigate/snapshots"})
    done = addon.run(supervisor.url, "config", interpreter=sys.executable)
    assert done.returncode == 0, done.stderr
    assert re.search(r"S3_PATH_PREFIX +frigate/snapshots +environment", done.stdout)
    assert "goes on" not in done.stdout
    assert "TOPSECRET" not in done.stdout + done.stderr
    addon.options({})
    done = addon.run(supervisor.url, "status", "--json", interpreter=sys.executable)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("Option bucket: S3_BUCKET is not set")


def test_the_mirror_takes_the_process_over(addon: Addon, rclone: Target) -> None:
    """A Frigate that is not there yet does not end it, its ledger is in /data, and SIGTERM to the process ends it in order."""
    addon.options({"bucket": rclone.bucket, "access_key": rclone.access_key, "secret_key": rclone.secret_key,
                   "endpoint_url": rclone.endpoint_url, "frigate_url": "http://127.0.0.1:9"})  # fmt: skip
    command = addon.command("http://127.0.0.1:9", "run", interpreter=sys.executable)
    log = addon.data / "log"
    with log.open("w") as written:
        process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin"}, stdout=written, stderr=written)
    try:
        until = time.monotonic() + 30
        while " health=" not in log.read_text() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
    assert "S3 snapshot mirror stopped" in log.read_text()
    assert (addon.data / "mirror" / "ledger.db").exists()
