"""setup_s3_mirror.sh in folders as users have them, with a docker that plays back and packages from the real index."""

from __future__ import annotations

import json
import os
import shutil
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
    assert done.returncode == 1


def test_a_copy_of_the_example_is_an_installation(docker: StubDocker, host: Path) -> None:
    """Elsewhere than in the project's own folder; its placeholders are told."""
    shutil.copy(REPOSITORY / "docker-compose.yml", host / "docker-compose.yml")
    done = docker.run("setup_s3_mirror.sh", "--check", cwd=host)
    assert done.returncode == 1
    for name in ("S3_BUCKET", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert f"{name} still holds the example" in done.stderr


# -- which file, which service ---------------------------------------------------------------------------------------

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OTHER = "services:\n  mqtt:\n    image: eclipse-mosquitto\n"


@pytest.mark.parametrize("number", range(4))
def test_the_file_is_the_one_that_compose_reads(docker: StubDocker, tmp_path: Path, number: int) -> None:
    """In compose's order; the others are named as not read and stay as they are."""
    folder = tmp_path / "frigate"
    folder.mkdir()
    for name in NAMES[number:]:
        (folder / name).write_text(COMPOSE)
    docker.answer("run --rm --no-deps", "doctor says hello\n")
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert [name for name in NAMES[number:] if "/opt/s3-mirror" in (folder / name).read_text()] == [NAMES[number]]
    assert ("goes first" in done.stderr) is (number < 3)
    assert all(name in done.stderr for name in NAMES[number + 1 :])


def test_the_old_docker_compose_has_another_order(docker: StubDocker, host: Path) -> None:
    """Version 1, where it is the only one, reads docker-compose.yml first."""
    (host / "compose.yaml").write_text(OTHER)
    docker.answers.insert(0, ("compose version", "", "unknown command", 1))
    old = docker.folder / "docker-compose"
    old.write_text('#!/bin/sh\n[ "$*" = "version --short" ] && echo 1.29.2\n')
    old.chmod(0o755)
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
    assert "/opt/s3-mirror" in (host / "docker-compose.yml").read_text(), done.stderr
    assert (host / "compose.yaml").read_text() == OTHER


@pytest.mark.parametrize("origin", ["environment", ".env", "override"])
def test_the_files_that_compose_joins_are_all_looked_into(docker: StubDocker, host: Path, origin: str) -> None:
    """COMPOSE_FILE, in the environment or in .env, and the override; docker gets all of them."""
    (host / "docker-compose.yml").rename(host / ("nvr.yml" if origin != "override" else "docker-compose.override.yml"))
    (host / ("base.yml" if origin != "override" else "docker-compose.yml")).write_text(OTHER)
    names = ["base.yml", "nvr.yml"] if origin != "override" else ["docker-compose.yml", "docker-compose.override.yml"]
    environment = {"COMPOSE_FILE": "base.yml:nvr.yml"} if origin == "environment" else {}
    if origin == ".env":
        (host / ".env").write_text("A=b\nCOMPOSE_FILE='base.yml:nvr.yml'\n")
    docker.answer("run --rm --no-deps", "doctor says hello\n")
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host, **environment)
    assert done.returncode == 0, done.stderr
    assert "/opt/s3-mirror" in (host / names[1]).read_text()
    assert (host / names[0]).read_text() == OTHER
    assert ("names the compose files" in done.stdout) is (origin != "override")
    call = next(asked for asked in docker.asked() if "--no-deps" in asked)
    assert [call[n + 1] for n, word in enumerate(call) if word == "-f"] == [str(host / name) for name in names]
    gone = docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host, **environment)
    assert gone.returncode == 0, gone.stderr
    assert (host / names[1]).read_text() == COMPOSE


