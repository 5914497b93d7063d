"""The container's entrypoint: it prepares what it can, tells what is configured, and always becomes /init."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from patch.workbench import REPOSITORY, Bundle

INIT = """#!/bin/sh
echo "init pid=$$ path=$PYTHONPATH lib=$S3_MIRROR_LIB"
for word in "$@"; do echo "word=$word"; done
exit 7
"""

PIP = """#!/bin/sh
case "$*" in
*version_info*) exit $TOO_OLD ;;
*find_spec*) exit 1 ;;
*zipfile*) for last; do :; done; mkdir -p "$last/frigate_s3_mirror"; touch "$last/frigate_s3_mirror/frigate_s3_patcher.py" ;;
*pip*)
    echo "$*" >>"$CALLS"
    echo "No matching distribution found" >&2
    exit $PIP_STATUS ;;
esac
"""


class Container:
    """The entrypoint with an /init that says what it got, and a python3 that pretends to install."""

    def __init__(self, bundle: Bundle, folder: Path) -> None:
        self.bundle, self.folder = bundle, folder
        self.lib = folder / "config/.s3-mirror/lib"
        self.calls = folder / "calls"
        bundle.init.write_text(INIT, encoding="utf-8")
        commands = folder / "bin"
        commands.mkdir()
        (commands / "python3").write_text(PIP, encoding="utf-8")
        (commands / "python3").chmod(0o755)

    def run(self, *arguments: str, pip_status: int = 0, too_old: int = 0, **environment: str) -> list[str]:
        """Start it; returns the lines that it wrote, after a look at what /init was given."""
        process = subprocess.Popen(
            [self.bundle.root / "entrypoint.sh", *arguments],
            env={
                **self.bundle.environment,
                "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(self.calls),
                "PIP_STATUS": str(pip_status),
                "TOO_OLD": str(too_old),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 7, output
        assert f"init pid={process.pid} " in output  # the same process: signals reach /init
        assert [line for line in output.splitlines() if line.startswith("word=")] == [f"word={a}" for a in arguments]
        return output.splitlines()

    def without_lib(self) -> None:
        """The setup was skipped, but wheels and a lock are there."""
        self.bundle.lib.rename(self.folder / "away")
        wheels = self.bundle.root / "wheels"
        wheels.mkdir()
        (wheels / "frigate_s3_mirror-0.1.0-py3-none-any.whl").touch()
        (self.bundle.root / "requirements.txt").touch()


@pytest.fixture
def container(bundle: Bundle, tmp_path: Path) -> Container:
    """A container that was not started yet."""
    return Container(bundle, tmp_path)


def path_line(lines: list[str]) -> str:
    """What /init was given."""
    return next(line for line in lines if line.startswith("init pid="))


def test_it_becomes_init_with_its_arguments(container: Container) -> None:
    """Words are passed on as they are, the exit status is that of /init, and the patch is first on the path."""
    lines = container.run("one", "two words", "", PYTHONPATH="/mine")
    assert f"path={container.bundle.root}/patch:/mine " in path_line(lines)


def test_it_tells_what_is_configured_without_secrets(container: Container) -> None:
    """Names are shown, secrets are not, wherever the user wrote them."""
    (line, _) = container.run(
        S3_ACCESS_KEY="ACCESSKEY", S3_SECRET_KEY="SECRET1", S3_PATH_PREFIX="frigate\n[x] forged",
        S3_ENDPOINT_URL="https://user:SECRET#2@minio.example.com:9000/?token=SECRET3",
        S3_REGION_FILE="/run/secrets/region",
    )  # fmt: skip
    assert "bucket=bucket endpoint=***@minio.example.com:9000/ region=from /run/secrets/region" in line
    assert "prefix=frigate?[x] forged" in line
    assert "access_key=set secret_key=set" in line
    assert "SECRET" not in line
    assert "ACCESSKEY" not in line


def test_without_a_bucket_it_says_nothing_and_installs_nothing(container: Container) -> None:
    """The patch tells the reason, once."""
    container.without_lib()
    assert len(container.run(S3_BUCKET="")) == 1
    assert not container.calls.exists()


def test_without_the_patch_frigate_starts(container: Container) -> None:
    """A mount that holds the script alone costs one line."""
    (container.bundle.root / "patch").rename(container.folder / "gone")
    lines = container.run(PYTHONPATH="/mine")
    assert "S3 snapshot mirror not started: patch/sitecustomize.py is not beside" in lines[0]
    assert "path=/mine " in path_line(lines)


def test_the_bundle_may_lie_beside_the_script(container: Container, tmp_path: Path) -> None:
    """The script in the Frigate folder finds s3-mirror/ there."""
    (container.bundle.root / "entrypoint.sh").rename(tmp_path / "entrypoint.sh")
    root, container.bundle.root = container.bundle.root, tmp_path
    assert f"path={root}/patch " in path_line(container.run())


def test_missing_packages_are_installed_once_where_a_restart_finds_them(container: Container) -> None:
    """From the wheels at hand alone, checked by their hashes; the next start installs nothing."""
    container.without_lib()
    container.run()
    container.run()
    (call,) = container.calls.read_text(encoding="utf-8").splitlines()
    assert "-m pip install" in call
    assert "--require-hashes" in call
    assert "--no-index --find-links" in call
    assert (container.lib / "frigate_s3_mirror/frigate_s3_patcher.py").exists()
    assert sorted(path.name for path in container.lib.parent.iterdir()) == ["lib"]


def test_a_failed_installation_leaves_nothing_and_starts_frigate(container: Container) -> None:
    """Half an installation is none; the reason is the installer's last line."""
    container.without_lib()
    lines = container.run(pip_status=1)
    assert any("Failed to import S3 modules" in line and "No matching distribution found" in line for line in lines)
    assert list(container.lib.parent.iterdir()) == []


