"""The container's entrypoint: it prepares what it can, tells what is configured, and always becomes /init."""

from __future__ import annotations

import os
import subprocess
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