# -- checks come before work -----------------------------------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below the folder."""
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize(
    ("compose", "arguments", "sentence"),
    [
        (COMPOSE, ("--dir", "PARENT/nope"), "There is no folder"),
        (COMPOSE, ("--dir", "PARENT/nope/deeper", "--apply"), "There is no folder"),
        (COMPOSE, ("--dir", "PARENT/nope", "--uninstall"), "There is no folder"),
        (COMPOSE, ("--service", "nosuch", "--apply"), "no service 'nosuch'"),
        (COMPOSE, ("--service", "nosuch"), "no service 'nosuch'"),
        (COMPOSE, ("--service", "nosuch", "--check"), "no service 'nosuch'"),
        (None, ("--apply",), "No compose file found"),
        (None, ("--check",), "There is no compose file to check"),
        (OTHER, ("--apply",), "which service is Frigate?"),
        (COMPOSE.replace("frigate:stable", "frigate-notify"), ("--apply",), "which service is Frigate?"),
        (
            "x-a: &a\n  volumes:\n    - ./c:/config\nservices:\n  frigate:\n    <<: *a\n    image: frigate\n",
            ("--apply",),
            "comes from an anchor",
        ),
        (COMPOSE + "---\n" + OTHER, ("--apply",), "second document"),
        (COMPOSE + "      - PYTHONPATH=/mine\n", ("--apply",), "PYTHONPATH is set already"),
        (COMPOSE, ("--compose", "."), "There is no compose file ."),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_made(
    docker: StubDocker, tmp_path: Path, compose: str | None, arguments: tuple[str, ...], sentence: str
) -> None:
    """No folder, no package, no byte in the compose file; where lines are missing they are shown."""
    folder = tmp_path / "frigate"
    folder.mkdir()
    if compose is not None:
        (folder / "docker-compose.yml").write_text(compose)
    before = snapshot(folder)
    done = docker.run("setup_s3_mirror.sh", *(word.replace("PARENT", str(tmp_path)) for word in arguments), cwd=folder)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert snapshot(folder) == before
    assert not (tmp_path / "nope").exists()
    if "anchor" in sentence or "PYTHONPATH" in sentence:
        assert "yourself" in done.stderr
        assert "/opt/s3-mirror/patch" in done.stderr


def test_a_folder_that_setup_did_not_make_is_left_alone(docker: StubDocker, host: Path) -> None:
    """A checkout of this project under that name, somebody's files, a link: refused by setup and by --uninstall."""
    bundle = host / "s3-mirror"
    for kind in ("checkout", "files", "link"):
        if kind == "link":
            (host / "elsewhere").mkdir()
            bundle.symlink_to("elsewhere")
        else:
            (bundle / "lib").mkdir(parents=True)
            (bundle / (".git" if kind == "checkout" else "frigate.db")).write_text("precious")
        before = snapshot(host)
        done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
        assert done.returncode == 1
        assert "is left alone" in done.stderr
        gone = docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host)
        assert gone.returncode == 0
        assert "is left alone" in gone.stderr
        assert snapshot(host) == before
        if kind != "link":
            shutil.rmtree(bundle)


def test_a_copy_that_a_user_made_of_the_folder_stays(docker: StubDocker, host: Path) -> None:
    """Names beside it that setup itself used once are not its own when something else is in them."""
    for name in ("s3-mirror.old", "s3-mirror.new"):
        (host / name).mkdir()
        (host / name / "notes.txt").write_text("mine")
    assert docker.run("setup_s3_mirror.sh", cwd=host).returncode == 0
    assert docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host).returncode == 0
    assert [(host / name / "notes.txt").read_text() for name in ("s3-mirror.old", "s3-mirror.new")] == ["mine", "mine"]


def test_a_setup_that_is_killed_in_the_middle_is_made_good_by_the_next(docker: StubDocker, host: Path) -> None:
    """The old folder is back, and nothing of the broken run is left."""
    assert docker.run("setup_s3_mirror.sh", cwd=host).returncode == 0
    stale = host / ".s3-mirror-setup.99999999"
    stale.mkdir()
    (stale / ".made-by-setup_s3_mirror").touch()
    (host / "s3-mirror/lib/old").touch()
    (host / "s3-mirror").rename(stale / "old")
    foreign = host / ".s3-mirror-setup.mine"
    foreign.mkdir()
    done = docker.run("setup_s3_mirror.sh", cwd=host, STUB_PIP_FAILS="1")
    assert done.returncode == 1
    assert (host / "s3-mirror/lib/old").exists()
    assert not stale.exists()
    assert foreign.exists()


# -- what is to be filled in -----------------------------------------------------------------------------------------

FILLED = "S3_BUCKET=snaps\nS3_ACCESS_KEY=AK\nS3_SECRET_KEY=SK\n"


def applied(docker: StubDocker, host: Path, compose: str) -> str:
    """The compose file after --apply."""
    (host / "docker-compose.yml").write_text(compose)
    done = docker.run("setup_s3_mirror.sh", "--apply", cwd=host)
    assert done.returncode == 0, done.stderr
    return (host / "docker-compose.yml").read_text()


BARE = COMPOSE[: COMPOSE.index("    environment")]


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        (None, ["S3_BUCKET is not filled in", "S3_ACCESS_KEY is not filled in", "S3_SECRET_KEY is not filled in"]),
        (("# - S3_BUCKET", "- S3_BUCKET"), ["S3_BUCKET still holds the example 'your-bucket-name'"]),
        (("# - S3_SECRET_KEY", "- S3_SECRET_KEY"), ["S3_SECRET_KEY still holds the example"]),
        (("# - S3_BUCKET=your-bucket-name", "- S3_BUCKET="), ["S3_BUCKET is not filled in"]),
        (("# - S3_BUCKET=your-bucket-name", "- S3_BUCKET=${NOWHERE}"), ["S3_BUCKET is not filled in"]),
        (("# - S3_BUCKET=your-bucket-name", "- LITESTREAM_S3_BUCKET=x"), ["S3_BUCKET is not filled in"]),
        (("- ./s3-mirror:/opt/s3-mirror:ro", "- ./s3-mirror:/opt/elsewhere:ro"), ["The volume ./s3-mirror:/opt/s3-mirror:ro is missing"]),
        (("- PYTHONPATH=", "- PYTHONPATH_OLD="), ["PYTHONPATH=/opt/s3-mirror/patch is missing"]),
    ],
)  # fmt: skip
def test_a_check_of_what_is_not_filled_in_says_so(
    docker: StubDocker, host: Path, change: tuple[str, str] | None, sentences: list[str]
) -> None:
    """Exit status 1, each thing by its name, and the doctor is not asked."""
    text = applied(docker, host, BARE)
    (host / "docker-compose.yml").write_text(text.replace(*change) if change else text)
    done = docker.run("setup_s3_mirror.sh", "--check", cwd=host)
    assert done.returncode == 1
    for sentence in sentences:
        assert sentence in done.stderr
    assert not any("--no-deps" in asked for asked in docker.asked())