def test_nothing_to_install_from_is_told(container: Container) -> None:
    """Without wheels and lock nothing is fetched."""
    container.bundle.lib.rename(container.folder / "away")
    lines = container.run()
    assert any("Failed to import S3 modules: there is nothing to install" in line for line in lines)
    assert not container.calls.exists()


@pytest.mark.parametrize(
    "kind", ["a database", "a hidden file", "sources", "a file", "a link", "a dangling link", "its .new", "its .new is a link", "relative", "the root"]
)  # fmt: skip
def test_what_is_not_its_own_is_left_alone(container: Container, tmp_path: Path, kind: str) -> None:
    """Wherever S3_MIRROR_LIB points: one sentence, nothing is removed or moved, and Frigate starts."""
    container.without_lib()
    precious = tmp_path / "precious"
    precious.mkdir()
    lib = container.lib if "relative" not in kind else Path("relative/lib")
    container.lib.parent.mkdir(parents=True)
    place = container.lib.with_name("lib.new") if ".new" in kind else container.lib
    if "link" in kind:
        place.symlink_to(precious if "dangling" not in kind else tmp_path / "nowhere")
    elif kind == "a file":
        place.write_text("mine")
    elif kind not in {"relative", "the root"}:
        name = {"a hidden file": ".frigate", "sources": "frigate_s3_mirror/mine.py"}.get(kind, "frigate.db")
        (place / name).parent.mkdir(parents=True)
        (place / name).write_text("mine")
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    lines = container.run(S3_MIRROR_LIB=str(lib) if kind != "the root" else "/")
    assert any("holds what is not the mirror's, and is left alone" in line for line in lines)
    assert not container.calls.exists()
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_users_own_copy_of_the_service_is_used_and_not_replaced(container: Container, tmp_path: Path) -> None:
    """In a checkout the sources are newer than the packages; what somebody else installed is not refreshed from them."""
    container.bundle.lib.rename(container.folder / "away")
    for folder in (container.lib, container.bundle.root / "src"):
        (folder / "frigate_s3_mirror").mkdir(parents=True)
        (folder / "frigate_s3_mirror/frigate_s3_patcher.py").write_text(str(folder))
    patcher = container.lib / "frigate_s3_mirror/frigate_s3_patcher.py"
    container.run()
    assert patcher.read_text() == str(container.lib)
    (container.lib / ".made-by-frigate-s3-mirror").touch()
    container.run()
    assert patcher.read_text() == str(container.bundle.root / "src")


@pytest.mark.parametrize("left", ["empty", "half of an installation", "empty place"])
def test_what_a_killed_start_left_is_made_good(container: Container, left: str) -> None:
    """An installation that was killed is begun anew."""
    container.without_lib()
    fresh = container.lib if left == "empty place" else container.lib.with_name("lib.new")
    fresh.mkdir(parents=True)
    if left == "half of an installation":
        (fresh / ".made-by-frigate-s3-mirror").touch()
        (fresh / "half").touch()
    container.run(S3_MIRROR_LIB=f"{container.lib}//")
    assert (container.lib / "frigate_s3_mirror/frigate_s3_patcher.py").exists()
    assert not (container.lib / "half").exists()
    assert sorted(path.name for path in container.lib.parent.iterdir()) == ["lib"]


def test_the_users_settings_of_pip_do_not_matter(container: Container, tmp_path: Path) -> None:
    """The real pip, with `user = true` and friends in pip.conf and in the environment: the packages come where they belong."""
    container.without_lib()
    wheels = container.bundle.root / "wheels"
    wheel = wheels / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (container.bundle.root / "requirements.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
    with zipfile.ZipFile(wheels / "frigate_s3_mirror-0.1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("frigate_s3_mirror/frigate_s3_patcher.py", "")
    (tmp_path / "bin/python3").unlink()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec "{sys.base_prefix}/bin/python3" "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    habits = tmp_path / "pip.conf"
    habits.write_text(f"[global]\nuser = true\nrequire-virtualenv = true\n[install]\nprefix = {tmp_path}/elsewhere\n")
    lines = container.run(
        PIP_CONFIG_FILE=str(habits), PIP_USER="1", PIP_TARGET=f"{tmp_path}/elsewhere", PIP_REQUIRE_VIRTUALENV="1", PIP_PREFIX=f"{tmp_path}/elsewhere",
    )  # fmt: skip
    assert not any("ERROR" in line for line in lines), lines
    assert (container.lib / "tiny.py").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_an_old_python_gets_the_sidecar_named(container: Container) -> None:
    """Nothing is installed for a Python that cannot run it."""
    container.without_lib()
    assert any("use the sidecar" in line for line in container.run(too_old=1))
    assert not container.calls.exists()


def test_a_folder_that_cannot_be_written_does_not_matter(container: Container) -> None:
    """A state folder that is a file: one line, and Frigate starts."""
    container.without_lib()
    container.lib.parent.parent.touch()
    assert any("Failed to import S3 modules" in line for line in container.run())


def test_options_of_the_users_shell_do_not_end_it(container: Container) -> None:
    """Bash takes options from SHELLOPTS; with errexit and nounset it still becomes /init."""
    container.without_lib()
    container.run(pip_status=1, SHELLOPTS="errexit:nounset:pipefail")


def test_shellcheck_finds_nothing() -> None:
    """The script is clean."""
    result = subprocess.run(
        ["shellcheck", REPOSITORY / "entrypoint.sh"],
        env={**os.environ, "PATH": f"{REPOSITORY / '.venv/bin'}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout == ""
    assert result.returncode == 0
