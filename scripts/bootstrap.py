"""Make the virtual environment that every `make` command uses; presumes Python 3.11+ and nothing else.

Standard library only. `uv` is taken from the PATH, else installed into the environment itself; then the locked
requirements (with hashes) and this project are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(venv: Path) -> None:
    """Create or refresh `venv`. Ends the process with a sentence when something needed is missing."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")
    make_environment(venv)
    uv = find_uv(venv)
    environment = {**os.environ, "VIRTUAL_ENV": str(venv.resolve()), "UV_NO_PROGRESS": "1"}
    for step in (
        ["--require-hashes", "-r", "requirements/dev.txt"],
        ["--no-deps", "--no-build-isolation", "-e", "."],
    ):
        done = subprocess.run([uv, "pip", "install", "--quiet", *step], cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            sys.exit(f"Could not install ({' '.join(step)}); see the message above. Is the package index reachable?")


def make_environment(venv: Path) -> None:
    """Make the environment, with `uv` where Debian's Python lacks `ensurepip`."""
    if (venv / "bin" / "python").exists():
        return
    print(f"Setting up {venv} (once) ...", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, check=False).returncode == 0:
        return
    shutil.rmtree(venv, ignore_errors=True)
    tools = venv.with_name(".uv")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tools), "uv"]
    uv = shutil.which("uv")
    if uv is None and subprocess.run(install, check=False).returncode == 0:
        uv = str(tools / "bin" / "uv")
    if uv is None:
        sys.exit("This Python has neither venv nor pip. On Debian or Ubuntu: apt install python3-venv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(venv)], check=True)


def find_uv(venv: Path) -> str:
    """The path of `uv`, installed into the environment when it is not there yet."""
    for candidate in (venv / "bin" / "uv", venv.with_name(".uv") / "bin" / "uv"):
        if candidate.exists():
            return str(candidate)
    if found := shutil.which("uv"):
        return found
    subprocess.run([str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"], check=True)
    return str(venv / "bin" / "uv")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
