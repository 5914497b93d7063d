"""The compose file on its disk: replaced as a whole or not at all, by the real command in real folders."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compose_file import interpolated, variables_of

EDITOR = Path(__file__).parents[2] / "scripts" / "compose_edit.py"
MARK = "# added by setup_s3_mirror.sh"
HEAD = b"services:\n  frigate:\n    image: ghcr.io/blakeblackshear/frigate:stable\n"
BYTES = {
    "windows": (HEAD + b"    environment:\n      - TZ=UTC\n").replace(b"\n", b"\r\n"),
    "with a BOM": b"\xef\xbb\xbf" + HEAD,
    "Latin-1": b"# c\xe1maras \xff\xfe\n" + HEAD,
    "document marks": b"%YAML 1.2\n---\n" + HEAD + b"...\n",
    "no end": HEAD + b"    environment:\n      TZ: UTC",
    "no end, windows": (HEAD + b"    volumes:\n    - a:/b").replace(b"\n", b"\r\n"),
    "blank end": HEAD + b"\n\n   \n\t\n",
    "mixed ends": HEAD.replace(b"\n", b"\r\n", 1) + b"    environment:\r\n      - A=b   \n",
    "tabs": HEAD.replace(b"image", b"# x\n\t\n\t# y\n    image"),
}


def edit(
    action: str, file: Path, *options: str, limit: int | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EDITOR), action, str(file), "--mark", MARK, *options]
    limited = None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False, preexec_fn=limited
    )  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("case", BYTES)
def test_bytes_stay_bytes(tmp_path: Path, case: str) -> None:
    """Added and removed by the command, the file is what it was, and so is the folder."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(BYTES[case])
    done = edit("add", file)
    assert done.returncode == 0, done.stderr
    after = file.read_bytes()
    assert after.count(b"/opt/s3-mirror:ro") == 1
    if b"\r\n" in BYTES[case] and "mixed" not in case:
        assert after.count(b"\n") == after.count(b"\r\n")
    own = [line for line in after.splitlines() if not line.endswith(MARK.encode())]
    assert own == BYTES[case].splitlines()
    done = edit("remove", file)
    assert done.returncode == 0, done.stderr
    assert "its backup is gone" in done.stdout
    assert file.read_bytes() == BYTES[case]
    assert names(tmp_path) == ["compose.yaml"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfes\0e\0r\0", b"\0" * 50, b"services:\n", b"- a\n", b"\x89PNG\r\n", b"services: [a\n", HEAD * 2],
)
def test_what_is_no_compose_file_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """One sentence and the lines to add by hand; no traceback, no copy."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(content)
    done = edit("add", file)
    assert done.returncode == 1
    assert "is left alone" in done.stderr
    assert "- ./s3-mirror:/opt/s3-mirror:ro" in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_bytes() == content
    assert names(tmp_path) == ["compose.yaml"]


def test_one_backup_for_its_owner_only_is_kept_and_told(tmp_path: Path) -> None:
    """Also at the removal, when the user changed something: it is the one that was made before the first line."""
    file = tmp_path / "docker-compose.yml"
    file.write_bytes(HEAD)
    file.chmod(0o640)
    told = edit("add", file).stdout
    (backup,) = tmp_path.glob("docker-compose.yml.s3-mirror-backup-2*")
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert str(backup) in told
    assert "holds your keys" in told
    filled = (
        file.read_text().replace("# - S3_SECRET_KEY=your-secret-access-key", "- S3_SECRET_KEY=TOPSECRET") + "# mine\n"
    )
    file.write_text(filled)
    told = edit("remove", file).stdout
    assert str(backup) in told
    assert names(tmp_path) == ["docker-compose.yml", backup.name]
    assert backup.read_bytes() == HEAD
    assert file.read_bytes() == HEAD + b"# mine\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it points to is edited."""
    target = tmp_path / "dotfiles" / "frigate.yml"
    target.parent.mkdir()
    target.write_bytes(HEAD)
    link = tmp_path / "compose.yaml"
    link.symlink_to("dotfiles/frigate.yml")
    assert edit("add", link).returncode == 0
    assert link.is_symlink()
    assert b"/opt/s3-mirror" in target.read_bytes()
    assert edit("remove", link).returncode == 0
    assert target.read_bytes() == HEAD
    assert names(target.parent) == ["frigate.yml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_the_owner_stays(tmp_path: Path) -> None:
    """As after an edit in place; the backup is the owner's, too."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(HEAD)
    os.chown(file, 4321, 1234)
    assert edit("add", file).returncode == 0
    assert {(path.stat().st_uid, path.stat().st_gid) for path in tmp_path.iterdir()} == {(4321, 1234)}


@pytest.mark.parametrize("limit", [0, 10, 300])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, limit: int) -> None:
    """The new one is not begun in its place."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(HEAD)
    done = edit("add", file, limit=limit, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 1
    assert "is left alone: File too large" in done.stderr
    assert file.read_bytes() == HEAD
    assert names(tmp_path) == ["compose.yaml"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_end_in_the_middle_leaves_the_old_file(tmp_path: Path, number: signal.Signals) -> None:
    """While Docker is asked, the candidate is there and the file is the old one; afterwards nothing is left."""
    folder = tmp_path / "frigate"
    folder.mkdir()
    file = folder / "compose.yaml"
    file.write_bytes(HEAD)
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\nexec sleep 60\n")
    docker.chmod(0o755)
    with subprocess.Popen([sys.executable, str(EDITOR), "add", str(file), "--mark", MARK, "--docker", str(docker)], stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        deadline = time.monotonic() + 20
        while not (tmp_path / "asked").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(names(folder)) == 2
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "is as it was" in told
    assert file.read_bytes() == HEAD
    assert names(folder) == ["compose.yaml"]


def test_a_kill_at_any_moment_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    """Never half of it."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(HEAD)
    assert edit("add", file).returncode == 0
    new = file.read_bytes()
    seen = set()
    for step in range(16):
        file.write_bytes(HEAD)
        with subprocess.Popen(
            [sys.executable, str(EDITOR), "add", str(file), "--mark", MARK], stdout=subprocess.DEVNULL
        ) as process:
            try:
                process.wait(0.02 * step)
            except subprocess.TimeoutExpired:
                process.kill()
        seen.add(file.read_bytes())
    assert seen <= {HEAD, new}
    assert HEAD in seen


def test_docker_has_a_say(tmp_path: Path) -> None:
    """What compose itself sees of the candidate must differ by our lines alone; without an answer it has none."""
    file = tmp_path / "compose.yaml"
    file.write_bytes(HEAD)
    docker = tmp_path / "docker"
    before = {"services": {"frigate": {"environment": {"TZ": "UTC"}, "volumes": [{"target": "/config"}]}}}
    ours = {"environment": {"TZ": "UTC", "PYTHONPATH": "/opt/s3-mirror/patch"}, "stop_grace_period": "30s"}
    good = {"services": {"frigate": {**ours, "volumes": [{"target": "/config"}, {"target": "/opt/s3-mirror"}]}}}
    bad = {"services": {"frigate": {**ours, "volumes": [{"target": "/opt/s3-mirror"}]}}}

    def answer(after: object) -> None:
        docker.write_text(
            f"#!/bin/sh\ncase \"$*\" in *s3-mirror-[0-9]*) echo '{json.dumps(after)}';; *) echo '{json.dumps(before)}';; esac\n"
        )
        docker.chmod(0o755)

    answer(bad)
    done = edit("add", file, "--docker", str(docker))
    assert done.returncode == 1
    assert "docker compose says" in done.stderr
    assert file.read_bytes() == HEAD
    assert names(tmp_path) == ["compose.yaml", "docker"]
    answer(good)
    assert edit("add", file, "--docker", str(docker)).returncode == 0
    edit("remove", file)
    docker.write_text("#!/bin/sh\necho refused >&2; exit 15\n")
    assert edit("add", file, "--docker", str(docker)).returncode == 0


def test_a_file_of_variables_is_read_as_compose_does(tmp_path: Path) -> None:
    """Comments, quotation marks, `export`, names without a value, CRLF."""
    file = tmp_path / "a.env"
    file.write_bytes(
        b"\xef\xbb\xbfS3_BUCKET=snaps\r\n# S3_REGION=eu\nexport A = 'b # c' # d\nB=\"x\"\nC\nD=\nE=a#b # c\nnonsense line\n\xff=1\n"
    )
    assert variables_of(file) == {"S3_BUCKET": "snaps", "A": "b # c", "B": "x", "C": None, "D": "", "E": "a#b"}
    assert variables_of(tmp_path / "none.env") == {}
    host = {"A": "1", "E": ""}
    for value, expected in {
        "${A}$A": "11",
        "${B:-x}": "x",
        "${E:-x}": "x",
        "${E-x}": "",
        "${A:+y}": "y",
        "$$A": "$A",
        "${B}": "",
        "${B:?no}": "",
    }.items():
        assert interpolated(value, host) == expected
