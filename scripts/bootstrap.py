"""Make the virtual environment that every `make` command uses; presumes Python 3.11+ and nothing else.

Standard library only. `uv` is taken from the PATH, else installed into the environment itself; then the locked
requirements (with hashes) and this project are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SIGN_INTERVAL_SECONDS = 2.0
OFFLINE = (
    "Is the package index reachable? The first run needs the internet once (or an index of your own: PIP_INDEX_URL and "
    "UV_DEFAULT_INDEX). Then run the same command again."
)


def main(venv: Path) -> None:
    """Create or refresh `venv`. Ends the process with a sentence when something needed is missing."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")
    if not is_replaceable(venv):
        sys.exit(f"{venv} is no virtual environment and not empty, so it is left alone. Move it away, or name another.")
    make_environment(venv)
    uv = find_uv(venv)
    environment = {**os.environ, "VIRTUAL_ENV": str(venv.resolve()), "UV_NO_PROGRESS": "1"}
    for what, arguments in (
        ("the locked packages", ["--require-hashes", "-r", "requirements/dev.txt"]),
        ("this project", ["--no-deps", "--no-build-isolation", "-e", "."]),
    ):
        step(f"Installing {what}", [uv, "pip", "install", "--quiet", *arguments], environment, cure=OFFLINE)


def is_replaceable(venv: Path) -> bool:
    """Whether an environment may be made here, and a broken one thrown away."""
    if not venv.is_symlink() and not venv.exists():
        return True
    return venv.is_dir() and ((venv / "pyvenv.cfg").is_file() or not any(venv.iterdir()))


def make_environment(venv: Path) -> None:
    """Make the environment, with `uv` where Debian's Python lacks `ensurepip`."""
    if (venv / "bin" / "python").exists():
        return
    print(f"Setting up {venv} (once) ...", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, check=False).returncode == 0:
        return
    shutil.rmtree(venv, ignore_errors=True)
    tools = venv.with_name(".uv")
    uv = shutil.which("uv")
    if uv is None:
        cure = (
            f"This Python cannot make a virtual environment. On Debian or Ubuntu: apt install python3-venv. {OFFLINE}"
        )
        install_uv(Path(sys.executable), "--target", str(tools), "--prefix", "", cure=cure)
        uv = str(tools / "bin" / "uv")
    step("Making the environment", [uv, "venv", "--quiet", "--python", sys.executable, str(venv)], cure=OFFLINE)


def find_uv(venv: Path) -> str:
    """Return the path of `uv`, installed into the environment when it is not there yet."""
    for candidate in (venv / "bin" / "uv", venv.with_name(".uv") / "bin" / "uv"):
        if candidate.exists():
            return str(candidate)
    if found := shutil.which("uv"):
        return found
    install_uv(venv / "bin" / "python", "--prefix", str(venv.resolve()), cure=OFFLINE)
    return str(venv / "bin" / "uv")


def install_uv(python: Path, *place: str, cure: str) -> None:
    """Install `uv` with pip, wherever the user's own settings of pip would have it."""
    unwanted = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_DRY_RUN"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment.update(PIP_REQUIRE_VIRTUALENV="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-user", *place, "uv"]
    step("Installing uv, the installer", command, environment, cure=cure)


def step(what: str, command: list[str], environment: dict[str, str] | None = None, *, cure: str) -> None:
    """Run one command in the project's folder, with a sign of life. Ends the process with the cure when it fails."""
    try:
        with sign_of_life(what):
            status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    except OSError as error:
        sys.exit(f"{what} failed: {command[0]} cannot be run ({error.strerror}). Remove .venv and .uv, then try again.")
    if status != 0:
        sys.exit(f"{what} failed (see above). {cure}")


@contextmanager
def sign_of_life(what: str) -> Iterator[None]:
    """Say what is done, with a dot now and then while it lasts."""
    print(f"{what} ", end="", flush=True)
    is_over = threading.Event()

    def show() -> None:
        while not is_over.wait(SIGN_INTERVAL_SECONDS):
            print(".", end="", flush=True)

    started = time.monotonic()
    dots = threading.Thread(target=show, daemon=True)
    dots.start()
    try:
        yield
    finally:
        is_over.set()
        dots.join()
        print(f" {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else ".venv"))
    except KeyboardInterrupt:
        sys.exit("Interrupted; run the same command again.")
    except OSError as error:
        sys.exit(f"{error.filename or 'A file'} cannot be written: {error.strerror}.")
