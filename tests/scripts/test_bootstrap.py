"""The first `make` on a new machine: a sentence with the cure where something is missing, and a sign of life."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).parents[2] / "scripts" / "bootstrap.py"
PYTHON = f"{sys.base_prefix}/bin/python3"
NOBODY = "http://127.0.0.1:9/simple"
CURE = "Is the package index reachable?"


def bootstrap(venv: Path, path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    offline = {
        "PIP_INDEX_URL": NOBODY,
        "PIP_RETRIES": "0",
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_OFFLINE": "1",
    }
    return subprocess.run(
        [PYTHON, str(BOOTSTRAP), str(venv)], env={"HOME": str(venv.parent), "PATH": path, **offline, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def fake_uv(folder: Path, script: str) -> str:
    """A folder with an `uv` of ours, and the usual tools."""
    folder.mkdir()
    (folder / "uv").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "uv").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def made(venv: Path) -> Path:
    """What passes for an environment that is there already."""
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    (venv / "bin/python").symlink_to(PYTHON)
    return venv


def test_offline_without_uv(tmp_path: Path) -> None:
    """The fault as it was seen: pip cannot fetch uv."""
    done = bootstrap(tmp_path / "venv", "/usr/bin:/bin")
    assert done.returncode == 1
    assert "Installing uv, the installer failed" in done.stderr
    assert CURE in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("what", "status"), [("the locked packages", "*requirements*) exit 2"), ("this project", "*-e*) exit 2")]
)
def test_offline_with_uv(tmp_path: Path, what: str, status: str) -> None:
    """Each of its steps has the sentence."""
    path = fake_uv(tmp_path / "bin", f'case "$*" in {status};; esac')
    done = bootstrap(made(tmp_path / "venv"), path)
    assert done.returncode == 1
    assert f"Installing {what} failed (see above). {CURE}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("uv", ["exit 2", "no uv"])
def test_a_python_without_venv(tmp_path: Path, uv: str) -> None:
    """As Debian's: uv makes the environment; where it cannot, or cannot be had, there is a sentence."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/ensurepip.py").write_text("raise ImportError\n")
    (tmp_path / "broken/venv.py").write_text("raise SystemExit(1)\n")
    path = fake_uv(tmp_path / "bin", uv) if uv != "no uv" else "/usr/bin:/bin"
    done = bootstrap(tmp_path / "venv", path, PYTHONPATH=str(tmp_path / "broken"))
    assert done.returncode == 1
    assert ("Making the environment failed" if uv != "no uv" else "apt install python3-venv") in done.stderr
    assert CURE in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("has_venv", [True, False])
def test_uv_comes_where_it_belongs_whatever_pip_is_told_elsewhere(tmp_path: Path, has_venv: bool) -> None:
    """`user = true` and friends are for the user's own packages: a real pip, a wheel at hand, nothing outside."""
    script = zipfile.ZipInfo("uv-99.0.data/scripts/uv")
    script.external_attr = 0o100755 << 16
    with zipfile.ZipFile(tmp_path / "uv-99.0-py3-none-any.whl", "w") as archive:
        archive.writestr(script, f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
        archive.writestr("uv-99.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 99.0\n")
        archive.writestr("uv-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("uv-99.0.dist-info/RECORD", "")
    habits = tmp_path / "pip.conf"
    habits.write_text(f"[global]\nuser = true\nrequire-virtualenv = true\n[install]\nprefix = {tmp_path}/elsewhere\n")
    elsewhere = {"PIP_CONFIG_FILE": str(habits), "PIP_USER": "1", "PIP_TARGET": f"{tmp_path}/elsewhere"}
    broken = tmp_path / "broken"
    broken.mkdir()
    if not has_venv:
        (broken / "venv.py").write_text("raise SystemExit(1)\n")
    done = bootstrap(
        tmp_path / "venv", "/usr/bin:/bin", PIP_FIND_LINKS=str(tmp_path), PYTHONPATH=str(broken), PIP_REQUIRE_VIRTUALENV="1", **elsewhere
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ("venv/bin/uv" if has_venv else ".uv/bin/uv")).is_file()
    assert not (tmp_path / "elsewhere").exists()
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[0] for line in asked] == ["pip", "pip"] if has_venv else ["venv", "pip", "pip"]


def test_a_broken_uv_is_told(tmp_path: Path) -> None:
    """One that this machine cannot run."""
    venv = made(tmp_path / "venv")
    (venv / "bin/uv").write_bytes(b"\x7fELF")
    (venv / "bin/uv").chmod(0o755)
    done = bootstrap(venv, "/usr/bin:/bin")
    assert done.returncode == 1
    assert "cannot be run" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_long_step_shows_that_it_lives(tmp_path: Path) -> None:
    """What is done, and dots while it lasts."""
    done = bootstrap(made(tmp_path / "venv"), fake_uv(tmp_path / "bin", 'case "$*" in *requirements*) sleep 5;; esac'))
    assert done.returncode == 0, done.stderr
    assert "Installing the locked packages .." in done.stdout


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """No environment is made in it, and it is not thrown away."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/precious").touch()
    done = bootstrap(tmp_path / "home", "/usr/bin:/bin")
    assert done.returncode == 1
    assert "is left alone" in done.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["precious"]