@pytest.mark.parametrize("way", ["env_file", "list of env_file", "long env_file", ".env", "override", "docker"])
def test_a_check_finds_the_settings_wherever_they_are(docker: StubDocker, host: Path, way: str) -> None:
    """In an env file, in .env, in the override, or where only Docker sees them; then the doctor is asked."""
    forms = {
        "env_file": "    env_file: frigate.env\n",
        "list of env_file": "    env_file:\n      - frigate.env\n",
        "long env_file": "    env_file:\n      - path: frigate.env\n        required: true\n",
    }
    text = applied(docker, host, BARE + forms.get(way, ""))
    (host / "frigate.env").write_text(FILLED)
    if way == ".env":
        (host / ".env").write_text(FILLED)
        (host / "docker-compose.yml").write_text(
            text.replace("# - S3_BUCKET=your-bucket-name", "- S3_BUCKET=${S3_BUCKET:?}")
        )
    if way == "override":
        environment = "".join(f"      {line.replace('=', ': ')}\n" for line in FILLED.splitlines())
        (host / "compose.override.yaml").write_text(f"services:\n  frigate:\n    environment:\n{environment}")
    if way == "docker":
        environment_ = dict(line.split("=") for line in FILLED.splitlines()) | {"PYTHONPATH": "/opt/s3-mirror/patch"}
        view = {"services": {"frigate": {"environment": environment_, "volumes": [{"target": "/opt/s3-mirror"}]}}}
        docker.answer("config --format json", json.dumps(view))
    docker.answer("run --rm --no-deps", "doctor says hello\n")
    done = docker.run("setup_s3_mirror.sh", "--check", cwd=host)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "doctor says hello" in done.stdout
    assert any("config" in asked for asked in docker.asked())
    assert "SK" not in done.stdout + done.stderr


def test_the_backup_is_told_at_both_ends(docker: StubDocker, host: Path) -> None:
    """One, for its owner's eyes; gone when the file is byte for byte what it was."""
    applied(docker, host, BARE)
    (backup,) = host.glob("docker-compose.yml.s3-mirror-backup-*")
    assert backup.stat().st_mode & 0o777 == 0o600
    with (host / "docker-compose.yml").open("a") as file:
        file.write("# mine\n")
    gone = docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host)
    assert list(host.glob("*backup*")) == [backup]
    assert f"Backup: {backup} (it holds your keys" in gone.stdout
    backup.unlink()
    applied(docker, host, BARE)
    assert "its backup is gone" in docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host).stdout
    assert list(host.glob("*backup*")) == []


def test_an_uninstall_that_cannot_edit_the_file_removes_nothing(docker: StubDocker, host: Path) -> None:
    """The lines are named, and the folder that they need stays."""
    text = applied(docker, host, BARE)
    (host / "docker-compose.yml").write_text(text + "{{ broken }}\n")
    gone = docker.run("setup_s3_mirror.sh", "--uninstall", cwd=host)
    assert gone.returncode == 1
    assert "remove the lines" in gone.stderr
    assert (host / "s3-mirror").is_dir()


def test_shellcheck_finds_nothing() -> None:
    """In any script that users run."""
    scripts = ["setup_s3_mirror.sh", "s3_monitor.sh", "entrypoint.sh", "scripts/frigate-s3-mirror"]
    path = f"{REPOSITORY / '.venv/bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["shellcheck", *scripts],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == 0


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
    habits = tmp_path / "pip.conf"  # what users have set for their own packages must not get in the way
    habits.write_text(f"[global]\nuser = true\nrequire-virtualenv = true\n[install]\nprefix = {tmp_path}/away\n")
    inherited |= {
        "PIP_CONFIG_FILE": str(habits),
        "PIP_USER": "1",
        "PIP_TARGET": f"{tmp_path}/away",
        "PIP_REQUIRE_VIRTUALENV": "1",
    }
    done = subprocess.run(
        [str(REPOSITORY / "setup_s3_mirror.sh"), "--dir", str(folder), "--arch", arch],
        cwd=folder, env={**inherited, "PATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "away").exists()
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
