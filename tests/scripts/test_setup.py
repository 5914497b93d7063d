"""setup_s3_mirror.sh in folders as users have them, with a docker that plays back and packages from the real index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stubs import REPOSITORY, StubDocker, without_docker

COMPOSE = """services:
  frigate:
    image: ghcr.io/blakeblackshear/frigate:stable
    volumes:
      - ./config:/config
      - ./storage:/media/frigate
    environment:
      - S3_BUCKET=snaps
      - S3_SECRET_KEY=TOPSECRET
"""
_PIP = """#!/usr/bin/env bash
# python3 whose pip only notes what it is asked, for tests that are not about packages
if [[ "$1 $2 $3" == "-m pip install" ]]; then
    [[ -z ${STUB_PIP_FAILS:-} ]] || { echo "no network" >&2; exit 1; }
    while [[ $1 != --target ]]; do shift; done
    mkdir -p "$2/obstore" && exit 0
fi
exec REAL "$@"
"""


@pytest.fixture
def docker(tmp_path: Path) -> StubDocker:
    """A Docker host that has Frigate's image, and a python3 with a pip that does nothing."""
    stub = StubDocker(tmp_path / "bin")
    stub.answer("compose version", "v2")
    stub.answer("image inspect --format", "amd64\n")
    stub.answer("image inspect", "[]\n")
    stub.answer("sys.version_info", "3.11\n")
    python = stub.folder / "python3"
    python.write_text(_PIP.replace("REAL", sys.executable))
    python.chmod(0o755)
    uv = stub.folder / "uv"
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    return stub


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The folder with the compose file."""
    folder = tmp_path / "frigate"
    (folder / "storage/clips/cache").mkdir(parents=True)
    (folder / "docker-compose.yml").write_text(COMPOSE)
    return folder


def test_a_first_setup_fills_the_folder_and_shows_the_lines(docker: StubDocker, host: Path) -> None:
    """The compose file is left alone without --apply; no secret is shown."""
    done = docker.run("setup_s3_mirror.sh", cwd=host)
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = host / "s3-mirror"
    for name in ("entrypoint.sh", "frigate-s3-mirror", "patch/sitecustomize.py", "lib/obstore"):
        assert (bundle / name).exists(), name
    assert (bundle / "lib/frigate_s3_mirror/frigate_s3_patcher.py").is_file()
    assert not (bundle / "lib/frigate_s3_mirror/demo").exists()
    assert os.access(bundle / "entrypoint.sh", os.X_OK)
    assert "- ./s3-mirror:/opt/s3-mirror:ro" in done.stdout
    assert "the service 'frigate'" in done.stdout
    assert (host / "docker-compose.yml").read_text() == COMPOSE
    assert "TOPSECRET" not in done.stdout + done.stderr


def test_apply_adds_the_lines_tests_them_and_uninstall_takes_all_back(docker: StubDocker, host: Path) -> None:
    """A backup is kept, a second run changes nothing, and after --uninstall the file is what it was."""
    docker.answer("run --rm --no-deps", "doctor says hello\n")
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
    assert done.returncode == 0, done.stdout + done.stderr
    changed = (host / "docker-compose.yml").read_text()
    assert "/opt/s3-mirror:ro" in changed
    assert [path.read_text() for path in host.glob("docker-compose.yml.s3-mirror-backup-*")] == [COMPOSE]
    assert "doctor says hello" in done.stdout
    call = next(asked for asked in docker.asked() if "--no-deps" in asked)
    assert call[-3:] == ["/opt/s3-mirror/frigate-s3-mirror", "frigate", "doctor"]
    again = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
    assert "has all the lines already" in again.stdout
    assert (host / "docker-compose.yml").read_text() == changed
    gone = docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host)
    assert gone.returncode == 0, gone.stderr
    assert (host / "docker-compose.yml").read_text() == COMPOSE
    assert not (host / "s3-mirror").exists()


def test_a_doctor_that_finds_something_is_the_end(docker: StubDocker, host: Path) -> None:
    """Exit status 1, and the user knows that Frigate was not touched."""
    docker.answer("run --rm --no-deps", "bucket: there is none\n", status=1)
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
    assert done.returncode == 1
    assert "Frigate was not touched" in done.stderr


def test_a_failed_upgrade_leaves_the_old_folder(docker: StubDocker, host: Path) -> None:
    """No network: one sentence, and what was there still works."""
    (host / "s3-mirror/lib").mkdir(parents=True)
    (host / "s3-mirror/lib/old").touch()
    docker.answers.insert(0, ("--require-hashes", "", "no network", 1))
    done = docker.run("setup_s3_mirror.sh", cwd=host, STUB_PIP_FAILS="1")
    assert done.returncode == 1
    assert "An older ./s3-mirror is as it was." in done.stderr
    assert (host / "s3-mirror/lib/old").exists()
    assert not (host / "s3-mirror.new").exists()


def test_a_second_setup_replaces_the_folder(docker: StubDocker, host: Path) -> None:
    """Nothing of the old version stays."""
    (host / "s3-mirror/lib").mkdir(parents=True)
    (host / "s3-mirror/lib/old").touch()
    assert docker.run("setup_s3_mirror.sh", cwd=host).returncode == 0
    assert not (host / "s3-mirror/lib/old").exists()


def test_an_old_image_needs_the_sidecar(docker: StubDocker, host: Path) -> None:
    """Frigate 0.15 brings Python 3.9."""
    docker.answers.insert(0, ("sys.version_info", "3.9\n", "", 0))
    done = docker.run("setup_s3_mirror.sh", cwd=host)
    assert done.returncode == 1
    assert "docs/install-sidecar.md" in done.stderr
    assert not (host / "s3-mirror").exists()


def test_state_files_are_backed_up(docker: StubDocker, host: Path) -> None:
    """Those of the older scripts, too."""
    (host / "storage/clips/cache/.s3_uploaded_events").write_text("1-a\n")
    done = docker.run("setup_s3_mirror.sh", cwd=host)
    assert "Backed up" in done.stdout
    assert [p.read_text() for p in host.glob("s3-mirror-backups/*/.s3_uploaded_events")] == ["1-a\n"]


def test_without_docker_and_compose_file_it_still_fills_the_folder(tmp_path: Path, docker: StubDocker) -> None:
    """With a warning for each thing that could not be learned."""
    folder = tmp_path / "empty"
    folder.mkdir()
    path = without_docker(tmp_path / "tools")
    Path(path, "python3").unlink()
    Path(path, "python3").symlink_to(docker.folder / "python3")
    done = subprocess.run(
        [str(REPOSITORY / "setup_s3_mirror.sh"), "--dir", str(folder)],
        cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "docker is not on the PATH" in done.stderr
    assert "No docker-compose.yml found" in done.stderr
    assert (folder / "s3-mirror/lib/frigate_s3_mirror").is_dir()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--what",), "'--what' is not an option"),
        (("--dir",), "--dir needs a value"),
        (("--arch", "riscv64"), "no packages for 'riscv64'"),
        (("--python", "snake"), "'snake' is not a Python version"),
        (("--compose", "/no/such.yml"), "There is no compose file /no/such.yml"),
    ],
)
def test_wrong_options_get_a_sentence(
    docker: StubDocker, host: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """And a non-zero exit status."""
    done = docker.run("setup_s3_mirror.sh", *arguments, cwd=host)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert not (host / "s3-mirror").exists()


def test_in_the_projects_own_folder_the_example_is_not_taken_for_an_installation(docker: StubDocker) -> None:
    """--uninstall there touches nothing."""
    done = docker.run("setup_s3_mirror.sh", "--check", cwd=REPOSITORY)
    assert "No docker-compose.yml found" in done.stderr


@pytest.mark.parametrize(("arch", "machine"), [("amd64", b"\x3e\x00"), ("arm64", b"\xb7\x00")])
def test_the_real_packages_of_both_architectures(tmp_path: Path, arch: str, machine: bytes) -> None:
    """From the lock file with hashes; on this machine's own architecture the service starts from the folder alone."""
    path = without_docker(tmp_path / "tools")
    Path(path, "python3").unlink()
    Path(path, "python3").write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" "$@"\n')
    Path(path, "python3").chmod(0o755)
    folder = tmp_path / "host"
    folder.mkdir()
    inherited = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    done = subprocess.run(
        [str(REPOSITORY / "setup_s3_mirror.sh"), "--dir", str(folder), "--arch", arch],
        cwd=folder, env={**inherited, "PATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    library = next((folder / "s3-mirror/lib/obstore").glob("_obstore*.so"))
    with library.open("rb") as file:
        assert file.read(20)[18:20] == machine
    if os.uname().machine == {"amd64": "x86_64", "arm64": "aarch64"}[arch] and sys.version_info[:2] == (3, 11):
        environment = {"PYTHONPATH": str(folder / "s3-mirror/lib"), "PATH": os.environ["PATH"]}
        command = [f"{sys.base_prefix}/bin/python3", "-S", "-m", "frigate_s3_mirror", "--version"]
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert shown.stdout.startswith("frigate-s3-mirror "), shown.stderr
        wrapper = [str(folder / "s3-mirror/frigate-s3-mirror"), "doctor"]
        asked = subprocess.run(wrapper, env={"PATH": path}, capture_output=True, text=True, check=False)
        assert asked.returncode == 78
        assert "S3_BUCKET is not set" in asked.stdout
