"""The file that every Python process in the container reads: it acts in one of them, and the others see nothing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patch.workbench import REPOSITORY, STANDIN, Bundle

LOADED = "import sys; print('frigate_s3_patcher' in sys.modules)"


def python(*arguments: str, path: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter with this PYTHONPATH and a bucket."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={"PATH": os.environ["PATH"], "S3_BUCKET": "bucket", "PYTHONPATH": path, **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def patch_folder(bundle: Bundle) -> str:
    """The folder on PYTHONPATH."""
    return str(bundle.root / "patch")


@pytest.mark.parametrize("name", ["patch/sitecustomize.py", "src/frigate_s3_mirror/frigate_s3_patcher.py"])
def test_the_code_in_frigates_process_is_python_3_9_and_standard_library(name: str) -> None:
    """It parses as Python 3.9, and imports nothing that Frigate's Python may lack."""
    tree = ast.parse((REPOSITORY / name).read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_other_pythons_run_the_patch(bundle: Bundle, patch_folder: str, version: str) -> None:
    """With another interpreter, where there is one, Frigate starts: with the patch from 3.11 on, else with a reason."""
    interpreter = next((path for path in interpreters(version) if path.exists()), None)
    if interpreter is None:
        pytest.skip(f"Python {version} is not installed")
    result = subprocess.run(
        [interpreter, "-u", "-m", "frigate"],
        env={**bundle.environment, "STANDIN": "sigterm-while-starting", "PYTHONPATH": patch_folder},
        cwd=STANDIN,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    too_old = version in {"3.9", "3.10"}
    assert ("use the sidecar instead" in result.stdout) is too_old
    assert ("S3 snapshot mirror started" in result.stdout) is not too_old


def interpreters(version: str) -> list[Path]:
    """Where an interpreter may be; PATH alone may hold wrappers that do not run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return [Path(f"/usr/bin/python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "print(1)"],
        ["-m", "json.tool", "--help"],
        ["-c", "import sys; print(sys.argv)", "-m", "frigate"],
        ["-m", "platform", "-m", "frigate"],
        ["-m", "platform", "frigate"],
    ],
)
def test_other_processes_print_what_they_print(patch_folder: str, arguments: list[str]) -> None:
    """Their stdout, stderr and exit status are exactly their own: helper scripts' output is parsed."""
    with_patch, without = (python(*arguments, path=path) for path in (patch_folder, ""))
    assert (with_patch.stdout, with_patch.stderr, with_patch.returncode) == (
        without.stdout, without.stderr, without.returncode
    )  # fmt: skip


def test_a_script_named_frigate_is_not_frigate(patch_folder: str, tmp_path: Path) -> None:
    """Only `-m frigate` is."""
    script = tmp_path / "frigate"
    script.write_text(LOADED, encoding="utf-8")
    assert python(str(script), "-m", "frigate", path=patch_folder).stdout == "False\n"


def test_other_processes_import_nothing_more(patch_folder: str) -> None:
    """The modules of a process are the same with the patch, but for the name of the file itself."""
    listing = "import sys; print(sorted(name for name in sys.modules if name != 'sitecustomize'))"
    assert python("-c", listing, path=patch_folder).stdout == python("-c", listing, path="").stdout


def test_the_one_before_still_runs(patch_folder: str, tmp_path: Path) -> None:
    """A sitecustomize further down the path runs as the module of that name, as it would by itself."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; seen = [__name__, __file__]; sys.hello = 5", encoding="utf-8"
    )
    question = "import sys, sitecustomize; print(sitecustomize.seen, sys.hello)"
    result = python("-c", question, path=f"{patch_folder}:{tmp_path}")
    assert result.stdout == f"['sitecustomize', '{tmp_path}/sitecustomize.py'] 5\n"
    assert result.stdout == python("-c", question, path=str(tmp_path)).stdout


def test_an_error_of_the_one_before_is_as_without_us(patch_folder: str, tmp_path: Path) -> None:
    """Python reports it and goes on."""
    (tmp_path / "sitecustomize.py").write_text("raise ValueError('mine')", encoding="utf-8")
    result = python("-c", "print(1)", path=f"{patch_folder}:{tmp_path}")
    assert result.stdout == "1\n"
    assert result.stderr == python("-c", "print(1)", path=str(tmp_path)).stderr


def test_a_second_copy_on_the_path_changes_nothing(bundle: Bundle, patch_folder: str, tmp_path: Path) -> None:
    """Two bundles on the path start one mirror."""
    (tmp_path / "other").mkdir()
    other = Bundle(tmp_path / "other")
    running = bundle.start(PYTHONPATH=f"{other.root / 'patch'}:{patch_folder}")
    bundle.ready(running)
    running.end()
    assert len(bundle.births()) == 1


def test_checking_the_configuration_starts_nothing(bundle: Bundle, patch_folder: str) -> None:
    """`python -m frigate --validate-config` prints nothing of ours."""
    environment = {"STANDIN": "sigterm-while-starting", "STANDIN_RECORD": str(bundle.record_path)}
    result = python("-m", "frigate", "--validate-config", path=patch_folder, cwd=STANDIN, **environment)
    assert "frigate_s3_mirror" not in result.stdout


@pytest.mark.parametrize("layout", ["checkout", "installed"])
def test_a_checkout_needs_no_bundle(bundle: Bundle, tmp_path: Path, layout: str) -> None:
    """In a repository the patch uses its sources, or the package that the interpreter has."""
    root = tmp_path / "checkout"
    bundle.root.rename(root)
    (root / "lib").rename(root / ("src" if layout == "checkout" else "elsewhere"))
    bundle.root = root
    path = str(root / "elsewhere") if layout == "installed" else ""
    running = bundle.start(PYTHONPATH=path)
    bundle.ready(running)
    (birth,) = bundle.births()
    assert birth["environment"]["PYTHONPATH"] == str(root / ("src" if layout == "checkout" else "elsewhere"))
    assert running.end() == 0
